"""Files that commands read and write; every output is written aside and moved into place."""

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError

__all__ = ["read_array", "replacing", "write_array", "write_json", "write_text"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Temporary path beside `path`, with its suffix, moved there if the block ends well.

    Missing parent folders are made.

    Raises
    ------
    UserError
        If the folder cannot be made or the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
            temporary = Path(folder) / path.name
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            # Some writers make files that nobody but the user may read.
            temporary.chmod(mode)
            os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"Output {str(path)!r} cannot be written ({error.strerror or error}); "
            "give a path in a folder that may be written."
        ) from error


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
