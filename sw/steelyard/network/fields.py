"""Fields of layers from what builders are given: one number for many, scales for multipliers."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import UserError
from .scales import fixed_point
from .window import Padding

__all__ = ["checked_scale", "number", "pair", "per_channel", "scaling", "sides"]


def checked_scale(name: str, given: float | None, usual: float) -> float:
    """Scale of an output, which multipliers can be divided by."""
    scale = usual if given is None else given
    if not (math.isfinite(scale) and scale > 0):
        raise UserError(f"Layer {name!r}: the scale must be positive and finite, not {scale!r}.")
    return scale


def scaling(
    name: str, multiplier: ArrayLike | None, shift: ArrayLike | None, ratio: ArrayLike
) -> tuple[ArrayLike, ArrayLike]:
    """Multiplier and shift, from a ratio of scales unless both are given."""
    if multiplier is not None and shift is not None:
        return multiplier, shift
    if multiplier is not None or shift is not None:
        raise UserError(f"Layer {name!r}: give both multiplier and shift, or none of them.")
    return fixed_point(ratio, f"Layer {name!r}")


def per_channel(values: ArrayLike, channels: int) -> NDArray[np.int32]:
    """Values of all channels, int32 where they are integers of 32 bits."""
    array = np.asarray(values)
    if array.dtype.kind in "iu" and np.all(array == array.astype(np.int32)):
        array = array.astype(np.int32)
    return np.full(channels, array) if array.ndim == 0 else array


def number(value: ArrayLike) -> Any:
    """Plain number of an array of one element."""
    return value.item() if isinstance(value, np.ndarray) else value


def pair(kernel: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of a kernel, or rows and columns of a stride, of two or of one number."""
    return (kernel, kernel) if isinstance(kernel, int) else kernel


def sides(padding: int | Padding) -> Padding:
    """Top, left, bottom and right of a padding that may be given as one number."""
    return (padding,) * 4 if isinstance(padding, int) else padding
