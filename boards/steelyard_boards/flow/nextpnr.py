"""The open flow: yosys, nextpnr once a seed, and the family's packer."""

import json
import os
import re
import shlex
import shutil
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from steelyard.contract import AcceleratorConfig
from steelyard.files import replacing
from steelyard_hw.cells.synthesis import AFTER_READ, KEEP_COPIES, SHORT_ADDERS, TOP
from steelyard_hw.lib.tools import find_yosys

from ..board import MHZ, Board
from .floorplan import GRIDS, floorplan
from .flow import Flow, Job, plan
from .summary import Outcome
from .tools import BuildFailed, Command, Hopeless, require_tool, run_tool

__all__ = ["FLOWS", "Apicula", "IceStorm", "NextpnrFlow", "Trellis", "WithoutEnd"]


ITERATIONS = 1000
"""Of the second router, after which it does not find what it still looks for: designs that it ends
with took 80 to 243, and one ran for 2,400 with two wires of 61,000 in each other's way."""
CROWDED = 1000
"""Wires in each other's way that are no last few: they must become fewer as it goes on."""
PATIENCE = 30
"""Iterations in which a twentieth of them must go, from the second such time on."""


class WithoutEnd:
    """Why a line of nextpnr's log says that its router finds no way, else nothing.

    Called with lines of one run, in order, whether or not each is seen.
    """

    def __init__(self) -> None:
        self._overused: dict[int, int] = {}

    def __call__(self, line: str) -> str:
        found = re.search(r"iter=(\d+) .*overused=(\d+)", line)
        if found is None or found[2] == "0":
            return ""
        iteration, overused = int(found[1]), int(found[2])
        self._overused[iteration] = overused
        if iteration < ITERATIONS and not self._stuck(iteration, overused):
            return ""
        return f"after {iteration} iterations {overused} wires are still in each other's way"

    def _stuck(self, iteration: int, overused: int) -> bool:
        before = [each for each in self._overused if each <= iteration - PATIENCE]
        if iteration < 2 * PATIENCE or overused <= CROWDED or not before:
            return False
        return overused > 0.95 * self._overused[max(before)]


@dataclass(frozen=True)
class _Routed:
    seed: int
    fmax_mhz: float
    used: dict[str, int]


