"""Convolutions and fully connected layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.contract.limits import MAX_KERNEL, MAX_PADDED_KERNEL
from steelyard.importer.folding import MAX_ELEMENTS
from steelyard.importer.tflite.clamps import fused
from steelyard.importer.tflite.file import Operator
from steelyard.importer.tflite.operators.moves import padded
from steelyard.importer.tflite.registry import operator
from steelyard.importer.tflite.walk import Walk
from steelyard.importer.tflite.weights import bias_of, weight_of
from steelyard.importer.tflite.windows import read_window
from steelyard.network import Conv, Shape, Tensor


@operator("CONV_2D", inputs=2)
def conv(walk: Walk, op: Operator) -> None:
    """Kernels (out_channels, height, width, in_channels / groups)."""
    x = walk.plane(op)
    weight, scale = weight_of(walk, op, rank=4, axis=0)
    kernel = weight.transpose(0, 3, 1, 2)
    channels, own = x.shape[0], kernel.shape[1]
    if channels % own or len(kernel) % (channels // own):
        raise op.error(
            f"has {len(kernel)} kernels of {own} channels for an input of {channels}, allowed are "
            "kernels of all of them, or of equal groups; convert the network again."
        )
    _convolve(walk, op, x, kernel, scale, channels // own)


@operator("DEPTHWISE_CONV_2D", inputs=2)
def depthwise(walk: Walk, op: Operator) -> None:
    """Kernels (1, height, width, channels * multiplier)."""
    x = walk.plane(op)
    weight, scale = weight_of(walk, op, rank=4, axis=3)
    kernel = weight.transpose(3, 0, 1, 2)
    if kernel.shape[1] != 1 or len(kernel) % x.shape[0]:
        raise op.error(
            f"has weights of shape {weight.shape} for an input of {x.shape[0]} channels, allowed "
            "are (1, height, width, a multiple of these); convert the network again."
        )
    _convolve(walk, op, x, kernel, scale, x.shape[0])


@operator("FULLY_CONNECTED", inputs=2)
def fully_connected(walk: Walk, op: Operator) -> None:
    """Weights (outputs, inputs), with the inputs in order of rows, columns and channels."""
    if op.options["WeightsFormat"] != 0:
        raise op.error("has shuffled weights, allowed is their usual order; convert it so.")
    value, x = walk.activation(op)
    weight, scale = weight_of(walk, op, rank=2, axis=0)
    channels, height, width = x.shape
    if weight.shape[1] != x.size:
        raise op.error(
            f"has {weight.shape[1]} weights for each output where its input {value.view} has "
            f"{x.size} elements, allowed is one for each; flatten before it."
        )
    kernel = weight.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
    view = walk.view(op)
    # The file may keep axes of size 1.
    if view[-1:] != (len(weight),) or any(size != 1 for size in view[:-1]):
        view = (len(weight),)
    output = walk.output(op, (len(weight), 1, 1), view)
    _finish(walk, op, x, output, kernel, scale, fully_connected=True)


def _convolve(
    walk: Walk, op: Operator, x: Tensor, kernel: NDArray[np.int8], scale: NDArray, groups: int
) -> None:
    kernel = _dilated(op, kernel)
    window = read_window(op, (kernel.shape[2], kernel.shape[3]), x.shape[1:])
    shape: Shape = (len(kernel), *window.size)
    output = walk.output(op, shape)
    padding = window.padding
    source, before = walk.before_padding(x)
    top, left, bottom, right = (a + b for a, b in zip(before, padding, strict=True))
    height, width = window.kernel
    own = max(window.kernel) <= MAX_PADDED_KERNEL
    if own and max(top, bottom) < height and max(left, right) < width:
        x, padding = source, (top, left, bottom, right)
    elif any(padding) and not own:
        # Larger kernels take no padding of their own.
        made = replace(x, name=walk.inner(output, "padded", x.shape).name)
        x, padding = padded(walk, op, x, padding, made), (0, 0, 0, 0)
    _finish(
        walk, op, x, output, kernel, scale,
        stride=window.stride, padding=padding, groups=groups,
    )  # fmt: skip


def _dilated(op: Operator, kernel: NDArray[np.int8]) -> NDArray[np.int8]:
    """Kernels with the zeros between their taps that the operator's dilation stands for."""
    steps = (op.options["DilationHFactor"], op.options["DilationWFactor"])
    sides = [(n - 1) * step + 1 for n, step in zip(kernel.shape[2:], steps, strict=True)]
    if tuple(sides) == kernel.shape[2:]:
        return kernel
    outputs, channels = kernel.shape[:2]
    fits = max(sides) <= MAX_KERNEL and outputs * channels * sides[0] * sides[1] <= MAX_ELEMENTS
    if min(steps) < 1 or not fits:
        raise op.error(
            f"has a kernel of {kernel.shape[2]}x{kernel.shape[3]} with dilations {steps}, which "
            f"spans {sides[0]}x{sides[1]} pixels, allowed are sides up to {MAX_KERNEL} and "
            f"{MAX_ELEMENTS} weights; use smaller dilations."
        )
    spread = np.zeros((outputs, channels, *sides), np.int8)
    spread[:, :, :: steps[0], :: steps[1]] = kernel
    return spread


def _finish(
    walk: Walk, op: Operator, x: Tensor, output: Tensor, kernel: NDArray[np.int8],
    scale: NDArray[np.float64], **fields: Any,
) -> None:  # fmt: skip
    channels = len(kernel)
    ratio = np.broadcast_to(x.scale * scale / output.scale, (channels,))
    multiplier, shift = walk.scaling(op, ratio)
    layer = walk.append(
        op,
        Conv,
        (x,),
        output,
        weight=np.ascontiguousarray(kernel),
        bias=bias_of(walk, op, channels),
        multiplier=multiplier,
        shift=shift,
        **fused(op, output),
        **fields,
    )
    walk.bind_tensor(op, layer)
