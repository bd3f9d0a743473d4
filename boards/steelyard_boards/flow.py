"""From a board and a configuration to a bitstream, with open tools from PyPI or the system."""

import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from steelyard.config import ArrayConfig
from steelyard.errors import UserError
from steelyard.files import replacing
from steelyard_hw.verilog import bare_memories

from .board import MHZ, Board
from .demo import demo_cycles
from .top import Top

__all__ = ["BuildFailed", "Summary", "Tools", "build", "find_tools", "prepare"]

TOP = "top"
AFTER_READ = """\
hierarchy -top top
proc
flatten
# Yosys 0.70 takes the wire `\\o_data[5]` for a bit of the wire `\\o_data`.
rename -hide w:*[* x:* %d
# No address that is read for use is written in the same cycle (docs/notes/accelerator-sizing.md),
# so block RAMs need no logic that gives the old data.
setparam -set COLLISION_X_MASK 1'1 t:$memrd_v2 r:CLK_ENABLE=1 %i
"""
HEADROOM = 2
"""The router is asked for this many times the clock, for it stops improving what meets it."""
POLL_SECONDS = 0.5

Report = Callable[[str], None]
"""Called often with what is at work."""


class BuildFailed(Exception):
    """Tool that failed, although its input was allowed; the sentence names it and its log."""


@dataclass(frozen=True)
class Tools:
    """Command lines of the three tools."""

    yosys: tuple[str, ...]
    nextpnr: tuple[str, ...]
    ecppack: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """What was built.

    Attributes
    ----------
    lut, ff, dsp, bram : TRELLIS_COMB, TRELLIS_FF, MULT18X18D and DP16KD used
    fmax_seeds : highest clock of every seed, MHz
    fmax_mhz : their median
    clock_mhz : the clock that the PLL makes
    macs_per_cycle : multiplications of the array in one cycle
    demo_fps : images a second of the demo network without transfers, None if it does not fit
    bitstream : file of the best seed, None if that misses the clock
    """

    lut: int
    ff: int
    dsp: int
    bram: int
    fmax_mhz: float
    fmax_seeds: list[float]
    clock_mhz: float
    macs_per_cycle: int
    demo_fps: float | None
    bitstream: str | None


@dataclass(frozen=True)
class _Routed:
    seed: int
    fmax_mhz: float
    used: dict[str, int]


def find_tools() -> Tools:
    """The tools that YOSYS, NEXTPNR_ECP5 and ECPPACK name, else those from PyPI, else the system's.

    Raises
    ------
    UserError
        If one is missing.
    """
    return Tools(
        _tool("YOSYS", "yosys"), _tool("NEXTPNR_ECP5", "nextpnr-ecp5"), _tool("ECPPACK", "ecppack")
    )


def _tool(variable: str, name: str) -> tuple[str, ...]:
    chosen = os.environ.get(variable)
    if chosen:
        command = tuple(shlex.split(chosen))
        if shutil.which(command[0]) is None:
            raise UserError(
                f"The variable {variable} names the command {command[0]!r}, which is not here; "
                "give the path of the tool or unset it."
            )
        return command
    beside_python = str(Path(sys.executable).parent)
    found = shutil.which(f"yowasp-{name}", path=beside_python) or shutil.which(name)
    if found is None:
        raise UserError(
            f"Building a bitstream needs {name!r}, which is not here; install it with "
            "\"pip install 'steelyard[boards]'\" or name your own in the variable "
            f"{variable}."
        )
    return (found,)


def prepare(board: Board, config: ArrayConfig) -> dict[str, str]:
    """Files of a build by name: netlist, scripts and constraints.

    Raises
    ------
    UserError
        If the board's clock or serial rate cannot be made.
    """
    with bare_memories():
        plan = board.platform().prepare(
            Top(board, config),
            TOP,
            emit_src=False,
            script_after_read=AFTER_READ,
            script_after_synth="check -assert",
            nextpnr_opts="--router router2 --timing-allow-fail",
        )
    return {
        name: content if isinstance(content, str) else content.decode()
        for name, content in plan.files.items()
    }


def _arguments(files: dict[str, str], variable: str) -> list[str]:
    """Arguments of a tool, as the platform wrote them into its build script."""
    words = (shlex.split(line, comments=True) for line in files[f"build_{TOP}.sh"].splitlines())
    return next(line[1:] for line in words if line[:1] == [f"${variable}"])


