"""Real scales as the integer multiplier and shift of the requantizer."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..contract.limits import MAX_SHIFT, MULTIPLIER_BITS
from ..errors import UserError

__all__ = ["add_fixed_point", "fixed_point", "real_to_code", "sloped_fixed_point"]


def fixed_point(
    ratio: ArrayLike, name: str = "scale"
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Multiplier and shift of each ratio, ``ratio = multiplier / 2**shift``.

    A float32 ratio from 2**-40 to below 2**23 is represented exactly, with the multiplier
    normalized to ``[2**23, 2**24)``. Below 2**-40 the shift stays at 63 and the multiplier loses
    low bits down to zero; a 32-bit accumulator times such a ratio never reaches half a step, so
    no output changes.

    Parameters
    ----------
    ratio : real ratios, any shape; rounded to float32 first
    name : culprit that an error names

    Raises
    ------
    UserError
        If a ratio is not finite, not positive, or 2**23 or more.
    """
    exact = np.asarray(ratio, np.float64)
    if not np.all(np.isfinite(exact)) or np.any(exact <= 0):
        raise UserError(
            f"{name} has a scale ratio that is not finite and positive; quantize the network again "
            "with calibration data that reaches this layer."
        )
    with np.errstate(over="ignore"):  # infinite is refused below
        single = exact.astype(np.float32).astype(np.float64)
    _, exponent = np.frexp(single)
    shift = MULTIPLIER_BITS - exponent.astype(np.int64)
    if np.any(shift < 1) or not np.all(np.isfinite(single)):
        raise UserError(
            f"{name} has a scale ratio of {float(exact.max()):g}, allowed is less than 2**23; "
            "quantize the network again with calibration data that reaches this layer."
        )
    shift = np.minimum(shift, MAX_SHIFT)
    multiplier = np.rint(np.ldexp(single, shift.astype(np.int32)))
    return multiplier.astype(np.int32), shift.astype(np.int32)


def add_fixed_point(ratio_a: float, ratio_b: float, name: str = "scale") -> tuple[int, int, int]:
    """``(multiplier_a, multiplier_b, shift)`` of an add, both products at one shift.

    The larger ratio is exact in float32; the smaller one is rounded at the same shift, an error
    of at most ``2**-24`` of the larger.

    Raises
    ------
    UserError
        As :func:`fixed_point`.
    """
    _, shifts = fixed_point([ratio_a, ratio_b], name)
    shift = int(shifts.min())
    a, b = (int(np.rint(np.ldexp(float(np.float32(r)), shift))) for r in (ratio_a, ratio_b))
    return a, b, shift


def sloped_fixed_point(
    ratio: NDArray[np.float64], slopes: NDArray[np.float64], name: str = "scale"
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Multiplier, multiplier of negative sums and shift, for slopes of negative results.

    The larger of both ratios is exact in float32; the smaller one is rounded at the same shift, an
    error of at most ``2**-24`` of the larger.

    Parameters
    ----------
    ratio : real ratios
    slopes : factors of the ratios for negative sums, of the same shape, from 0

    Raises
    ------
    UserError
        As :func:`fixed_point`.
    """
    _, shift = fixed_point(ratio * np.maximum(slopes, 1), name)
    above, below = (
        np.rint(np.ldexp(each.astype(np.float32).astype(np.float64), shift)).astype(np.int32)
        for each in (ratio, ratio * slopes)
    )
    return above, below, shift


def real_to_code(value: float, scale: float, zero_point: int) -> int:
    """Int8 code of a real bound, saturated; infinities give the end of the range."""
    if not np.isfinite(value):
        return 127 if value > 0 else -128
    with np.errstate(over="ignore"):  # saturates as any large bound
        steps = float(np.rint(np.float32(value) / np.float32(scale)))
    return int(np.clip(steps + zero_point, -128, 127))
