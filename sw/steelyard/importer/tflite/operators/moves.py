"""Operators that put codes elsewhere: padding, concatenation, depth to space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from steelyard.contract.limits import MAX_PADDING
from steelyard.errors import UserError
from steelyard.importer.phases import interleaves
from steelyard.importer.tflite.clamps import fused
from steelyard.importer.tflite.constants import constant_of
from steelyard.importer.tflite.file import Operator
from steelyard.importer.tflite.registry import operator
from steelyard.importer.tflite.walk import Walk
from steelyard.importer.unscaled import Move
from steelyard.network import Concat, Layer, Lookup, Pad, Padding, Tensor, border
from steelyard.network.averages import Append
from steelyard.network.scales import real_to_code


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
    x, padding, output = _around(walk, op)
    walk.bind_tensor(op, padded(walk, op, x, padding, output))


@operator("PADV2", inputs=3)
def pad_with(walk: Walk, op: Operator) -> None:
    """A constant around the map: the code that stands for it is real zero while it is padded."""
    constant = constant_of(walk, op, 2)
    if constant is None or constant.steps.size != 1:
        raise op.error("pads with no constant number, as it must; use PAD.")
    x, padding, output = _around(walk, op)
    code = real_to_code(float(constant.values.reshape(-1)[0]), x.scale, x.zero_point)
    if code == x.zero_point:
        walk.bind_tensor(op, padded(walk, op, x, padding, output))
        return
    same = np.arange(-128, 128).astype(np.int8)
    shifted = replace(walk.inner(x, "shifted", x.shape), zero_point=code)
    y = walk.append(op, Lookup, (x,), shifted, table=same)
    y = padded(walk, op, y, padding, replace(y, name=walk.inner(y, "padded", x.shape).name))
    walk.bind_tensor(op, walk.append(op, Lookup, (y,), output, table=same))


@operator("MIRROR_PAD", inputs=2)
def mirror_pad(walk: Walk, op: Operator) -> None:
    """Pixels of the map around it, with those at its ends once more (SYMMETRIC) or not."""
    import tflite

    modes = {tflite.MirrorPadMode.REFLECT: "reflect", tflite.MirrorPadMode.SYMMETRIC: "symmetric"}
    mode = op.options["Mode"]
    if mode not in modes:
        raise op.error(
            f"has mode {mode}, allowed are REFLECT (0) and SYMMETRIC (1); convert it again."
        )
    x, padding, output = _around(walk, op)
    walk.bind_tensor(op, bordered(walk, op, x, padding, output, modes[mode]))


def appender(walk: Walk, op: Operator) -> Append:
    """:meth:`Walk.append` for an operator, as functions that append several layers take it."""

    def append(
        kind: type[Layer], sources: tuple[Tensor, ...], output: Tensor, fields: dict[str, Any]
    ) -> Tensor:
        return walk.append(op, kind, sources, output, **fields)

    return append


def bordered(
    walk: Walk, op: Operator, x: Tensor, padding: Padding, output: Tensor, mode: str
) -> Tensor:
    """Append layers that pad a tensor with pixels of its own; returns the result.

    Parameters
    ----------
    output : name, scale and zero point of the result
    mode : one of :data:`steelyard.network.BORDERS`

    Raises
    ------
    UserError
        If the scales differ, or the map has too few pixels.
    """
    if not any(padding):
        return padded(walk, op, x, padding, output)
    try:
        return border(appender(walk, op), x, output, padding, mode)
    except UserError as error:
        reason = str(error).removeprefix(f"{op.title} ").rstrip(".")
        raise op.error(f"cannot run: {reason}.") from None


@operator("DEPTH_TO_SPACE", inputs=1)
def depth_to_space(walk: Walk, op: Operator) -> None:
    """Blocks of channels as blocks of pixels."""
    x, side = walk.plane(op), op.options["BlockSize"]
    channels, height, width = x.shape
    if side < 1 or channels % (side * side):
        raise op.error(
            f"has a block size of {side} for {channels} channels, allowed is a number whose square "
            "divides them; convert the network again."
        )
    shape = (channels // (side * side), height * side, width * side)
    output = walk.output(op, shape)
    walk.bind_tensor(op, moved(walk, op, x, interleaves(1, side, side), output))


def moved(walk: Walk, op: Operator, x: Tensor, moves: Sequence[Move], output: Tensor) -> Tensor:
    """Append layers that move codes; returns the result.

    Parameters
    ----------
    output : name, shape, scale and zero point of the result

    Raises
    ------
    UserError
        If a layer cannot be, or the scales differ.
    """
    # One layer is there even where nothing moves, so that the output exists.
    chain = list(moves) or [(Pad, {"padding": (0, 0, 0, 0)})]
    for number, (kind, fields) in enumerate(chain, start=1):
        made = output
        if number < len(chain):
            shape = kind(name="", inputs=("",), output="", **fields).output_shape(x.shape)
            made = walk.inner(output, f"moved {number}", shape)
        x = walk.append(op, kind, (x,), made, **fields)
    return x


def _around(walk: Walk, op: Operator) -> tuple[Tensor, Padding, Tensor]:
    """A map, the numbers of pixels around it, and the padded map.

    Raises
    ------
    UserError
        If other axes are padded, or by too much.
    """
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
    return x, (top, left, bottom, right), output


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
