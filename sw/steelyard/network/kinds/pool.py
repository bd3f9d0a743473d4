"""Pooling: the maximum or the mean of a window."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...contract.limits import MAX_POOL_STRIDE
from ...errors import UserError
from ..arithmetic import Block, BlockFunction, round_to_codes
from ..checks import check_scaling
from ..layer import Layer
from ..tensor import Shape, Tensor
from ..window import Padding, Stride, Window, pad, reduce_windows

__all__ = ["AvgPool", "MaxPool"]


@dataclass(frozen=True, kw_only=True)
class _Pool(Layer):
    """Layer of one output channel for each input channel, and a window."""

    kernel: tuple[int, int]
    stride: Stride = (1, 1)
    """Rows and columns from a window to the next."""
    padding: Padding = (0, 0, 0, 0)

    @property
    def window(self) -> Window:
        """Kernel, stride and padding."""
        return Window(self.kernel, self.stride, self.padding)

    @property
    def elementwise(self) -> bool:
        """For a window of one pixel."""
        return self.window == Window()

    def output_shape(self, *inputs: Shape) -> Shape:
        """The input's channels, and as many pixels as windows."""
        ((channels, height, width),) = inputs
        self.window.check(MAX_POOL_STRIDE)
        return (channels, *self.window.output_size((height, width)))

    def check(self, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Refuse windows and shapes that do not fit."""
        self.check_shape(inputs, output)


@dataclass(frozen=True, kw_only=True)
class MaxPool(_Pool):
    """Maximum over a window; padding never wins. Scale and zero point pass unchanged."""

    key: ClassVar[str] = "max_pool"

    def check(self, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Refuse windows, shapes and scales that do not fit."""
        super().check(inputs, output)
        (x,) = inputs
        if (x.scale, x.zero_point) != (output.scale, output.zero_point):
            raise UserError(
                "max_pool needs equal scale and zero point in and out, not "
                f"({x.scale!r}, {x.zero_point}) and ({output.scale!r}, {output.zero_point})."
            )

    def golden(self, inputs: Sequence[Tensor], output: Tensor) -> BlockFunction:
        """Maxima of all windows."""

        def function(x: Block) -> Block:
            padded = pad(x, self.padding, -128, np.int8)
            best = reduce_windows(padded, self.kernel, self.stride, np.maximum)
            return np.clip(best, self.lo, self.hi)

        return function


@dataclass(frozen=True, kw_only=True)
class AvgPool(_Pool):
    """Exact sum over a window, requantized once with 1/n in `multiplier`; padding is real zero."""

    key: ClassVar[str] = "avg_pool"
    multiplier: int
    shift: int
    negative_multiplier: int | None = None
    """In place of the multiplier for negative sums, at the same shift; None for one multiplier."""

    def check(self, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Refuse windows, shapes, multipliers and shifts that do not fit."""
        super().check(inputs, output)
        check_scaling("multiplier", self.multiplier, self.shift)
        if self.negative_multiplier is not None:
            check_scaling("negative_multiplier", self.negative_multiplier, self.shift)

    def golden(self, inputs: Sequence[Tensor], output: Tensor) -> BlockFunction:
        """Requantized sums of all windows."""
        z_x = inputs[0].zero_point
        offset = -float(self.kernel[0] * self.kernel[1] * z_x)
        above = float(np.ldexp(float(self.multiplier), -self.shift))
        below = above
        if self.negative_multiplier is not None:
            below = float(np.ldexp(float(self.negative_multiplier), -self.shift))

        def function(x: Block) -> Block:
            padded = pad(x, self.padding, z_x, np.int32)
            sums = reduce_windows(padded, self.kernel, self.stride, np.add) + offset
            scale = above if below == above else np.where(sums < 0, below, above)
            return round_to_codes(sums, scale, output.zero_point, self.lo, self.hi)

        return function
