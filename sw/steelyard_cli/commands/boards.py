"""``steelyard boards``, ``steelyard bitstream`` and ``steelyard program``."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.contract.tile import load_config
from steelyard.errors import UserError
from steelyard.files import check_output

from ..errors import BadResult
from ..view.console import percent, progress, show, table
from ..view.files import write_json

if TYPE_CHECKING:
    from steelyard_boards.flow import Summary

__all__ = ["build_bitstream", "list_boards", "program_board"]

KIB = 1024
PEERS = (
    "Dense ECP5 designs: CFU-Playground hps_accel 141 (4.5 k LUT4, 32 MACs), NNgen 222 (20.6 k "
    "LUT4 and 5.7 k CCU2C of two LUTs each, 144 MACs). Ours counts all of the chip: serial link, "
    "sequencer, requantizers and carry chains; theirs leave out what connects them to a host."
)
OTHERS = "Link, sequencer and requantizers are in it."


def list_boards(name: str | None, output: Path | None, json_file: Path | None) -> None:
    """``steelyard boards``."""
    from steelyard_boards import BOARDS
    from steelyard_boards import board as find_board

    chosen = list(BOARDS.values()) if name is None else [find_board(name)]
    if output is not None:
        if name is None:
            raise UserError(
                f"Option -o writes the configuration of one board to {str(output)!r}; name the "
                f"board, as in 'steelyard boards {chosen[0].name} -o {output}'."
            )
        chosen[0].default.to_toml(output)
    rows = [board.row() for board in chosen]
    if json_file:
        write_json(json_file, {"boards": rows})
    show(
        table(
            "Boards with their default configuration",
            ("board", "device", "toolchain", "multipliers", "used", "MACs/cycle", "weights KiB",
             "act. KiB", "all KiB", "MHz"),
            [
                (row["board"], row["device"], row["toolchain"], row["multipliers"],
                 row["multipliers_used"], row["macs_per_cycle"], row["weight_bytes"] // KIB,
                 row["activation_bytes"] // KIB, row["block_ram_bytes"] // KIB, row["clock_mhz"])
                for row in rows
            ],
            left=3,
        )
    )  # fmt: skip


def build_bitstream(
    name: str, config_file: Path | None, seeds: int | None, output: Path | None
) -> None:
    """``steelyard bitstream``."""
    from steelyard_boards import board as find_board
    from steelyard_boards.flow import BuildFailed, build

    board = find_board(name)
    config = load_config(config_file) if config_file else board.default
    folder = output or Path("build") / name
    check_output(folder / "summary.json")
    with progress(f"building {board.name}") as update:
        try:
            summary, outcome = build(
                board,
                config,
                folder,
                seeds=range(1, (seeds or board.device.family.seeds) + 1),
                report=lambda now: update(0, now),
            )
        except BuildFailed as error:
            raise BadResult(str(error)) from error
    write_json(folder / "summary.json", asdict(summary))
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
        *_size(config.outline, summary, PEERS if family.name == "ECP5" else OTHERS),
        "demo network: this configuration does not run it, for its size or its layers"
        if summary.demo_fps is None
        else f"demo network: {'' if summary.macs_per_cycle else 'at least '}"
        f"{summary.demo_fps:.0f} images a second predicted, without transfers",
    )
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
            f"The design reaches {best:.1f} MHz at best where the clock of board {board.name!r} is "
            f"{summary.clock_mhz:g} MHz; try more seeds or a smaller configuration."
        )
    show(f"bitstream: {summary.bitstream}")


def _size(outline: str, summary: "Summary", remark: str) -> list[str]:
    """Lines of the accelerator's size; a crossbar tile's work is not counted in MACs a cycle."""
    if summary.macs_per_cycle is None or summary.lut_per_mac is None:
        return [outline]
    return [
        f"{outline}, {summary.macs_per_cycle} MACs a cycle",
        f"{summary.lut_per_mac:.0f} LUT a MAC. {remark}",
    ]


def program_board(name: str, file: Path | None, dry_run: bool) -> None:
    """``steelyard program``."""
    from steelyard_boards import board as find_board
    from steelyard_boards.flow import BuildFailed, bitstream_file
    from steelyard_boards.load import load, load_command

    board = find_board(name)
    command = load_command(board, file or bitstream_file(board, Path("build") / name))
    show(shlex.join(command))
    if not dry_run:
        try:
            load(command)
        except BuildFailed as error:
            raise BadResult(str(error)) from error
