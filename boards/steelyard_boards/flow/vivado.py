"""The maker's flow of Xilinx devices: a project for Vivado, and an estimate where that is missing.

Vivado is nothing that can be installed from PyPI. Without it the project's files are written all
the same, for a machine that has it, and yosys tells what the design will take.
"""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

from steelyard.contract import AcceleratorConfig
from steelyard.files import replacing
from steelyard_hw.cells.synthesis import AFTER_READ, TOP
from steelyard_hw.lib.tools import find_yosys

from ..board import MHZ, Board
from .flow import Flow, Job, plan
from .summary import Outcome
from .tools import BuildFailed, Command, find_tool, run_tool

__all__ = ["Vivado"]

PROJECT = (f"{TOP}.v", f"{TOP}.xdc", "build.tcl")
"""What Vivado needs."""
SLACK = "steelyard: slack"
UTILIZATION = f"{TOP}_utilization_place.rpt"
LUTS_OF = {
    **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
    "RAM32M": 4,
    "RAM64M": 4,
    "RAM32X1D": 2,
    "RAM64X1D": 2,
    "SRL16E": 1,
    "SRLC32E": 1,
}
"""LUTs of the cells that are made of LUTs."""


class Vivado(Flow):
    """Flow of the 7 series."""

    toolchain = "vivado"
    suffix = ".bit"

    def find_tools(self) -> dict[str, Command]:
        vivado = find_tool("VIVADO", "vivado")
        if vivado is not None:
            return {"VIVADO": vivado}
        return {"YOSYS": find_yosys("The estimate without Vivado").command}

    def synthesis_tools(self) -> dict[str, Command]:
        return {"YOSYS": find_yosys("The estimate without Vivado").command}

    def prepare(self, board: Board, config: AcceleratorConfig) -> dict[str, str]:
        report = f'puts "{SLACK} [get_property SLACK [get_timing_paths]]"'
        files = plan(board, config, script_after_route=report)
        files["build.tcl"] = files[f"{TOP}.tcl"]
        synthesis = f"synth_xilinx {board.device.family.synthesis} -top {TOP}"
        files["estimate.ys"] = (
            f"read_verilog {TOP}.v\n{AFTER_READ}{synthesis}\nwrite_json {TOP}.json\n"
        )
        return {name: files[name] for name in (*PROJECT, "estimate.ys")}

    def build(self, job: Job) -> Outcome:
        for name in PROJECT:
            with replacing(job.folder / name, "Project file") as temporary:
                shutil.copyfile(job.work / name, temporary)
        if "VIVADO" not in job.tools:
            return replace(
                self.synthesize(job),
                missing=(
                    "Vivado, which makes this board's bitstream, is not here: the cells are those "
                    f"that yosys estimates, and {', '.join(PROJECT)} lie in "
                    f"{str(job.folder)!r} for 'vivado -mode batch -source build.tcl' on a machine "
                    "that has it."
                ),
            )
        command = [*job.tools["VIVADO"], "-mode", "batch", "-log", "vivado.log",
                   "-nojournal", "-source", "build.tcl"]  # fmt: skip
        run_tool(command, job.work, "vivado.log", "Vivado", job.log)
        fmax = _fmax_mhz(job.work / "vivado.log", job.board.clock_hz)
        bitstream = None
        if fmax * MHZ >= job.board.clock_hz:
            bitstream = job.folder / f"{job.board.name}{self.suffix}"
            with replacing(bitstream, "Bitstream") as temporary:
                shutil.copyfile(job.work / f"{TOP}.bit", temporary)
        lut, ff, dsp, bram = _placed(job.work / UTILIZATION)
        return Outcome(lut, ff, dsp, bram, [fmax], bitstream)

    def synthesize(self, job: Job) -> Outcome:
        command = [*job.tools["YOSYS"], "-q", "-l", f"{TOP}.rpt", "estimate.ys"]
        run_tool(command, job.work, f"{TOP}.rpt", "estimate", job.log)
        netlist = json.loads((job.work / f"{TOP}.json").read_text(encoding="utf-8"))
        cells = [cell["type"] for cell in netlist["modules"][TOP]["cells"].values()]
        return Outcome(
            lut=sum(LUTS_OF.get(cell, 0) for cell in cells),
            ff=sum(cell in ("FDRE", "FDSE", "FDCE", "FDPE") for cell in cells),
            dsp=cells.count("DSP48E1"),
            bram=cells.count("RAMB18E1") + 2 * cells.count("RAMB36E1"),
        )


def _fmax_mhz(log: Path, clock_hz: int) -> float:
    """Highest clock, of the slack that the project prints."""
    found = re.search(rf"^{SLACK} (-?[\d.]+)$", log.read_text(errors="replace"), re.MULTILINE)
    if found is None:
        raise BuildFailed("Vivado told no slack", log)
    return 1e3 / (1e9 / clock_hz - float(found[1]))


def _placed(report: Path) -> tuple[int, int, int, int]:
    """LUTs, registers, multipliers and halves of block RAMs, of Vivado's report."""
    text = report.read_text(errors="replace")

    def used(name: str) -> float:
        found = re.search(rf"^\| {name}\*? +\| +([\d.]+) \|", text, re.MULTILINE)
        if found is None:
            raise BuildFailed(f"Vivado's report has no line {name!r}", report)
        return float(found[1])

    return (
        int(used("Slice LUTs")),
        int(used("Slice Registers")),
        int(used("DSPs")),
        round(2 * used("Block RAM Tile")),
    )
