"""Calibration images, checked once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError


def checked_images(images: NDArray[np.float32]) -> NDArray[np.float32]:
    if images.dtype != np.float32 or images.ndim not in (2, 4) or 0 in images.shape:
        raise UserError(
            f"Calibration images are {images.dtype} of shape {images.shape}, allowed is float32 "
            "(n, channels, height, width) with n at least 1; convert the array."
        )
    if not np.all(np.isfinite(images)):
        raise UserError(
            "Calibration images hold NaN or infinite values, allowed are finite ones; "
            "mend the images."
        )
    return images
