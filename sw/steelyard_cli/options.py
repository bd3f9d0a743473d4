"""Options that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from steelyard.errors import UserError
from steelyard.files import check_output, is_stream

__all__ = [
    "DEVICE_HELP",
    "FILE",
    "FOLDER",
    "OUTPUT_FILE",
    "OUTPUT_FOLDER",
    "cut_option",
    "json_option",
]


class _Output(click.Path):
    """Output that is checked before the work that makes it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        # A folder holds files whose names the command gives.
        check_output(path / "report.json" if self.dir_okay else path)
        if ctx is not None and param is not None and not self.dir_okay and not is_stream(path):
            name = param.opts[-1]
            other = ctx.meta.setdefault(__name__, {}).setdefault(path.resolve(), name)
            if other != name:
                raise UserError(
                    f"Options {other} and {name} both name {str(path)!r}, and one output would "
                    "replace the other; give two files."
                )
        return path


FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)
OUTPUT_FILE = _Output(dir_okay=False, readable=False, path_type=Path)
OUTPUT_FOLDER = _Output(file_okay=False, path_type=Path)
DEVICE_HELP = (
    "sim: the gateware, simulated; virtual:BOARD: a board's gateware with its serial port, "
    "simulated; a serial port, or serial:PORT?baud=N: a board; golden: the numpy model."
)


def json_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--json FILE``."""
    return click.option(
        "--json",
        "json_file",
        type=OUTPUT_FILE,
        metavar="FILE",
        help="Write the results as JSON too.",
    )(function)  # fmt: skip


def cut_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option ``--cut NAME``."""
    return click.option(
        "--cut",
        multiple=True,
        metavar="NAME",
        help="Leave the end of the network to the host: a node, the first of the host's, a value, "
        "at which the accelerator's part ends, or an operator that occurs once. May be given more "
        "than once.",
    )(function)  # fmt: skip
