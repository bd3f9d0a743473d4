"""``steelyard bitstream``."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from steelyard.contract import AcceleratorConfig
from steelyard.errors import UserError
from steelyard.files import check_output

from ..errors import BadResult
from ..options import FILE, OUTPUT_FOLDER
from ..view.console import activity, percent, show, table
from ..view.output import write_json

if TYPE_CHECKING:
    from steelyard_boards import Board
    from steelyard_boards.flow import Summary

__all__ = ["command"]

MHZ = 1_000_000
CLOCK_STEP = 2.5
"""MHz between clocks that are proposed."""
PEERS = (
    "Dense ECP5 designs: CFU-Playground hps_accel 141 (4.5 k LUT4, 32 MACs), NNgen 222 (20.6 k "
    "LUT4 and 5.7 k CCU2C of two LUTs each, 144 MACs). Ours counts all of the chip: serial link, "
    "sequencer, requantizers and carry chains; theirs leave out what connects them to a host."
)
OTHERS = "Link, sequencer and requantizers are in it."


@click.command("bitstream")
@click.argument("board")
@click.option(
    "--config", type=FILE, metavar="FILE.toml",
    help="Configuration of the accelerator in place of the board's own.",
)  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(1), show_default="3, Gowin 1",
    help="Placements to try; the fastest is taken.",
)  # fmt: skip
@click.option(
    "--clock", type=click.FloatRange(1, min_open=True), metavar="MHZ",
    help="Clock of the design in place of the board's own.",
)  # fmt: skip
@click.option("-o", "--output", type=OUTPUT_FOLDER, metavar="DIR", help="build/BOARD unless given.")
def command(
    board: str,
    config: Path | None,
    seeds: int | None,
    clock: float | None,
    output: Path | None,
) -> None:
    """Build the bitstream of a board, whose names 'steelyard boards' lists.

    What cannot fit is refused at once. DIR receives the bitstream, named as the board,
    summary.json, config.toml and the tools' files. The variables YOSYS, NEXTPNR_ECP5,
    NEXTPNR_ICE40, NEXTPNR_GOWIN, ECPPACK, ICEPACK, GOWIN_PACK and VIVADO name other tools than
    those from PyPI. Exit status 1 if the design misses the board's clock.

    For the Xilinx boards DIR receives Verilog, constraints and build.tcl. Where Vivado is missing,
    the command says so, estimates the cells, and ends with exit status 0 without a bitstream.

    \b
    Examples:
      steelyard bitstream ulx3s_85f
      steelyard bitstream ulx3s_25f --config accelerator.toml --seeds 1 -o build/small
      steelyard bitstream ulx3s_12f --clock 75
    """
    from steelyard_boards import board as find_board
    from steelyard_boards.flow import BuildFailed, build

    target = find_board(board)
    if clock is not None:
        target = replace(target, clock_hz=round(clock * MHZ), external_clock_hz=None)
    configured = AcceleratorConfig.from_toml(config) if config else target.default
    target = target.clocked(configured)
    folder = output or Path("build") / board
    check_output(folder / "summary.json")
    with activity(f"building {target.name}") as log:
        try:
            summary, outcome = build(
                target,
                configured,
                folder,
                seeds=range(1, (seeds or target.device.family.seeds) + 1),
                log=log,
            )
        except BuildFailed as error:
            raise BadResult(str(error)) from error
    write_json(folder / "summary.json", asdict(summary))
    _show_size(target, configured.outline, summary)
    if outcome.missing:
        show(outcome.missing)
        return
    assert summary.fmax_mhz is not None
    best = max(summary.fmax_seeds)
    show(
        f"fmax {summary.fmax_mhz:.1f} MHz (median of {len(summary.fmax_seeds)}), best "
        f"{best:.1f} MHz; the clock is {summary.clock_mhz:g} MHz"
    )
    if summary.bitstream is None:
        raise BadResult(
            f"The design reaches {best:.1f} MHz at best where the clock of board {target.name!r} "
            f"is {summary.clock_mhz:g} MHz; try {_slower(target, best)}more seeds or a smaller "
            "configuration."
        )
    show(f"bitstream: {summary.bitstream}")


def _slower(board: "Board", best_mhz: float) -> str:
    """A clock below what was reached that the board can make, as a remedy; nothing if none is."""
    for steps in range(int(best_mhz / CLOCK_STEP), 0, -1):
        slower = replace(board, clock_hz=round(steps * CLOCK_STEP * MHZ))
        try:
            slower.check_clock()
        except UserError:
            continue
        return f"--clock {steps * CLOCK_STEP:g}, "
    return ""


def _show_size(board: Any, outline: str, summary: "Summary") -> None:
    """What the design takes of the device, and what it computes."""
    device, family = board.device, board.device.family
    used = [
        (f"LUT ({family.lut})", summary.lut, device.luts),
        ("FF", summary.ff, device.flip_flops),
        (f"multipliers ({family.multiplier})", summary.dsp, device.multipliers),
        (f"block RAM ({family.block_ram})", summary.bram, device.block_rams),
    ]
    show(
        table(
            board.title,
            ("resource", "used", "available", "share"),
            [(what, have, of, percent(have / of) if of else "-") for what, have, of in used],
        ),
        *_size(outline, summary, PEERS if family.name == "ECP5" else OTHERS),
        "demo network: this configuration does not run it, for its size or its layers"
        if summary.demo_fps is None
        else f"demo network: {'' if summary.macs_per_cycle else 'at least '}"
        f"{summary.demo_fps:.0f} images a second predicted, without transfers",
    )


def _size(outline: str, summary: "Summary", remark: str) -> list[str]:
    """Lines of the accelerator's size; a crossbar tile's work is not counted in MACs a cycle."""
    if summary.macs_per_cycle is None or summary.lut_per_mac is None:
        return [outline]
    return [
        f"{outline}, {summary.macs_per_cycle} MACs a cycle",
        f"{summary.lut_per_mac:.0f} LUT a MAC. {remark}",
    ]
