"""Reading of files that a user hands in, whatever they turn out to be."""

import os
import stat
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

__all__ = ["MALFORMED", "MAX_TEXT_BYTES", "first_line", "opened", "read_text"]

MAX_TEXT_BYTES = 1 << 24
"""Bytes that a text, such as a configuration, may have."""
MALFORMED = (
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What numpy's and Python's readers of malformed headers and archives raise."""


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[tuple[IO[bytes], int]]:
    """A regular file, open for reading, and its size in bytes.

    Raises
    ------
    OSError
        If it cannot be opened, or is a folder, a device or a FIFO, which may have no end.
    """
    # Opening a FIFO would wait for its writer.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("Is no regular file")
    with open(path, "rb") as file:
        yield file, os.fstat(file.fileno()).st_size


def read_text(path: str | os.PathLike[str]) -> str:
    """Text of a UTF-8 file.

    Raises
    ------
    OSError
        If the file cannot be opened or is no regular one.
    ValueError
        If it is longer than any text that is read here, or no UTF-8.
    """
    with opened(path) as (file, size):
        if size > MAX_TEXT_BYTES:
            raise ValueError(f"it has {size} bytes, allowed are {MAX_TEXT_BYTES}")
        return file.read(MAX_TEXT_BYTES).decode("utf-8")


def first_line(error: Exception) -> str:
    """What an error says, on one line and without a full stop."""
    if isinstance(error, KeyError) and error.args:
        return f"{error.args[0]!r} is missing"
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
