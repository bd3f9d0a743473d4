"""Operators that put codes elsewhere: padding, concatenation, upsampling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steelyard.contract.limits import MAX_PADDING
from steelyard.importer.tflite.clamps import fused
from steelyard.importer.tflite.file import Operator
from steelyard.importer.tflite.registry import operator
from steelyard.importer.tflite.walk import Walk
from steelyard.network import Concat, Pad, Padding, Repeat, Tensor


def padded(walk: Walk, op: Operator, x: Tensor, padding: Padding, output: Tensor) -> Tensor:
    """Append a layer that pads a tensor; returns its output.

    Parameters
    ----------
    output : name, scale and zero point of the result

    Raises
    ------
    UserError
        If the scales differ.
    """
    channels, height, width = x.shape
    shape = (channels, height + padding[0] + padding[2], width + padding[1] + padding[3])
    return walk.append(op, Pad, (x,), replace(output, shape=shape), padding=padding)


@operator("PAD", inputs=2)
def pad(walk: Walk, op: Operator) -> None:
    """Real zeros around the map."""
    x = walk.plane(op)
    counts = walk.integers(op, 1)
    if (
        counts.shape != (4, 2)
        or counts[[0, 3]].any()
        or counts.min() < 0
        or counts.max() > MAX_PADDING
    ):
        raise op.error(
            f"has paddings {counts.reshape(-1)[:8].tolist()}, allowed are two counts for each of 4 "
            f"axes, from 0 to {MAX_PADDING}, and 0 for batch and channels; pad height and width "
            "alone."
        )
    (top, bottom), (left, right) = counts[1:3].tolist()
    channels, height, width = x.shape
    output = walk.output(op, (channels, height + top + bottom, width + left + right))
    walk.bind_tensor(op, padded(walk, op, x, (top, left, bottom, right), output))


@operator("CONCATENATION", inputs=1)
def concatenation(walk: Walk, op: Operator) -> None:
    """Channels of maps, or elements of vectors, in turn."""
    values = [walk.activation(op, index)[0] for index in range(len(op.inputs))]
    rank = len(values[0].view)
    axis = op.options["Axis"]
    if axis + (rank + 1 if axis < 0 else 0) != rank or rank not in (1, 3):
        raise op.error(
            f"has axis {axis} for shapes like {('batch', *values[0].view)}, allowed is the last "
            "axis of maps or vectors; concatenate channels."
        )
    tensors = []
    for index, value in enumerate(values):
        if rank == 3:
            tensors.append(walk.plane(op, index))
            continue
        tensor = walk.activation(op, index)[1]
        if tensor.shape[1:] != (1, 1):
            raise op.error(
                f"takes the flattened map {value.view}, allowed are maps, or vectors that were "
                "made so; concatenate channels before flattening."
            )
        tensors.append(tensor)
    if any(each.shape[1:] != tensors[0].shape[1:] for each in tensors):
        raise op.error("joins maps of several sizes, allowed is one; convert the network again.")
    shape = (sum(each.shape[0] for each in tensors), *tensors[0].shape[1:])
    output = walk.output(op, shape, (shape[0],) if rank == 1 else None)
    clamped = fused(op, output)
    walk.bind_tensor(op, walk.append(op, Concat, tuple(tensors), output, **clamped))


@operator("RESIZE_NEAREST_NEIGHBOR", inputs=2)
def resize(walk: Walk, op: Operator) -> None:
    """Every row and column several times."""
    x = walk.plane(op)
    target = walk.integers(op, 1)
    channels, height, width = x.shape
    factors = []
    for size, wanted in zip((height, width), target.reshape(-1).tolist(), strict=False):
        count = wanted // size
        if wanted < 1 or wanted != count * size or not _repeats(op, size, count):
            break
        factors.append(count)
    if target.shape != (2,) or len(factors) != 2:
        raise op.error(
            f"makes {target.reshape(-1)[:2].tolist()} of {height}x{width}, allowed are whole "
            "multiples whose pixels are repeated equally; choose such a size."
        )
    output = walk.output(op, (channels, height * factors[0], width * factors[1]))
    between = walk.inner(output, "rows", (channels, height * factors[0], width))
    # One of both is there even where nothing is repeated, so that the output exists.
    if factors[0] > 1 and factors[1] > 1:
        x = walk.append(op, Repeat, (x,), between, axis=1, count=factors[0])
        factors[0] = 1
    axis = 1 if factors[0] > 1 else 2
    walk.bind_tensor(op, walk.append(op, Repeat, (x,), output, axis=axis, count=factors[axis - 1]))


def _repeats(op: Operator, size: int, count: int) -> bool:
    """Whether TFLite's kernel, which computes places in float32, repeats each pixel equally."""
    if size * count > 1 << 16:
        return False
    places = np.arange(size * count, dtype=np.float32)
    if op.options["AlignCorners"] and count > 1:
        if size * count < 2:
            return True
        scale = np.float32(size - 1) / np.float32(size * count - 1)
        found = np.floor(places * scale + np.float32(0.5))
    else:
        scale = np.float32(size) / np.float32(size * count)
        offset = np.float32(0.5 if op.options["HalfPixelCenters"] else 0)
        found = np.floor((places + offset) * scale)
    expected = np.repeat(np.arange(size), count)
    return bool(np.array_equal(np.minimum(found, size - 1), expected))
