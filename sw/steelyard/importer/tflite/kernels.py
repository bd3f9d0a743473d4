"""Functions of codes as TFLite's integer kernels compute them, with their intermediate roundings.

Each takes distances of codes from the input's zero point and gives distances from the output's,
int64. Names and order of the steps are those of TFLite's and gemmlowp's sources.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["hard_swish", "leaky_relu", "prelu"]

Codes = NDArray[np.int64]

LEAKY_BITS = 8
"""Fraction bits of both multipliers of a LEAKY_RELU."""
LEAKY_RATIOS = (2.0**-LEAKY_BITS, 128.0)
"""Least and greatest ratio of scales that its default kernel takes."""
HIGH_BITS = 7
"""By how many bits a HARD_SWISH shifts its input to the left."""
MOST_UP, MOST_DOWN = 14, 31
"""Bits of shifts beyond which every result but 0 exceeds all codes, or all results are 0."""
RELUISH = 3 / 32768
"""Scale of the factor that a HARD_SWISH clamps."""


def leaky_relu(x: Codes, ratio: float, slope: float) -> Codes | None:
    """The default kernel: both multipliers have 8 fraction bits.

    Returns None where another kernel computes.

    Parameters
    ----------
    ratio : scale of the input over that of the output
    slope : of negative values
    """
    least, most = LEAKY_RATIOS
    if not least <= ratio <= most or not least <= abs(ratio * slope) < most:
        return None
    above, below = (np.rint(np.ldexp(each, LEAKY_BITS)) for each in (ratio, ratio * slope))
    product = x * np.where(x < 0, below, above).astype(np.int64)
    return (product + (1 << (LEAKY_BITS - 1))) >> LEAKY_BITS


def prelu(x: Codes, ratio: float, slope: int, slope_ratio: float) -> Codes:
    """The one kernel: it rounds twice.

    Parameters
    ----------
    ratio : scale of the input over that of the output
    slope : code of the slope, as a distance from its zero point
    slope_ratio : the same ratio times the slope's scale
    """
    return np.where(x < 0, _rescaled(x * slope, slope_ratio), _rescaled(x, ratio))


def hard_swish(x: Codes, input_scale: float, output_scale: float) -> Codes:
    """The one kernel, which computes with 16 bits."""
    high = x << HIGH_BITS
    fine = input_scale / (1 << HIGH_BITS)
    multiplier, exponent = _short(fine / output_scale)
    factor, factor_exponent = _short(fine / RELUISH)
    before_shift = _high_product(high, multiplier, 15)
    reluish = high
    if factor_exponent > 0:
        reluish = _saturated(reluish << (factor_exponent - 1))
    reluish = _high_product(reluish, factor, 15)
    if factor_exponent > 0:
        reluish = _saturated(reluish << 1)
    elif factor_exponent < 0:
        reluish = _shifted(reluish, -factor_exponent)
    reluish = (reluish + (1 << 15)) >> 1
    # SaturatingDoublingHighMul: this product alone is rounded towards 0.
    product = np.sign(before_shift) * (reluish * np.abs(before_shift) >> 15)
    return _shifted(product, -exponent) if exponent < 0 else _saturated(product << exponent)


def _rescaled(x: Codes, ratio: float) -> Codes:
    """MultiplyByQuantizedMultiplier."""
    multiplier, exponent = _multiplier(ratio)
    return _shifted(_high_product(x << max(exponent, 0), multiplier, 31), max(-exponent, 0))


def _multiplier(ratio: float) -> tuple[int, int]:
    """QuantizeMultiplier: ``ratio = multiplier / 2**31 * 2**exponent``."""
    mantissa, exponent = math.frexp(ratio)
    multiplier = math.floor(mantissa * (1 << 31) + 0.5)
    if multiplier == 1 << 31:
        multiplier, exponent = multiplier // 2, exponent + 1
    return multiplier, min(max(exponent, -MOST_DOWN), MOST_UP)


def _short(ratio: float) -> tuple[int, int]:
    """The same with a multiplier of 16 bits."""
    multiplier, exponent = _multiplier(ratio)
    return min((multiplier + (1 << 15)) >> 16, (1 << 15) - 1), exponent


def _high_product(a: Codes, b: int, bits: int) -> Codes:
    """SaturatingRoundingDoublingHighMul: halves go up for positive products, else down."""
    product = a * b
    half = 1 << (bits - 1)
    nudged = product + np.where(product >= 0, half, 1 - half)
    # Division in C rounds towards 0.
    return np.sign(nudged) * (np.abs(nudged) >> bits)


def _shifted(x: Codes, bits: int) -> Codes:
    """RoundingDivideByPOT: halves away from zero."""
    mask = (1 << bits) - 1
    remainder, threshold = x & mask, (mask >> 1) + (x < 0)
    return (x >> bits) + (remainder > threshold)


def _saturated(x: Codes) -> Codes:
    return np.clip(x, -(1 << 15), (1 << 15) - 1)
