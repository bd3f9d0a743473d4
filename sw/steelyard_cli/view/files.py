"""Files that commands read and write; every output is written aside and moved into place."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError
from steelyard.files import is_stream, replacing
from steelyard.npy import read_npy
from steelyard.reading import first_line, opened

__all__ = ["beside", "read_array", "replacing", "write_array", "write_json", "write_text"]


def beside(output: Path, neighbour: Path) -> Path | None:
    """A file that goes along with an output; None beside a device, where no file belongs."""
    return None if is_stream(output) else neighbour


def write_text(path: Path, text: str) -> None:
    """Writes a text file."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Writes a JSON document."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def write_array(path: Path, values: NDArray) -> None:
    """Writes a .npy file."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, values, allow_pickle=False)


def read_array(path: Path, what: str) -> NDArray:
    """Array of a .npy file.

    Raises
    ------
    UserError
        If the file is missing or no plain array; `what` says in the sentence what it should hold.
    """
    try:
        with opened(path) as (file, size):
            several = file.read(4) == b"PK\x03\x04"
            file.seek(0)
            values = None if several else read_npy(file, size)
    except FileNotFoundError:
        raise UserError(
            f"{what} file {str(path)!r} does not exist; give a .npy file that numpy.save wrote."
        ) from None
    except (OSError, ValueError) as error:
        raise UserError(
            f"{what} file {str(path)!r} cannot be read as an array ({first_line(error)}); "
            "give a .npy file that numpy.save wrote."
        ) from None
    if values is None:
        raise UserError(
            f"{what} file {str(path)!r} holds several arrays, one is needed; "
            "write it with numpy.save."
        )
    return values
