"""Arrays of .npy files."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError
from steelyard.npy import read_npy
from steelyard.reading import first_line, opened

__all__ = ["calibration_images", "read_array"]


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


def calibration_images(path: Path) -> NDArray[np.float32]:
    """Calibration images as float32; other floating-point types are converted.

    Raises
    ------
    UserError
        If the file holds no floating-point array.
    """
    images = read_array(path, "Calibration")
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(
            f"Calibration file {str(path)!r} holds {images.dtype}, float32 network inputs are "
            "needed; convert the array."
        )
    return images.astype(np.float32, copy=False)
