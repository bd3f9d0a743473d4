"""Netlist of the gateware after synthesis, simulated with yosys' own models of the cells.

The commands are those of a board's flow. What is simulated is the netlist's Verilog: its lookup
tables and carries are replaced by the bodies of yosys' models, which yosys then simplifies, for one
module instance a lookup table is what Verilator is slowest at; all other cells stay instances of
yosys' models, whose source is compiled with the design.
"""

import inspect
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from steelyard.contract import AcceleratorConfig
from steelyard.progress import Log
from steelyard_hw.cells.synthesis import (
    AFTER_READ,
    SHORT_ADDERS,
    TOP,
    ULTRAPLUS,
    ULTRAPLUS_INFERENCE,
)
from steelyard_hw.lib.tools import Yosys, find_yosys

from .cache import cached_file
from .library import cached_library, gateware_digest
from .toolchain import HARNESS, BuildFailed

if TYPE_CHECKING:
    from amaranth.lib.wiring import Component

__all__ = [
    "FAMILIES",
    "ICE40",
    "Family",
    "accelerator_netlist",
    "build_netlist",
    "cell_counts",
    "flip_bit",
    "synthesize",
]

MODULE = re.compile(r"^(?:\(\*.*\*\)\s*\n)?module +(\w+)[\s\S]*?^endmodule", re.MULTILINE)
INSTANCE = re.compile(r"^  ([A-Z]\w+) ", re.MULTILINE)
LARGE_CHARACTERS = 3000
"""Text of a cell's model that is longer is that of a block."""
OUTPUT = "netlist.v"
PURPOSE = "Synthesis"
LOOKUP = re.compile(r"\.LUT_INIT\(16'h([0-9a-f]{4})\)(.*?)\);", re.DOTALL)
CONSTANT = re.compile(r"\.I(\d)\(1'h([01])\)")


@dataclass(frozen=True)
class Family:
    """FPGA family whose netlists can be simulated.

    Members
    -------
    name : as users write it
    target : name of the :class:`steelyard_hw.cells.target.Target`
    synthesis, compact : yosys' command without the top, and that for compact configurations
    models : yosys' file of cell models, below its data folder
    logic : cells whose models yosys simplifies
    edits : texts in the models, and what replaces them
    """

    name: str
    target: str
    synthesis: str
    compact: str
    models: str
    logic: tuple[str, ...]
    edits: tuple[tuple[str, str], ...]


ICE40 = Family(
    name="ice40",
    target="ICE40",
    synthesis=f"synth_ice40 {ULTRAPLUS_INFERENCE}",
    compact=f"synth_ice40 {ULTRAPLUS}",
    models="ice40/cells_sim.v",
    logic=("SB_LUT4", "SB_CARRY"),
    edits=(
        # The boards' flow promises yosys that nobody uses a word that is read while it is written:
        # such bits come wrong.
        (
            "RDATA_I <= memory[RADDR[7:0]] &",
            "RDATA_I <= (memory[RADDR[7:0]] ^"
            " (WE && WCLKE && WADDR[7:0] == RADDR[7:0] ? ~WMASK_I : 16'h0)) &",
        ),
    ),
)
FAMILIES = {family.name: family for family in (ICE40,)}


def synthesize(component: "Component", family: Family, *, compact: bool = False) -> str:
    """Verilog of a component's netlist, made of the family's cells alone, with the top ``top``.

    Parameters
    ----------
    compact : with the command for compact configurations

    Raises
    ------
    UserError
        If there is no yosys that can synthesize.
    BuildFailed
        If yosys refuses the component.
    """
    from amaranth.back import rtlil

    from steelyard_hw.verilog import bare_memories

    with bare_memories():
        design = rtlil.convert(component, name=TOP, emit_src=False)
    return _run(
        find_yosys(PURPOSE),
        f"read_rtlil <<rtlil\n{design}\nrtlil",
        AFTER_READ + SHORT_ADDERS,
        f"{family.compact if compact else family.synthesis} -top {TOP}",
        "check -assert",
        "delete t:$scopeinfo",
        f"write_verilog -noattr -noexpr {OUTPUT}",
    )


def accelerator_netlist(config: AcceleratorConfig, family: Family, log: Log | None = None) -> str:
    """Netlist of the accelerator of a configuration, as :func:`synthesize` gives it, cached.

    Raises
    ------
    UserError
        If there is no yosys that can synthesize, or the cache cannot be written.
    BuildFailed
        If yosys refuses the gateware.
    """

    def make(path: Path) -> None:
        from steelyard_hw.accelerator import Accelerator
        from steelyard_hw.cells.target import Target

        if log is not None:
            log(f"Synthesizing {config.outline}")
        accelerator = Accelerator(config, Target[family.target])
        netlist = synthesize(accelerator, family, compact=not config.engine.carry_registers)
        path.write_text(netlist, encoding="utf-8")

    source = inspect.getsource(synthesize)
    digest = gateware_digest(
        "steelyard_hw.accelerator", "steelyard_hw.cells.synthesis", "steelyard_hw.verilog"
    )
    commands = (family.synthesis, family.compact)
    key = (family.target, commands, source, find_yosys(PURPOSE).version, digest)
    return cached_file(f"{config.canonical()}\n{key}", ".v", make).read_text(encoding="utf-8")