class NextpnrFlow(Flow):
    """Flow of a family that nextpnr places and routes.

    Attributes
    ----------
    nextpnr, packer : variable that may name the tool, and the tool
    netlist : what yosys writes and nextpnr reads
    routed_option, routed_suffix : nextpnr's option of its output, and the output's suffix
    options : other options of nextpnr
    after_read : yosys' commands between reading and synthesis
    headroom : times the clock that nextpnr is asked for, since it stops improving what meets it
    """

    nextpnr: ClassVar[tuple[str, str]]
    packer: ClassVar[tuple[str, str]]
    netlist: ClassVar[str] = f"{TOP}.json"
    routed_option: ClassVar[str]
    routed_suffix: ClassVar[str]
    options: ClassVar[str] = "--timing-allow-fail"
    after_read: ClassVar[str] = AFTER_READ
    headroom: ClassVar[float] = 2

    def find_tools(self) -> dict[str, Command]:
        variable, name = self.packer
        return {**self.synthesis_tools(), variable: require_tool(variable, name)}

    def synthesis_tools(self) -> dict[str, Command]:
        variable, name = self.nextpnr
        return {
            "YOSYS": find_yosys("Building a bitstream").command,
            variable: require_tool(variable, name),
        }

    def prepare(self, board: Board, config: AcceleratorConfig) -> dict[str, str]:
        return plan(
            board,
            config,
            script_after_read=self.after_read,
            script_after_synth="check -assert",
            synth_opts=board.device.family.synthesis_of(config),
            nextpnr_opts=self.options,
        )

    def synthesize(self, job: Job) -> Outcome:
        self._synthesize(job)
        netlist = self._netlist(job)
        command = self._nextpnr(job, netlist)
        for option, name in (("--log", "pack.log"), (self.routed_option, None)):
            at = command.index(option)
            command[at : at + 2] = [] if name is None else [option, name]
        run_tool([*command, "--pack-only"], job.work, "pack.log", "packing of cells", job.log)
        packed = (job.work / "pack.log").read_text(encoding="utf-8", errors="replace")
        lut, ff, dsp, bram = self.count(_utilization(packed), netlist)
        return Outcome(lut, ff, dsp, bram)

    def route(self, job: Job) -> list[float]:
        nextpnr = self._nextpnr(job, self._netlist(job))
        return [self._route(nextpnr, job, seed).fmax_mhz for seed in job.seeds]

    def build(self, job: Job) -> Outcome:
        self._synthesize(job)
        netlist = self._netlist(job)
        nextpnr = self._nextpnr(job, netlist)
        with ThreadPoolExecutor(min(len(job.seeds), os.cpu_count() or 1)) as pool:
            routed = list(pool.map(lambda seed: self._route(nextpnr, job, seed), job.seeds))
        best = max(routed, key=lambda each: each.fmax_mhz)
        if not best.used:
            seeds = ", ".join(str(seed) for seed in job.seeds)
            raise BuildFailed(
                f"Nothing could be routed with the seeds {seeds}; try more of them, or a smaller "
                "configuration."
            )
        bitstream = None
        if best.fmax_mhz * MHZ >= job.board.clock_hz:
            bitstream = job.folder / f"{job.board.name}{self.suffix}"
            self._pack(job, best.seed, bitstream)
        lut, ff, dsp, bram = self.count(best.used, netlist)
        return Outcome(lut, ff, dsp, bram, [each.fmax_mhz for each in routed], bitstream)

    def _synthesize(self, job: Job) -> None:
        yosys = [*job.tools["YOSYS"], *_arguments(job.files, "YOSYS")]
        run_tool(yosys, job.work, f"{TOP}.rpt", "synthesis", job.log)

    def _netlist(self, job: Job) -> dict:
        text = (job.work / self.netlist).read_text(encoding="utf-8")
        top: dict = json.loads(text)["modules"][TOP]
        return top

    def _nextpnr(self, job: Job, netlist: dict) -> list[str]:
        """Command of place and route, once its constraints are written."""
        variable = self.nextpnr[0]
        arguments = self.constrain(job, netlist, _arguments(job.files, variable))
        return [*job.tools[variable], *arguments]

    @abstractmethod
    def constrain(self, job: Job, netlist: dict, arguments: Sequence[str]) -> list[str]:
        """Ask for more than the board's clock; nextpnr's arguments, from the platform's."""

    @abstractmethod
    def count(self, used: Mapping[str, int], netlist: dict) -> tuple[int, int, int, int]:
        """LUTs, registers, multipliers and block RAMs, of nextpnr's counts or the netlist."""

    def _route(self, nextpnr: list[str], job: Job, seed: int) -> _Routed:
        """Place and route with one seed; 0 MHz, and nothing used, if the router finds no way."""
        work = job.work
        command = list(nextpnr)
        outputs = (("--log", ".log"), (self.routed_option, self.routed_suffix))
        for option, suffix in outputs:
            command[command.index(option) + 1] = f"seed{seed}{suffix}"
        command += ["--seed", str(seed), "--report", f"seed{seed}.json"]
        what = f"place and route, seed {seed}"
        try:
            run_tool(command, work, f"seed{seed}.log", what, job.log, WithoutEnd())
        except Hopeless as error:
            job.log(str(error))
            return _Routed(seed, 0.0, {})
        document = json.loads((work / f"seed{seed}.json").read_text(encoding="utf-8"))
        # The design's clock, and that of the few registers that wait for the PLL.
        achieved = min(clock["achieved"] for clock in document["fmax"].values())
        used = {name: cells["used"] for name, cells in document["utilization"].items()}
        return _Routed(seed, achieved, used)

    def _pack(self, job: Job, seed: int, bitstream: Path) -> None:
        """Make the bitstream of a seed."""
        work = job.work
        variable = self.packer[0]
        shutil.copyfile(
            work / f"seed{seed}{self.routed_suffix}", work / f"{TOP}{self.routed_suffix}"
        )
        packer = [*job.tools[variable], *_arguments(job.files, variable)]
        run_tool(packer, work, "pack.out", "packing", job.log)
        with replacing(bitstream, "Bitstream") as temporary:
            shutil.copyfile(work / f"{TOP}{self.suffix}", temporary)


def _arguments(files: Mapping[str, str], variable: str) -> list[str]:
    """Arguments of a tool, as the platform wrote them into its build script."""
    words = (shlex.split(line, comments=True) for line in files[f"build_{TOP}.sh"].splitlines())
    return next(line[1:] for line in words if line[:1] == [f"${variable}"])


def _utilization(log: str) -> dict[str, int]:
    """Cells used, of the last table in nextpnr's log; it writes no other report before routing."""
    _, found, table = log.rpartition("Info: Device utilisation:\n")
    if not found:
        raise BuildFailed(
            "The log of nextpnr has no table of cells; use one of version 0.7 or newer."
        )
    rows = re.findall(r"^Info:\s+(\w+): +(\d+)/", table, re.MULTILINE)
    return {name: int(used) for name, used in rows}


