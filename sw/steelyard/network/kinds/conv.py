"""Convolutions and fully connected layers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...contract.limits import (
    MAX_CONV_STRIDE,
    MAX_K,
    MAX_MULTIPLIER,
    MAX_POSITIONS,
    MAX_SHIFT,
)
from ...errors import UserError
from ..arithmetic import Block, BlockFunction, requantize, round_to_codes
from ..checks import check_integer
from ..layer import Layer, Rank
from ..tensor import Shape, Tensor
from ..window import Padding, Stride, Window, pad

__all__ = ["Conv"]

FLOAT32_EXACT = 1 << 24
FLOAT64_EXACT = 1 << 53
WINDOW_BYTES = 1 << 20
"""Bytes of gathered windows a matrix product works on: it should stay in a core's cache."""


# Arrays have no single truth value, so convolutions compare by identity.
@dataclass(frozen=True, kw_only=True, eq=False)
class Conv(Layer):
    """Convolution or fully connected layer.

    ``y = clamp(z_y + round_half_even(acc * multiplier / 2**shift), lo, hi)`` with
    ``acc = bias + sum(w * (x - z_x))``.
    """

    key: ClassVar[str] = "conv"
    weight: Annotated[NDArray[np.int8], Rank(4)]
    """int8 (out_channels, in_channels / groups, kernel_h, kernel_w), -127 to 127, 0 if pruned."""
    bias: Annotated[NDArray[np.int32], Rank(1)]
    """int32 (out_channels,) at scale s_x * s_w, without zero-point correction."""
    multiplier: Annotated[NDArray[np.int32], Rank(1)]
    """int32 (out_channels,), 0 to 2**24 - 1."""
    shift: Annotated[NDArray[np.int32], Rank(1)]
    """int32 (out_channels,), 1 to 63."""
    negative_multiplier: Annotated[NDArray[np.int32], Rank(1)] | None = None
    """int32 (out_channels,), 0 to 2**24 - 1: in place of the multiplier where ``acc < 0``, at the
    same shift, as a LeakyReLU or PReLU on sums wants it; None for one multiplier."""
    stride: Stride = (1, 1)
    """Rows and columns from a window to the next."""
    padding: Padding = (0, 0, 0, 0)
    """Top, left, bottom, right, filled with the input's zero point."""
    groups: int = 1
    """Parts of the channels that are convolved apart; as many as channels for a depthwise layer."""
    fully_connected: bool = False
    """Whether the kernel is the whole map."""
    k: int | None = None
    """Weights kept in every group, as a note of whoever made the layer, 1 to 32; None where it is
    not known, as in every imported network. Nothing is computed from it: the compiler counts."""

    @property
    def kind(self) -> str:
        """``conv`` or ``fc``."""
        return "fc" if self.fully_connected else "conv"

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of the kernel."""
        return (self.weight.shape[2], self.weight.shape[3])

    @property
    def window(self) -> Window:
        """Kernel, stride and padding."""
        return Window(self.kernel, self.stride, self.padding)

    def macs(self, output: Tensor) -> int:
        """Multiplications of one image, counting pruned weights too."""
        _, height, width = output.shape
        return int(self.weight.size) * height * width

    def output_shape(self, *inputs: Shape) -> Shape:
        """A channel for each kernel, and as many pixels as windows."""
        ((_, height, width),) = inputs
        self._check_weight()
        self.window.check(MAX_CONV_STRIDE)
        return (len(self.weight), *self.window.output_size((height, width)))

    def accumulator_bound(self) -> NDArray[np.int64]:
        """Largest magnitude of any partial sum ``sum(w * x)`` over all int8 inputs.

        Inputs are raw codes, as in the array: zero-point correction and bias are added afterwards.
        int64 (out_channels,).
        """
        weight = self.weight.reshape(len(self.weight), -1).astype(np.int64)
        positive = np.maximum(weight, 0).sum(axis=1)
        negative = np.maximum(-weight, 0).sum(axis=1)
        return np.maximum(128 * positive + 127 * negative, 127 * positive + 128 * negative)

    def multipliers(self, sums: NDArray[np.int64]) -> NDArray[np.int32]:
        """Multiplier of each sum, whose last axis is the output channel, by its sign."""
        if self.negative_multiplier is None:
            return self.multiplier
        return np.where(sums < 0, self.negative_multiplier, self.multiplier)

    def check(self, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Refuse weights, windows, shapes and scalings that do not fit."""
        (x,) = inputs
        self.check_shape(inputs, output)
        self._check_values(x)
        if self.weight[0].size > MAX_POSITIONS:
            raise UserError(
                f"an output channel may have up to {MAX_POSITIONS} weights, "
                f"not {self.weight[0].size}."
            )
        kernel = self.kernel
        if self.fully_connected and (
            kernel != x.shape[1:] or any(self.padding) or self.stride != (1, 1) or self.groups != 1
        ):
            raise UserError(
                f"a fully connected layer's kernel must cover the map of {x.shape[1]}x{x.shape[2]} "
                f"in one group without padding at stride 1, not {kernel[0]}x{kernel[1]} in "
                f"{self.groups} with padding {self.padding} at stride {self.stride}."
            )
        self._check_channels()
        if self.k is not None:
            check_integer("k", self.k, 1, MAX_K)

    def _check_weight(self) -> None:
        weight = self.weight
        if weight.dtype != np.int8 or weight.ndim != 4 or 0 in weight.shape:
            raise UserError(
                "the weight must be int8 (out_channels, in_channels, kernel_h, kernel_w), "
                f"not {weight.dtype} {weight.shape}."
            )

    def _check_values(self, x: Tensor) -> None:
        weight = self.weight
        check_integer("groups", self.groups, 1, len(weight))
        if len(weight) % self.groups:
            raise UserError(
                f"{len(weight)} output channels cannot be cut into {self.groups} equal groups."
            )
        if weight.shape[1] * self.groups != x.shape[0]:
            times = f"{self.groups} groups of " * (self.groups > 1)
            raise UserError(
                f"the weight has {times}{weight.shape[1]} input channels where {x.name!r} has "
                f"{x.shape[0]}."
            )
        if int(weight.min()) < -127:
            raise UserError(
                "weights must lie from -127 to 127, but -128 occurs; quantize symmetrically."
            )

    def _check_channels(self) -> None:
        """Refuse biases, multipliers and shifts, which every output channel has one of."""
        channels = len(self.weight)
        for what, values, low, high in (
            ("bias", self.bias, -(1 << 31), (1 << 31) - 1),
            ("multiplier", self.multiplier, 0, MAX_MULTIPLIER),
            ("negative_multiplier", self.negative_multiplier, 0, MAX_MULTIPLIER),
            ("shift", self.shift, 1, MAX_SHIFT),
        ):
            if values is None:
                continue
            if values.dtype != np.int32 or values.shape != (channels,):
                raise UserError(
                    f"the {what} must be int32 ({channels},), not {values.dtype} {values.shape}."
                )
            check_integer(f"the smallest {what}", int(values.min()), low, high)
            check_integer(f"the largest {what}", int(values.max()), low, high)

    def golden(self, inputs: Sequence[Tensor], output: Tensor) -> BlockFunction:
        """Matrix products in BLAS over gathered windows.

        They run in a floating-point type whose integers are provably exact for the actual weights,
        so the order of summation cannot matter.
        """
        z_x = inputs[0].zero_point
        channels, own, kernel_h, kernel_w = self.weight.shape
        (down, along), groups = self.stride, self.groups
        # Raw codes keep the sums smallest; the zero point moves into the bias, as in the array.
        flat = self.weight.transpose(0, 2, 3, 1).reshape(channels, -1)
        bias = self.bias.astype(np.int64) - z_x * flat.sum(axis=1, dtype=np.int64)
        bound = self.accumulator_bound()
        single = int(bound.max()) <= FLOAT32_EXACT
        dtype = np.float32 if single else np.float64
        matrix = flat.astype(dtype).reshape(groups, channels // groups, -1)
        finish = self._finisher(bound, bias, output.zero_point)

        def function(x: Block) -> Block:
            padded = pad(x, self.padding, z_x, dtype)
            height, width = self.window.output_size(x.shape[1:3])
            images = x.shape[3]
            result = np.empty((channels, height, width, images), np.int8)
            row_bytes = groups * flat.shape[1] * width * images * np.dtype(dtype).itemsize
            step = min(height, max(1, WINDOW_BYTES // row_bytes))
            taps = (groups, kernel_h, kernel_w, own)
            windows = np.empty((*taps, step, width, images), dtype)
            for y in range(0, height, step):
                rows = min(step, height - y)
                if rows < step:
                    windows = np.empty((*taps, rows, width, images), dtype)
                for ky in range(kernel_h):
                    first = y * down + ky
                    band = padded[:, first : first + (rows - 1) * down + 1 : down]
                    for kx in range(kernel_w):
                        tap = band[:, :, kx : kx + (width - 1) * along + 1 : along]
                        windows[:, ky, kx] = tap.reshape(groups, own, *tap.shape[1:])
                sums = matrix @ windows.reshape(groups, flat.shape[1], -1)
                codes = finish(sums.reshape(channels, -1))
                result[:, y : y + rows] = codes.reshape(channels, rows, width, images)
            return result

        return function

    def _finisher(
        self, bound: NDArray[np.int64], bias: NDArray[np.int64], z_y: int
    ) -> Callable[[NDArray], NDArray[np.int8]]:
        """Bias and requantization of exact sums (out_channels, pixels)."""
        negative = self.multiplier if self.negative_multiplier is None else self.negative_multiplier
        steepest = np.maximum(self.multiplier, negative)
        largest = (bound + np.abs(bias)) * steepest.astype(np.int64)
        if int(largest.max()) < FLOAT64_EXACT:
            # The product fits float64 and a power of two only moves its exponent, so rint sees the
            # true quotient.
            above, below = (
                np.ldexp(each.astype(np.float64), -self.shift)[:, None]
                for each in (self.multiplier, negative)
            )
            slopes = self.negative_multiplier is not None
            offset = bias.astype(np.float64)[:, None]

            def rounded(sums: NDArray) -> NDArray[np.int8]:
                total = np.add(sums, offset, dtype=np.float64)
                scale = np.where(total < 0, below, above) if slopes else above
                return round_to_codes(total, scale, z_y, self.lo, self.hi)

            return rounded

        def exact(sums: NDArray) -> NDArray[np.int8]:
            total = sums.astype(np.int64) + bias[:, None]
            s = self.shift[:, None]
            m = np.atleast_2d(self.multipliers(total.T)).T
            return requantize(total, m, s, z_y, self.lo, self.hi)

        return exact
