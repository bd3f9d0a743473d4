"""Arrays of .npy and .npz files that a user hands in; what a header claims is checked before it
is believed."""

import io
import math
import os
import warnings
import zipfile
from typing import IO

import numpy as np
from numpy.typing import NDArray

from .reading import MALFORMED, first_line, opened

__all__ = ["MAX_UNPACKED_BYTES", "check_unpacked", "read_npy", "read_npz"]

MAX_UNPACKED_BYTES = 1 << 30
"""Bytes that a compressed archive may unpack to, unless the archive itself has more."""
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class UnsupportedVersion(ValueError):
    """An .npy file of a version that no array of numbers needs."""


def read_npy(file: IO[bytes], size: int) -> NDArray:
    """Array of an .npy file.

    Parameters
    ----------
    file : at the file's beginning
    size : bytes of the file

    Raises
    ------
    ValueError
        If it is no such file, holds objects or records, or its header claims more than its data.
    """
    try:
        with warnings.catch_warnings():
            # Headers of Python 2 are read all the same.
            warnings.simplefilter("ignore", UserWarning)
            version = np.lib.format.read_magic(file)
            if version not in HEADERS:
                raise UnsupportedVersion(f"its format version {version} is not 1.0 or 2.0")
            shape, fortran, dtype = HEADERS[version](file)
    except UnsupportedVersion:
        raise
    except MALFORMED:
        # What numpy says of them is about its own parser.
        raise ValueError("it does not begin with the header of a .npy file") from None
    if dtype.hasobject or dtype.names is not None or dtype.subdtype is not None:
        raise ValueError(f"its items are {dtype} in place of numbers")
    left = size - file.tell()
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > left:
        raise ValueError(f"its header claims {dtype} of shape {shape}, its data have {left} bytes")
    try:
        data = file.read(math.prod(shape) * dtype.itemsize)
        # A copy may be written to, as what numpy.load gives.
        values = np.frombuffer(data, dtype).copy()
        return values.reshape(shape, order="F" if fortran else "C")
    except MALFORMED as error:
        raise ValueError(first_line(error)) from None


def read_npz(path: str | os.PathLike[str]) -> dict[str, NDArray]:
    """Arrays of an .npz file by name.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no such file, or a member is no array, or unpacks to more than is sensible.
    """
    with opened(path) as (file, size):
        try:
            with zipfile.ZipFile(file) as archive:
                check_unpacked(archive, size)
                return {
                    info.filename.removesuffix(".npy"): _member(archive, info)
                    for info in archive.infolist()
                }
        except MALFORMED as error:
            raise ValueError(first_line(error)) from None


def check_unpacked(archive: zipfile.ZipFile, size: int) -> None:
    """Refuse an archive of `size` bytes that would unpack to more than is sensible.

    Raises
    ------
    ValueError
        If it would; says how many bytes.
    """
    total = sum(info.file_size for info in archive.infolist())
    limit = max(MAX_UNPACKED_BYTES, size)
    if total > limit:
        raise ValueError(f"its {size} bytes unpack to {total}, allowed are {limit}")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray:
    try:
        with archive.open(info) as file:
            content = file.read(info.file_size)
        return read_npy(io.BytesIO(content), len(content))
    except MALFORMED as error:
        raise ValueError(f"member {info.filename!r}: {first_line(error)}") from None