class Trellis(NextpnrFlow):
    """Flow of the ECP5."""

    toolchain = "nextpnr-ecp5"
    suffix = ".bit"
    nextpnr = ("NEXTPNR_ECP5", "nextpnr-ecp5")
    packer = ("ECPPACK", "ecppack")
    routed_option = "--textcfg"
    routed_suffix = ".config"
    options = "--router router2 --timing-allow-fail"
    after_read = AFTER_READ + KEEP_COPIES
    # Where everything looks late, what is really late gets no more care than the rest.
    headroom = 1.375

    def constrain(self, job: Job, netlist: dict, arguments: Sequence[str]) -> list[str]:
        # Of the many names that the clock's net has in the hierarchy, yosys left this one.
        (gate,) = (cell for cell in netlist["cells"].values() if cell["type"] == "DCCA")
        (bit,) = gate["connections"]["CLKO"]
        net = next(name for name, net in netlist["netnames"].items() if net["bits"] == [bit])
        hertz = round(self.headroom * job.board.clock_hz)
        with (job.work / f"{TOP}.lpf").open("a", encoding="utf-8") as constraints:
            constraints.write(f'\nFREQUENCY NET "{net}" {hertz} HZ;\n')
        grid = GRIDS.get(job.board.device.name)
        places = {} if grid is None else floorplan(grid, netlist["cells"])
        if places:
            document = json.loads((job.work / self.netlist).read_text(encoding="utf-8"))
            cells = document["modules"][TOP]["cells"]
            for name, place in places.items():
                cells[name].setdefault("attributes", {})["BEL"] = place
            with replacing(job.work / self.netlist, "Netlist") as temporary:
                temporary.write_text(json.dumps(document), encoding="utf-8")
            # The default placer makes wires a quarter longer, too long for such an array.
            return [*arguments, "--placer", "static"]
        return list(arguments)

    def count(self, used: Mapping[str, int], netlist: dict) -> tuple[int, int, int, int]:
        return used["TRELLIS_COMB"], used["TRELLIS_FF"], used["MULT18X18D"], used["DP16KD"]


class IceStorm(NextpnrFlow):
    """Flow of the iCE40."""

    toolchain = "nextpnr-ice40"
    suffix = ".bin"
    nextpnr = ("NEXTPNR_ICE40", "nextpnr-ice40")
    packer = ("ICEPACK", "icepack")
    routed_option = "--asc"
    routed_suffix = ".asc"
    after_read = AFTER_READ + SHORT_ADDERS
    # The default router takes ten times as long where wires are scarce; the second one sends what
    # is left last far round, unless it keeps an eye on time.
    options = "--router router2 --tmg-ripup --timing-allow-fail"

    def constrain(self, job: Job, netlist: dict, arguments: Sequence[str]) -> list[str]:
        return list(arguments)

    def count(self, used: Mapping[str, int], netlist: dict) -> tuple[int, int, int, int]:
        flip_flops = _cells(netlist, "SB_DFF")
        dsp, bram = used.get("ICESTORM_DSP", 0), used["ICESTORM_RAM"]
        return used["ICESTORM_LC"], flip_flops, dsp, bram


class Apicula(NextpnrFlow):
    """Flow of Gowin's devices."""

    toolchain = "nextpnr-himbaechel-gowin"
    suffix = ".fs"
    nextpnr = ("NEXTPNR_GOWIN", "nextpnr-himbaechel-gowin")
    packer = ("GOWIN_PACK", "gowin_pack")
    netlist = f"{TOP}.syn.json"
    routed_option = "--write"
    routed_suffix = ".pnr.json"

    def constrain(self, job: Job, netlist: dict, arguments: Sequence[str]) -> list[str]:
        # Amaranth writes the options of nextpnr's older port to these devices.
        options = list(arguments)
        for option in ("family", "cst"):
            at = options.index(f"--{option}")
            options[at : at + 2] = ["--vopt", f"{option}={options[at + 1]}"]
        return [*options, "--freq", str(self.headroom * job.board.clock_hz / MHZ)]

    def count(self, used: Mapping[str, int], netlist: dict) -> tuple[int, int, int, int]:
        # Each half of a MULT18X18 may be a MULT9X9.
        multipliers = used["MULT18X18"] + -(-used["MULT9X9"] // 2)
        return used["LUT4"] + used["ALU"], used["DFF"], multipliers, used["BSRAM"]


def _cells(netlist: dict, prefix: str) -> int:
    """Cells of the netlist whose type begins with a prefix."""
    return sum(cell["type"].startswith(prefix) for cell in netlist["cells"].values())


FLOWS = (Trellis(), IceStorm(), Apicula())
