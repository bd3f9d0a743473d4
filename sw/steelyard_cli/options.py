"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = ["DEVICE_HELP", "FILE", "FOLDER", "json_option"]

FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
DEVICE_HELP = (
    "sim: the gateware, simulated; virtual:BOARD: a board's gateware with its serial port, "
    "simulated; a serial port, or serial:PORT?baud=N: a board; golden: the numpy model."
)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--json FILE``."""
    return click.option(
        "--json", "json_file", type=FILE, metavar="FILE", help="Write the results as JSON too."
    )(function)
