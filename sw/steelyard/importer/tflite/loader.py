"""Entry point of the room."""

from __future__ import annotations

import os
from pathlib import Path

from steelyard.errors import Obstacles, UserError
from steelyard.importer.tflite import operators  # noqa: F401 - they enter the registry
from steelyard.importer.tflite.file import MAGIC, read_graph
from steelyard.importer.tflite.values import QUANTIZE
from steelyard.importer.tflite.walk import Walk
from steelyard.network import Network
from steelyard.progress import Log
from steelyard.reading import opened

SUFFIX = ".tflite"


def is_tflite(source: object) -> bool:
    """Whether a path or the content of a file is for :func:`load_tflite`.

    A path is by its ending, a file by its first bytes; one that cannot be read is not.
    """
    if isinstance(source, bytes):
        return source[4:8] == MAGIC
    if not isinstance(source, str | os.PathLike):
        return False
    path = Path(os.fsdecode(source))
    if path.suffix.lower() == SUFFIX:
        return True
    try:
        with opened(path) as (file, _):
            return file.read(8)[4:] == MAGIC
    except (OSError, ValueError):  # ValueError: a zero byte in the path
        return False


def tflite_name(source: str | os.PathLike[str] | bytes) -> str:
    """Name of the network of a file: the file's without its endings."""
    name = "" if isinstance(source, bytes) else Path(os.fsdecode(source)).name.split(".")[0]
    return name or "network"


def load_tflite(source: str | os.PathLike[str] | bytes, log: Log | None = None) -> Network:
    """Integer network of an int8 TFLite file.

    Tensors and layers are named after the file's tensors. The network's views have channels last.

    Parameters
    ----------
    source : path, or content of a file
    log : called with a sentence on each operator that is left to the host

    Raises
    ------
    FileRefused
        If it is no TFLite file, or one that is truncated or altered.
    Obstacles
        If the network cannot run; names every operator that cannot.
    UserError
        If the file cannot be read, or is not quantized to int8.
    """
    if isinstance(source, bytes):
        content, label = source, "The given data"
    else:
        path = Path(os.fsdecode(source))
        content, label = _content(path), f"File {str(path)!r}"
    name = tflite_name(source)
    graph = read_graph(content, label)
    if not any(each.type == "INT8" for each in graph.tensors):
        raise UserError(
            f"TFLite network {name!r} is not quantized to int8, only such networks are imported; "
            f"{QUANTIZE}."
        )
    try:
        return Walk(graph, name, log).build()
    except Obstacles:
        raise
    except UserError as error:
        raise Obstacles(f"TFLite network {name!r}", [str(error)]) from None


def _content(path: Path) -> bytes:
    label = f"File {str(path)!r}"
    try:
        with opened(path) as (file, _):
            return file.read()
    except (FileNotFoundError, ValueError):  # ValueError: a zero byte in the path
        raise UserError(f"{label} does not exist; give the path of a TFLite file.") from None
    except OSError as error:
        raise UserError(
            f"{label} cannot be read ({error.strerror or error}); give the path of a TFLite file."
        ) from None
