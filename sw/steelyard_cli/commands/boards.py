"""``steelyard boards``."""

from pathlib import Path

import click

from steelyard.errors import UserError

from ..options import OUTPUT_FILE, json_option
from ..view.console import show, table
from ..view.output import write_json

__all__ = ["command"]

KIB = 1024


@click.command("boards")
@click.argument("board", required=False)
@click.option("-o", "--output", type=OUTPUT_FILE, metavar="FILE.toml",
              help="Write the default configuration of BOARD.")  # fmt: skip
@click.option("--external", is_flag=True,
              help="Write the one with the SDRAM of BOARD: weights that do not fit the chip come "
                   "from there.")  # fmt: skip
@json_option
def command(board: str | None, output: Path | None, external: bool, json_file: Path | None) -> None:
    """List the boards: device, multipliers, MACs a cycle, memories, tools and clock.

    With BOARD that one alone; its default configuration, changed where a network needs it, goes
    with --config to compile, bitstream and selftest.

    \b
    Examples:
      steelyard boards
      steelyard boards --json boards.json
      steelyard boards ulx3s_85f -o accelerator.toml
      steelyard boards ulx3s_12f --external -o accelerator.toml
    """
    from steelyard_boards import BOARDS
    from steelyard_boards import board as find_board

    chosen = list(BOARDS.values()) if board is None else [find_board(board)]
    if output is not None:
        if board is None:
            raise UserError(
                f"Option -o writes the configuration of one board to {str(output)!r}; name the "
                f"board, as in 'steelyard boards {chosen[0].name} -o {output}'."
            )
        config = chosen[0].default
        if external:
            if chosen[0].external is None:
                having = ", ".join(name for name, each in BOARDS.items() if each.external)
                raise UserError(
                    f"Board {board!r} has no external memory that Steelyard drives; leave "
                    f"--external out, or name one that has: {having}."
                )
            config = chosen[0].external
        config.to_toml(output)
    elif external:
        raise UserError("Option --external is of what -o writes; name a file with -o.")
    rows = [each.row() for each in chosen]
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
