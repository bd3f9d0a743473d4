"""Parts of maps and vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steelyard.contract.limits import MAX_POOL_STRIDE
from steelyard.importer.tflite.file import Operator
from steelyard.importer.tflite.operators.moves import moved
from steelyard.importer.tflite.registry import operator
from steelyard.importer.tflite.values import plane_of
from steelyard.importer.tflite.walk import Walk
from steelyard.importer.unscaled import Move
from steelyard.network import MaxPool, Pad, Slice, Tensor

Range = tuple[int, int]
"""First place of an axis, and the one behind the last."""


@operator("SLICE", inputs=3)
def slice_(walk: Walk, op: Operator) -> None:
    """Elements from a place on, so many along each axis."""
    sizes, x = _source(walk, op)
    begin, count = (walk.integers(op, index) for index in (1, 2))
    _check_shapes(op, len(sizes), begin, count)
    ranges = [
        (first, size if number == -1 else first + number)
        for first, number, size in zip(begin.tolist(), count.tolist(), sizes, strict=True)
    ]
    _bind_part(walk, op, x, sizes, ranges)


@operator("STRIDED_SLICE", inputs=4)
def strided_slice(walk: Walk, op: Operator) -> None:
    """Elements from a place to another, rows and columns with steps between."""
    sizes, x = _source(walk, op)
    begin, end, steps = (walk.integers(op, index) for index in (1, 2, 3))
    _check_shapes(op, len(sizes), begin, end, steps)
    options = op.options
    if options["EllipsisMask"] or options["NewAxisMask"]:
        raise op.error(
            "adds axes or leaves some out by a mask, allowed is a place for each axis; convert the "
            "network again."
        )
    ranges = []
    for axis, (size, first, stop) in enumerate(
        zip(sizes, begin.tolist(), end.tolist(), strict=True)
    ):
        bit = 1 << axis
        if options["Offset"]:
            stop += first
        first, stop = (min(max(v + size if v < 0 else v, 0), size) for v in (first, stop))
        if options["BeginMask"] & bit:
            first = 0
        if options["ShrinkAxisMask"] & bit:
            stop = first + 1
        elif options["EndMask"] & bit:
            stop = size
        ranges.append((first, stop))
    _bind_part(walk, op, x, sizes, ranges, steps.tolist(), options["ShrinkAxisMask"])


@operator("SPLIT", inputs=2)
def split(walk: Walk, op: Operator) -> None:
    """Equal parts along an axis."""
    sizes, x = _source(walk, op, 1)
    axis = _axis(op, walk.integers(op, 0), len(sizes))
    parts = len(op.outputs)
    if sizes[axis] % parts:
        raise op.error(
            f"splits {sizes[axis]} places of axis {axis} into {parts} equal parts, allowed is a "
            "number that divides them; convert the network again."
        )
    _bind_split(walk, op, x, sizes, axis, [sizes[axis] // parts] * parts)


@operator("SPLIT_V", inputs=3)
def split_unequally(walk: Walk, op: Operator) -> None:
    """Parts of given sizes along an axis."""
    sizes, x = _source(walk, op)
    axis = _axis(op, walk.integers(op, 2), len(sizes))
    counts = walk.integers(op, 1).reshape(-1).tolist()
    if counts.count(-1) == 1:
        counts[counts.index(-1)] = sizes[axis] - sum(counts) - 1
    if len(counts) != len(op.outputs) or min(counts) < 1 or sum(counts) != sizes[axis]:
        raise op.error(
            f"splits {sizes[axis]} places of axis {axis} into {counts} for {len(op.outputs)} "
            "outputs, allowed are as many parts as outputs, which fill the axis; convert the "
            "network again."
        )
    _bind_split(walk, op, x, sizes, axis, counts)


def _source(walk: Walk, op: Operator, index: int = 0) -> tuple[tuple[int, ...], Tensor]:
    """Shape of a map or a vector with the batch, and its tensor."""
    value, x = walk.activation(op, index)
    if len(value.view) == 3:
        x = walk.plane(op, index)
    elif len(value.view) != 1 or x.shape != plane_of(value.view):
        raise op.error(
            f"takes a part of shape {('batch', *value.view)}, allowed are parts of maps, or of "
            "vectors that were made so; take the part before it is given another shape."
        )
    # Parts of the batch are refused, so its size does not matter.
    return (walk.batch, *value.view), x


def _check_shapes(op: Operator, rank: int, *given: NDArray[np.int64]) -> None:
    if any(each.shape != (rank,) for each in given):
        raise op.error(
            f"has places of shapes {', '.join(str(each.shape) for each in given)} for {rank} axes, "
            "allowed is one for each axis; convert the network again."
        )


def _axis(op: Operator, given: NDArray[np.int64], rank: int) -> int:
    """Axis behind the batch."""
    axis = int(given.reshape(-1)[0]) if given.size == 1 else -rank - 1
    if not -rank <= axis < rank or axis % rank == 0:
        raise op.error(
            f"splits axis {given.reshape(-1)[:4].tolist()} of {rank}, allowed is one behind the "
            "batch; split another axis."
        )
    return axis % rank


def _bind_split(
    walk: Walk, op: Operator, x: Tensor, sizes: tuple[int, ...], axis: int, counts: list[int]
) -> None:
    first = 0
    for number, count in enumerate(counts):
        ranges = [(0, size) for size in sizes]
        ranges[axis] = (first, first + count)
        _bind_part(walk, op, x, sizes, ranges, number=number)
        first += count


def _bind_part(
    walk: Walk,
    op: Operator,
    x: Tensor,
    sizes: tuple[int, ...],
    ranges: list[Range],
    steps: list[int] | None = None,
    shrunk: int = 0,
    number: int = 0,
) -> None:
    """Let an output be a part of a tensor.

    Parameters
    ----------
    sizes, ranges, steps : of each axis with the batch, in the file's order
    shrunk : bits of axes that the result does not have
    number : of the output

    Raises
    ------
    UserError
        If it is no part that layers can take.
    """
    rank = len(sizes)
    steps = steps or [1] * rank
    strides = steps[1:3] if rank == 4 else [1, 1]
    inside = all(
        0 <= first < stop <= size for (first, stop), size in zip(ranges, sizes, strict=True)
    )
    whole = ranges[0] == (0, sizes[0])
    single = [step for axis, step in enumerate(steps) if rank == 2 or axis in (0, 3)]
    if (
        not inside
        or not whole
        or set(single) != {1}
        or min(strides) < 1
        or (max(strides) > MAX_POOL_STRIDE)
    ):
        raise op.error(
            f"takes {ranges} in steps of {steps} of shape {('batch', *sizes[1:])}, allowed are all "
            "images, one channel or more in steps of 1, and rows and columns in steps up to "
            f"{MAX_POOL_STRIDE}; take such a part."
        )
    (first, stop), *pixels = ranges[-1], *ranges[1:-1]
    (top, bottom), (left, right) = pixels or ((0, 1), (0, 1))
    moves: list[Move] = []
    if (first, stop) != (0, x.shape[0]):
        moves.append((Slice, {"first": first, "count": stop - first}))
    cut = (-top, -left, bottom - x.shape[1], right - x.shape[2])
    if any(cut):
        moves.append((Pad, {"padding": cut}))
    if max(strides) > 1:
        moves.append((MaxPool, {"kernel": (1, 1), "stride": tuple(strides)}))
    height, width = (
        -(-(end - start) // step)
        for (start, end), step in zip(((top, bottom), (left, right)), strides, strict=True)
    )
    shape = (stop - first, height, width)
    full = (shape[0],) if rank == 2 else (height, width, shape[0])
    view = tuple(size for axis, size in enumerate(full, start=1) if not shrunk >> axis & 1)
    output = walk.output(op, shape, view, number=number)
    walk.bind_tensor(op, moved(walk, op, x, moves, output), number)
