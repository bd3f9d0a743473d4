"""Pooling and means over the map."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steelyard.contract.limits import MAX_CONV_STRIDE
from steelyard.importer.tflite.clamps import fused
from steelyard.importer.tflite.file import Operator
from steelyard.importer.tflite.operators.moves import appender
from steelyard.importer.tflite.registry import operator
from steelyard.importer.tflite.walk import Walk
from steelyard.importer.tflite.windows import OpWindow, read_window
from steelyard.network import (
    AvgPool,
    Conv,
    MaxPool,
    Run,
    Tensor,
    average_runs,
    join_averages,
)

WEIGHT = 127
"""Every weight of a mean that is computed as a convolution: the largest tells ties best."""
MAX_WINDOW = 1024
"""Pixels of a mean that is computed so; in larger windows ties are rare, and 24 bits too few."""
MAX_WEIGHTS = 1 << 22
"""Weights of all channels of such a mean."""


@operator("MAX_POOL_2D", inputs=1)
def max_pool(walk: Walk, op: Operator) -> None:
    """Maximum of each window."""
    x, window = _pooled(walk, op)
    output = walk.output(op, (x.shape[0], *window.size))
    layer = walk.append(
        op, MaxPool, (x,), output,
        kernel=window.kernel, stride=window.stride, padding=window.padding, **fused(op, output),
    )  # fmt: skip
    walk.bind_tensor(op, layer)


@operator("AVERAGE_POOL_2D", inputs=1)
def average_pool(walk: Walk, op: Operator) -> None:
    """Mean of each window."""
    x, window = _pooled(walk, op)
    output = walk.output(op, (x.shape[0], *window.size))
    if (x.scale, x.zero_point) != (output.scale, output.zero_point):
        raise op.error(
            f"has scale {x.scale:g} and zero point {x.zero_point} before it and {output.scale:g} "
            f"and {output.zero_point} behind it, allowed are equal ones; convert it again."
        )
    clamps = fused(op, output)

    def average(taken: Tensor, made: Tensor, row: Run, column: Run) -> None:
        own = replace(window, kernel=(row.size, column.size))
        pixels = row.size * column.size
        fits = pixels <= MAX_WINDOW and pixels * x.shape[0] <= MAX_WEIGHTS
        if pixels % 2 == 0 and max(window.stride) <= MAX_CONV_STRIDE and fits:
            _mean_of_codes(walk, op, taken, own, made)
        else:
            _average(walk, op, taken, own, made, clamps)

    rows, columns = (
        average_runs(
            x.shape[1 + axis], window.kernel[axis], window.stride[axis],
            (window.padding[axis], window.padding[axis + 2]), (0, 0),
        )
        for axis in (0, 1)
    )  # fmt: skip
    join_averages(appender(walk, op), x, output, rows, columns, average)
    walk.bind_tensor(op, output)


@operator("MEAN", inputs=2)
def mean(walk: Walk, op: Operator) -> None:
    """Mean over height and width."""
    x = walk.plane(op)
    axes = sorted({int(each) % 4 for each in walk.integers(op, 1).reshape(-1)})
    if axes != [1, 2]:
        raise op.error(
            f"averages over axes {axes}, allowed are height and width (1 and 2); average over "
            "these."
        )
    channels, height, width = x.shape
    kept = len(walk.view(op)) == 3
    output = walk.output(op, (channels, 1, 1), None if kept else (channels,))
    window = OpWindow((height, width), (1, 1), (0, 0, 0, 0), (1, 1))
    _average(walk, op, x, window, output, {})
    walk.bind_tensor(op, output)


def _pooled(walk: Walk, op: Operator) -> tuple[Tensor, OpWindow]:
    x = walk.plane(op)
    kernel = (op.options["FilterHeight"], op.options["FilterWidth"])
    return x, read_window(op, kernel, x.shape[1:])


def _average(
    walk: Walk, op: Operator, x: Tensor, window: OpWindow, output: Tensor, clamps: dict[str, int]
) -> None:
    """Mean of windows that hold equally many pixels."""
    pixels = window.kernel[0] * window.kernel[1]
    multiplier, shift = walk.scaling(op, x.scale / (output.scale * pixels))
    walk.append(
        op, AvgPool, (x,), output, kernel=window.kernel, stride=window.stride,
        multiplier=int(multiplier), shift=int(shift), **clamps,
    )  # fmt: skip


def _mean_of_codes(walk: Walk, op: Operator, x: Tensor, window: OpWindow, output: Tensor) -> Tensor:
    """Mean over an even number of pixels as a depthwise convolution of equal weights.

    TFLite's kernel rounds the mean of codes half away from code 0, wherever the zero point is, and
    a mean of few pixels often falls on a half. With ``n`` pixels, weights ``k`` and a bias ``b``
    the multiplier ``1 / (k * n - b / z)`` gives ``r - z + r * e`` for a mean of codes ``r``, where
    ``e`` is about ``1 / (k * n)``: halves are pushed away from code 0, and nothing else over one.
    """
    channels = x.shape[0]
    pixels = window.kernel[0] * window.kernel[1]
    zero = x.zero_point
    # The share b / z stays below 1, or the mean next to the half before -128 were pushed over it.
    bias = zero - int(np.sign(zero)) if abs(zero) > 1 else zero
    share = bias / zero if abs(zero) > 1 else 0.75
    multiplier, shift = walk.scaling(op, np.full(channels, 1 / (WEIGHT * pixels - share)))
    return walk.append(
        op, Conv, (x,), output,
        weight=np.full((channels, 1, *window.kernel), WEIGHT, np.int8),
        bias=np.full(channels, bias, np.int32),
        multiplier=multiplier, shift=shift, stride=window.stride, groups=channels,
        **fused(op, output),
    )  # fmt: skip