def cell_counts(netlist: str) -> dict[str, int]:
    """Number of cells of every type in a netlist, by name."""
    return dict(sorted(Counter(INSTANCE.findall(netlist)).items()))


def flip_bit(netlist: str, seed: int) -> str:
    """Netlist with one bit of one lookup table inverted, one that its constant inputs can choose.

    The circuit around it may still never choose it.
    """
    rng = Random(seed)
    place = rng.choice(list(LOOKUP.finditer(netlist)))
    constant = [(int(number), int(value)) for number, value in CONSTANT.findall(place[2])]
    reachable = [bit for bit in range(16) if all(bit >> n & 1 == value for n, value in constant)]
    content = int(place[1], 16) ^ 1 << rng.choice(reachable)
    return f"{netlist[: place.start(1)]}{content:04x}{netlist[place.end(1) :]}"


def build_netlist(
    netlist: str,
    family: Family,
    what: str,
    *,
    harness: Path = HARNESS,
    log: Log | None = None,
) -> Path:
    """Shared library that simulates a netlist, cached as well.

    Everything without an initial value follows from the seed that the simulation gets.

    Parameters
    ----------
    what : the design in words, for `log`
    harness : C++ source that clocks it

    Raises
    ------
    UserError
        If a tool is missing or the cache cannot be written.
    BuildFailed
        If a tool refuses the netlist.
    """
    yosys = find_yosys(PURPOSE)
    models = yosys.models(family.models)
    source = inspect.getsource(_verilog)
    return cached_library(
        f"netlist\n{family}\n{source}\n{models}\n{netlist}",
        lambda: _verilog(netlist, family, yosys, models),
        TOP,
        f"netlist of the {what}",
        False,
        log,
        harness,
        "unique",
    )


def _verilog(netlist: str, family: Family, yosys: Yosys, models: str) -> str:
    """Verilog of a netlist together with the models of its cells."""
    design = _run(
        yosys,
        f"read_verilog -lib -D BLACKBOX +/{family.models}",
        f"read_verilog <<verilog\n{netlist}\nverilog",
        f"techmap -D BLACKBOX -map +/{family.models} {' '.join(f't:{n}' for n in family.logic)}",
        # Not -mux_undef and the like: what is X must stay so.
        "opt_expr -mux_bool",
        # One wire a bit, or Verilator sees loops through the wires of several bits.
        "splitnets",
        "opt_clean -purge",
        "simplemap t:$mux",
        "opt_expr -mux_bool",
        "opt_merge",
        "opt_clean -purge",
        "rename -hide w:*",
        f"write_verilog -noattr -simple-lhs {OUTPUT}",
    )
    for old, new in family.edits:
        if old not in models:
            raise BuildFailed(f"The models in {family.models!r} nowhere say {old!r}.")
        models = models.replace(old, new)
    used = cell_counts(design)
    bodies = [match for match in MODULE.finditer(models) if match[1] in used]
    missing = set(used) - {match[1] for match in bodies}
    if missing:
        raise BuildFailed(f"Yosys has no models of the cells {', '.join(sorted(missing))}.")
    header = models[: next(MODULE.finditer(models)).start()]
    # Large cells that are there many times are compiled once.
    shared = [
        f'no_inline -module "{match[1]}"' for match in bodies if len(match[0]) > LARGE_CHARACTERS
    ]
    return "\n".join(
        [
            *("`verilator_config", *shared, "`verilog", header),
            *(match[0] for match in bodies),
            design,
        ]
    )


def _run(yosys: Yosys, *script: str) -> str:
    """Verilog that ``write_verilog``, the last command of a script, writes to `OUTPUT`.

    Raises
    ------
    BuildFailed
        If yosys refuses the script; carries the end of its message.
    """
    # Standard output is mute once yosys has called a logic optimizer.
    with tempfile.TemporaryDirectory() as folder:
        result = subprocess.run(
            [*yosys.command, "-q", "-"],
            input="\n".join(script) + "\n",
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
        )
        if result.returncode:
            raise BuildFailed(f"Yosys exited with {result.returncode}: {result.stderr[-2000:]}")
        return (Path(folder) / OUTPUT).read_text(encoding="utf-8")
