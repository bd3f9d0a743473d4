"""Arithmetic of the number contract on blocks of images.

A block is ``(channels, height, width, images)``: windows are then long contiguous runs, and a
layer's output is already laid out as the next layer's input.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Block", "BlockFunction", "requantize", "round_to_codes"]

Block = NDArray[np.int8]
"""int8 (channels, height, width, images)."""
BlockFunction = Callable[..., Block]
"""From a layer's input blocks to its output block."""


def requantize(
    accumulator: NDArray[np.integer],
    multiplier: ArrayLike,
    shift: ArrayLike,
    zero_point: int,
    lo: int,
    hi: int,
) -> NDArray[np.int8]:
    """Int8 codes ``clamp(zero_point + round_half_even(acc * multiplier / 2**shift), lo, hi)``.

    Parameters
    ----------
    accumulator : integers ``acc`` of any shape, magnitude below 2**39
    multiplier : 0 to 2**24 - 1, broadcast against `accumulator`
    shift : 1 to 63, broadcast against `accumulator`
    zero_point, lo, hi : int8 codes
    """
    bits = np.asarray(shift, dtype=np.int64)
    product = np.asarray(accumulator, dtype=np.int64) * np.asarray(multiplier, dtype=np.int64)
    quotient = product >> bits
    one = np.int64(1)
    half = one << (bits - one)
    remainder = product & (half - one + half)
    quotient += (remainder > half) | ((remainder == half) & ((quotient & one) == one))
    return np.clip(quotient + zero_point, lo, hi).astype(np.int8)


def round_to_codes(
    total: NDArray[np.float64],
    scale: NDArray[np.float64] | float,
    zero_point: int,
    lo: int,
    hi: int,
) -> NDArray[np.int8]:
    """Requantization in place of float64 sums whose products with `scale` are exact."""
    total *= scale
    np.rint(total, out=total)
    total += zero_point
    np.clip(total, lo, hi, out=total)
    return total.astype(np.int8)
