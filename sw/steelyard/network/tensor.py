"""Quantized activation tensors: what flows between layers."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contract.limits import MAX_SIDE
from ..errors import UserError
from .checks import check_integer

__all__ = ["Shape", "Tensor"]

Shape = tuple[int, int, int]
"""Channels, height and width."""


@dataclass(frozen=True)
class Tensor:
    """Quantized activation tensor.

    Members
    -------
    name : str
    shape : (channels, height, width)
    scale : real value of one step
    zero_point : int8 code of real zero, -128 to 127
    """

    name: str
    shape: Shape
    scale: float
    zero_point: int

    @property
    def size(self) -> int:
        """Elements of one image."""
        channels, height, width = self.shape
        return channels * height * width

    def check(self) -> None:
        """Refuse what no tensor can be.

        Raises
        ------
        UserError
            If the shape, the zero point or the scale is out of range; names the tensor.
        """
        what = f"Tensor {self.name!r}:"
        if not isinstance(self.shape, tuple) or len(self.shape) != 3:
            raise UserError(
                f"{what} the shape must be (channels, height, width), not {self.shape!r}."
            )
        for side, value in zip(("channels", "height", "width"), self.shape, strict=True):
            check_integer(f"{what} {side}", value, 1, MAX_SIDE)
        check_integer(f"{what} the zero point", self.zero_point, -128, 127)
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise UserError(f"{what} the scale must be positive and finite, not {self.scale!r}.")

    def quantize(self, values: NDArray[np.floating]) -> NDArray[np.int8]:
        """Real values as int8 codes: ``clip(round_half_even(x / scale) + zero_point)``."""
        # What overflows to infinity is clipped as it should be.
        with np.errstate(over="ignore"):
            steps = np.rint(values.astype(np.float32) / np.float32(self.scale))
        return np.clip(steps + self.zero_point, -128, 127).astype(np.int8)

    def dequantize(self, codes: NDArray[np.int8]) -> NDArray[np.float32]:
        """Int8 codes as real values."""
        return (codes.astype(np.float32) - self.zero_point) * np.float32(self.scale)
