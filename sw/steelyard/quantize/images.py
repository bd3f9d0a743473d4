"""Calibration images, checked once."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import UserError

ALLOWED = "allowed is float32 (n, channels, height, width) or (n, features) with n at least 1"


def checked_images(images: ArrayLike) -> NDArray[np.float32]:
    """Images as float32 (n, channels, height, width) or (n, features), all finite.

    Parameters
    ----------
    images : floating-point array, or what numpy makes one of

    Raises
    ------
    UserError
        If they have another type or shape, or hold NaN or infinite values.
    """
    array = finite_images(images)
    if array.ndim not in (2, 4):
        raise UserError(
            f"Calibration images are {array.dtype} of shape {array.shape}, {ALLOWED}; "
            "convert the array."
        )
    return array


def finite_images(images: ArrayLike) -> NDArray[np.float32]:
    """Images as float32 of any axes behind the batch, all finite.

    Raises
    ------
    UserError
        If they are no floating-point images, or hold NaN or infinite values.
    """
    try:
        array = np.asarray(images)
    except (RuntimeError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split()).rstrip(". ")
        raise UserError(
            f"Calibration images are a {type(images).__name__} of which numpy makes no array "
            f"({reason}); give an array of float32 (n, channels, height, width)."
        ) from None
    if not np.issubdtype(array.dtype, np.floating) or array.ndim < 2 or not array.size:
        raise UserError(
            f"Calibration images are {array.dtype} of shape {array.shape}, {ALLOWED}; "
            "convert the array."
        )
    with np.errstate(over="ignore"):
        values = array.astype(np.float32, copy=False)
    if not np.all(np.isfinite(values)):
        raise UserError(
            "Calibration images hold NaN or infinite values, allowed are finite ones; "
            "fix the images."
        )
    return values
