"""``steelyard boards`` and ``steelyard bitstream``."""

from dataclasses import asdict
from pathlib import Path

from steelyard.config import ArrayConfig
from steelyard.errors import UserError

from .console import percent, progress, show, table
from .errors import BadResult
from .files import write_json

__all__ = ["build_bitstream", "list_boards"]

KIB = 1024


def list_boards(json_file: Path | None) -> None:
    """``steelyard boards``."""
    from steelyard_boards import BOARDS

    rows = [board.row() for board in BOARDS.values()]
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


def build_bitstream(name: str, config_file: Path | None, seeds: int, output: Path | None) -> None:
    """``steelyard bitstream``."""
    from steelyard_boards import board as find_board
    from steelyard_boards.flow import BuildFailed, build

    board = find_board(name)
    config = ArrayConfig.from_toml(config_file) if config_file else board.default
    folder = output or Path("build") / board.name
    if folder.exists() and not folder.is_dir():
        raise UserError(f"Output {str(folder)!r} is a file; give a folder with -o.")
    with progress(f"building {board.name}") as update:
        try:
            summary = build(
                board,
                config,
                folder,
                seeds=range(1, seeds + 1),
                report=lambda now: update(0, now),
            )
        except BuildFailed as error:
            raise BadResult(str(error)) from error
    write_json(folder / "summary.json", asdict(summary))
    device = board.device
    used = [
        ("LUT", summary.lut, device.luts),
        ("FF", summary.ff, device.luts),
        ("multipliers", summary.dsp, device.multipliers),
        ("block RAM", summary.bram, device.block_rams),
    ]
    best = max(summary.fmax_seeds)
    show(
        table(
            board.title,
            ("resource", "used", "available", "share"),
            [(what, have, of, percent(have / of)) for what, have, of in used],
        ),
        f"{config.lanes} lanes x {config.columns} columns, {summary.macs_per_cycle} MACs a cycle",
        f"fmax {summary.fmax_mhz:.1f} MHz (median of {seeds} seeds), best {best:.1f} MHz; "
        f"the clock is {summary.clock_mhz:g} MHz",
        "demo network: does not fit the memories"
        if summary.demo_fps is None
        else f"demo network: {summary.demo_fps:.0f} images a second predicted, without transfers",
    )
    if summary.bitstream is None:
        raise BadResult(
            f"The design reaches {best:.1f} MHz at best where the clock of board {board.name!r} is "
            f"{summary.clock_mhz:g} MHz; try more seeds or a smaller configuration."
        )
    show(f"bitstream: {summary.bitstream}")
