"""Transfer function of a layer's converters, whatever set its range."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import UserError
from .crossbar import CrossbarConfig

__all__ = ["Converter"]


@dataclass(frozen=True)
class Converter:
    """Converters of one layer's bitlines, which all have the same range.

    Members
    -------
    bits : of a code
    step : bitline sum from one code to the next, from 1; a full scale that the analog side sets, so
        it need not be a power of two, and all sums of the layer are whole multiples of it
    nearest : whether a sum between two codes takes the nearer, with halves upwards, or the lower

    Raises
    ------
    UserError
        If there are no such converters.
    """

    bits: int
    step: int = 1
    nearest: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 24 or not 1 <= self.step < 1 << 28:
            raise UserError(
                f"A converter must have 1 to 24 bits and steps of 1 to {(1 << 28) - 1}, not "
                f"{self.bits} bits and steps of {self.step}; choose values in these ranges."
            )

    @classmethod
    def of(cls, config: CrossbarConfig) -> "Converter":
        """The converter that a configuration says."""
        return cls(config.adc_bits, 1 << config.adc_shift, config.adc_rounding == "nearest")

    @property
    def top(self) -> int:
        """Greatest code."""
        return (1 << self.bits) - 1

    def is_exact(self, greatest: int) -> bool:
        """Whether it converts every sum up to a greatest one unchanged."""
        return self.step == 1 and greatest <= self.top

    def convert(self, sums: ArrayLike) -> NDArray[np.int64]:
        """What it makes of exact bitline sums, int64 of their shape."""
        codes = (np.asarray(sums, np.int64) + (self.step // 2 if self.nearest else 0)) // self.step
        return np.minimum(codes, self.top) * self.step

    def convert_in_place(self, sums: NDArray, greatest: int, unit: int = 1) -> None:
        """The same in place, on integers of an integer or floating-point type that holds them.

        Parameters
        ----------
        sums : in parts of `unit` of a level, a power of two; whole levels afterwards
        greatest : no sum is above it
        unit : parts of a level; with more than one, a converter that takes the lower code has its
            thresholds half a level below it, in the middle between two whole sums
        """
        size = self.step * unit
        raised = (size if self.nearest else unit) // 2
        if size > 1:
            sums += sums.dtype.type(raised)
            _divide(sums, size)
        if (greatest + raised) // size > self.top:
            np.minimum(sums, sums.dtype.type(self.top), out=sums)
        if self.step > 1:
            sums *= sums.dtype.type(self.step)


def _divide(sums: NDArray, size: int) -> None:
    """Floor division in place, exact."""
    power = size & (size - 1) == 0
    if not power:
        np.floor_divide(sums, sums.dtype.type(size), out=sums)
    elif sums.dtype.kind == "f":
        sums *= sums.dtype.type(1 / size)
        np.floor(sums, out=sums)
    else:
        sums >>= sums.dtype.type(size.bit_length() - 1)
