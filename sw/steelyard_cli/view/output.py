"""Files that commands write; every one is written aside and moved into place."""

import csv
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.files import is_stream, replacing

__all__ = ["beside", "write_array", "write_arrays", "write_csv", "write_json", "write_text"]


def beside(output: Path, neighbour: Path) -> Path | None:
    """A file that goes along with an output; None beside a device, where no file belongs."""
    return None if is_stream(output) else neighbour


def write_text(path: Path, text: str) -> None:
    """Writes a text file."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, document: Mapping[str, Any] | list[Any]) -> None:
    """Writes a JSON document."""
    write_text(path, json.dumps(document, indent=2, allow_nan=False) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes rows of equal columns, at least one, as CSV with a heading."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_array(path: Path, values: NDArray) -> None:
    """Writes a .npy file."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, values, allow_pickle=False)


def write_arrays(path: Path, arrays: Mapping[str, NDArray]) -> None:
    """Writes a .npz file of arrays by their names, or of a single array a .npy file."""
    if path.suffix != ".npz":
        (values,) = arrays.values()
        write_array(path, values)
        return
    # numpy.savez takes no array that is called as one of its parameters.
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asanyarray(values), allow_pickle=False)