def build(
    board: Board,
    config: ArrayConfig,
    folder: Path,
    *,
    seeds: Sequence[int] = (1, 2, 3),
    report: Report = lambda now: None,
) -> Summary:
    """Build a bitstream and its summary.

    `folder` receives ``BOARD.bit``, ``summary.json`` and ``config.toml``, and the tools' files and
    logs below ``work``. Seeds are placed and routed side by side, as many as there are processors.

    Raises
    ------
    UserError
        If the configuration does not fit the board, or a tool is missing.
    BuildFailed
        If a tool fails.
    """
    board.check(config)
    tools = find_tools()
    work = folder / "work"
    # What an earlier build left must not be taken for this one's.
    for stale in (folder / f"{board.name}.bit", folder / "summary.json"):
        stale.unlink(missing_ok=True)
    shutil.rmtree(work, ignore_errors=True)
    report("elaborating")
    files = prepare(board, config)
    for name, content in files.items():
        with replacing(work / name, "Build file") as temporary:
            temporary.write_text(content, encoding="utf-8")
    with replacing(folder / "config.toml", "Configuration file") as temporary:
        config.to_toml(temporary)

    _run([*tools.yosys, *_arguments(files, "YOSYS")], work, f"{TOP}.rpt", "synthesis", report)
    preference = f'\nFREQUENCY NET "{_clock_net(work)}" {HEADROOM * board.clock_hz} HZ;\n'
    with (work / f"{TOP}.lpf").open("a", encoding="utf-8") as constraints:
        constraints.write(preference)
    nextpnr = [*tools.nextpnr, *_arguments(files, "NEXTPNR_ECP5")]
    with ThreadPoolExecutor(min(len(seeds), os.cpu_count() or 1)) as pool:
        routed = list(pool.map(lambda seed: _route(nextpnr, work, seed, report), seeds))
    best = max(routed, key=lambda each: each.fmax_mhz)
    bitstream = None
    if best.fmax_mhz * MHZ >= board.clock_hz:
        bitstream = folder / f"{board.name}.bit"
        shutil.copyfile(work / f"seed{best.seed}.config", work / f"{TOP}.config")
        _run(
            [*tools.ecppack, *_arguments(files, "ECPPACK")], work, "ecppack.out", "packing", report
        )
        with replacing(bitstream, "Bitstream") as temporary:
            shutil.copyfile(work / f"{TOP}.bit", temporary)
    return _summary(board, config, routed, best, bitstream)


def _clock_net(work: Path) -> str:
    """Name that yosys left to the net of the clock, of the many that it has in the hierarchy."""
    netlist = json.loads((work / f"{TOP}.json").read_text(encoding="utf-8"))["modules"][TOP]
    (gate,) = (cell for cell in netlist["cells"].values() if cell["type"] == "DCCA")
    (bit,) = gate["connections"]["CLKO"]
    return next(name for name, net in netlist["netnames"].items() if net["bits"] == [bit])


def _route(nextpnr: list[str], work: Path, seed: int, report: Report) -> _Routed:
    """Place and route with one seed."""
    command = list(nextpnr)
    for option, value in (("--log", f"seed{seed}.log"), ("--textcfg", f"seed{seed}.config")):
        command[command.index(option) + 1] = value
    command += ["--seed", str(seed), "--report", f"seed{seed}.json"]
    _run(command, work, f"seed{seed}.log", f"place and route, seed {seed}", report)
    document = json.loads((work / f"seed{seed}.json").read_text(encoding="utf-8"))
    # The design's clock, and that of the two registers that wait for the PLL.
    achieved = min(clock["achieved"] for clock in document["fmax"].values())
    used = {name: cells["used"] for name, cells in document["utilization"].items()}
    return _Routed(seed, achieved, used)


def _run(command: list[str], work: Path, log: str, what: str, report: Report) -> None:
    """Run a tool in the work folder, below which the tools from PyPI see files; report its log."""
    # Two tools at once may be at work: each has an output of its own.
    output = work / f"{Path(log).stem}.out"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=work, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT
        )
        try:
            while process.poll() is None:
                report(f"{what}: {_last_line(work / log)}")
                time.sleep(POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        reason = _last_line(output) or _last_line(work / log)
        raise BuildFailed(
            f"{what.capitalize()} failed with status {process.returncode} ({reason}); see "
            f"{str(work / log)!r}."
        )


def _last_line(path: Path) -> str:
    """Last line of a log that is being written, empty if there is none yet."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1000))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1].strip()[:100] if lines else ""


def _summary(
    board: Board,
    config: ArrayConfig,
    routed: Sequence[_Routed],
    best: _Routed,
    bitstream: Path | None,
) -> Summary:
    cycles = demo_cycles(config)
    return Summary(
        lut=best.used["TRELLIS_COMB"],
        ff=best.used["TRELLIS_FF"],
        dsp=best.used["MULT18X18D"],
        bram=best.used["DP16KD"],
        fmax_mhz=round(statistics.median(each.fmax_mhz for each in routed), 2),
        fmax_seeds=[round(each.fmax_mhz, 2) for each in routed],
        clock_mhz=board.clock_hz / MHZ,
        macs_per_cycle=config.macs_per_cycle,
        demo_fps=None if cycles is None else round(board.clock_hz / cycles, 1),
        bitstream=None if bitstream is None else str(bitstream),
    )
