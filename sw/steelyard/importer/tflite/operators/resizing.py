"""Upsampling, nearest and bilinear, by whole factors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steelyard.contract.limits import MAX_SIDE
from steelyard.importer.phases import interleaves, taps
from steelyard.importer.tflite.file import Operator
from steelyard.importer.tflite.operators.moves import bordered, moved
from steelyard.importer.tflite.registry import operator
from steelyard.importer.tflite.walk import Walk
from steelyard.importer.unscaled import Move
from steelyard.network import Conv, Repeat, Tensor

WEIGHT = 127
"""Largest weight."""
PLACES = 1 << 10
"""Parts of a pixel that TFLite's kernels tell apart."""


@operator("RESIZE_NEAREST_NEIGHBOR", inputs=2)
def resize(walk: Walk, op: Operator) -> None:
    """Every row and column several times."""
    x, factors = _upsampled(walk, op)
    channels, height, width = x.shape
    for size, count in zip((height, width), factors, strict=True):
        if not _repeats(op, size, count):
            raise op.error(
                f"makes {height * factors[0]}x{width * factors[1]} of {height}x{width}, allowed "
                "are whole multiples whose pixels are repeated equally; choose such a size."
            )
    output = walk.output(op, (channels, height * factors[0], width * factors[1]))
    repeats: list[Move] = [
        (Repeat, {"axis": axis, "count": count})
        for axis, count in enumerate(factors, start=1)
        if count > 1
    ]
    walk.bind_tensor(op, moved(walk, op, x, repeats, output))


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


@operator("RESIZE_BILINEAR", inputs=2)
def bilinear(walk: Walk, op: Operator) -> None:
    """Mean of up to four pixels that lie around each of the result, as a depthwise convolution.

    TFLite's kernels round halves of codes up, so the bias pushes them over the half, and nothing
    else: sums are multiples of the weights' common factor.
    """
    x, counts = _upsampled(walk, op)
    channels, height, width = x.shape
    half = op.options["HalfPixelCenters"]
    if max(counts) == 1:
        output = walk.output(op, x.shape)
        walk.bind_tensor(op, moved(walk, op, x, [], output))
        return
    if op.options["AlignCorners"]:
        raise op.error(
            "aligns the corners, allowed is half_pixel_centers or neither; resize it so and train "
            "the network again."
        )
    rows, columns = (taps(count, half=half) for count in counts)
    weight = np.einsum("ai,bj->abij", rows[0], columns[0])
    one = rows[1] * columns[1]
    if weight.max() * 2 > WEIGHT or max(PLACES % rows[1], PLACES % columns[1]):
        raise op.error(
            f"resizes by {counts[0]} and {counts[1]}, allowed are powers of two with weights up to "
            f"{WEIGHT // 2} of {one}, which TFLite's kernels compute exactly; resize twice by 2."
        )
    times = WEIGHT // int(weight.max())
    phases = counts[0] * counts[1]
    shape = (channels, height * counts[0], width * counts[1])
    output = walk.output(op, shape)
    before, behind = zip(rows[2], columns[2], strict=True)
    padding = (*before, *behind)
    top, left, bottom, right = padding
    if any(padding):
        wider = (channels, height + top + bottom, width + left + right)
        x = bordered(
            walk, op, x, padding, replace(x, name=walk.inner(output, "edges", wider).name), "edge"
        )
    made = (
        channels * phases,
        *(size - span + 1 for size, span in zip(x.shape[1:], weight.shape[2:], strict=True)),
    )
    multiplier, shift = walk.scaling(op, np.full(made[0], x.scale / (output.scale * one * times)))
    kernel = np.tile(weight.reshape(phases, 1, *weight.shape[2:]) * times, (channels, 1, 1, 1))
    mean = walk.append(
        op, Conv, (x,), walk.inner(output, "phases", made),
        weight=kernel.astype(np.int8), bias=np.ones(made[0], np.int32),
        multiplier=multiplier, shift=shift, groups=channels,
    )  # fmt: skip
    walk.bind_tensor(op, moved(walk, op, mean, interleaves(channels, *counts), output))


def _upsampled(walk: Walk, op: Operator) -> tuple[Tensor, tuple[int, int]]:
    """A map, and how many rows and columns become of each.

    Raises
    ------
    UserError
        If these are no whole numbers.
    """
    x = walk.plane(op)
    target = walk.integers(op, 1)
    _, height, width = x.shape
    wanted = target.reshape(-1).tolist()
    whole = target.shape == (2,) and all(
        size <= each <= MAX_SIDE and each % size == 0
        for each, size in zip(wanted, (height, width), strict=True)
    )
    if not whole:
        raise op.error(
            f"makes {wanted[:2]} of {height}x{width}, allowed are whole multiples; choose such a "
            "size."
        )
    return x, (wanted[0] // height, wanted[1] // width)
