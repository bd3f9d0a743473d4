"""Files that commands read and write; every output is written aside and moved into place."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError
from steelyard.files import is_stream, replacing

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
        # numpy leaves a damaged file open when it opens it itself.
        with path.open("rb") as file:
            values = np.load(file, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(
            f"{what} file {str(path)!r} does not exist; give a .npy file that numpy.save wrote."
        ) from None
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise UserError(
            f"{what} file {str(path)!r} cannot be read as an array ({reason}); "
            "give a .npy file that numpy.save wrote."
        ) from None
    if not isinstance(values, np.ndarray):
        raise UserError(
            f"{what} file {str(path)!r} holds several arrays, one is needed; "
            "write it with numpy.save."
        )
    return values
