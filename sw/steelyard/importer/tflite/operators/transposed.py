"""Transposed convolutions."""

from __future__ import annotations

import numpy as np

from steelyard.contract.limits import MAX_PADDED_KERNEL
from steelyard.importer.folding import MAX_ELEMENTS
from steelyard.importer.phases import Side, interleaves, phases_of
from steelyard.importer.tflite.clamps import fused
from steelyard.importer.tflite.file import Operator
from steelyard.importer.tflite.operators.moves import moved, padded
from steelyard.importer.tflite.registry import operator
from steelyard.importer.tflite.walk import Walk
from steelyard.importer.tflite.weights import bias_of, weight_of
from steelyard.importer.tflite.windows import read_window
from steelyard.importer.unscaled import Move
from steelyard.network import Conv, Pad, Padding


@operator("TRANSPOSE_CONV", inputs=3)
def transpose_conv(walk: Walk, op: Operator) -> None:
    """Kernels (out_channels, height, width, in_channels) that each pixel adds to the result.

    One convolution whose outputs are the phases of the stride, which then take turns.
    """
    x = walk.plane(op, 2)
    weight, scale = weight_of(walk, op, rank=4, axis=0)
    outputs, channels = len(weight), x.shape[0]
    wanted, shape = walk.integers(op, 0).reshape(-1).tolist(), walk.view(op)
    if weight.shape[3] != channels or wanted != [walk.batch, *shape] or len(shape) != 3:
        raise op.error(
            f"makes shape {('batch', *shape)} with kernels of shape {weight.shape} for an input of "
            f"{channels} channels and wants {wanted}, which do not fit; convert the network again."
        )
    output = walk.output(op, (outputs, *shape[:2]))
    sides = _sides(op, (x.shape[1], x.shape[2]), (weight.shape[1], weight.shape[2]), shape)
    rows, columns = sides
    phases = rows.stride * columns.stride
    spread = rows.taps * rows.stride * columns.taps * columns.stride
    if outputs * channels * spread > MAX_ELEMENTS:
        raise op.error(
            f"would become a convolution of {outputs * channels * spread} weights, allowed are "
            f"{MAX_ELEMENTS}; use smaller strides or fewer channels."
        )
    kernel = phases_of(weight.transpose(3, 0, 1, 2), 1, rows, columns)
    ratio = np.tile(np.broadcast_to(x.scale * scale / output.scale, (outputs,)), phases)
    multiplier, shift = walk.scaling(op, ratio)
    padding: Padding = (rows.padding[0], columns.padding[0], rows.padding[1], columns.padding[1])
    if any(padding) and max(rows.taps, columns.taps) > MAX_PADDED_KERNEL:
        height, width = (side.size + sum(side.padding) for side in sides)
        wider = walk.inner(x, "padded", (channels, height, width))
        x, padding = padded(walk, op, x, padding, wider), (0, 0, 0, 0)
    moves: list[Move] = interleaves(1, rows.stride, columns.stride)
    (top, bottom), (left, right) = rows.crop, columns.crop
    if any((*rows.crop, *columns.crop)):
        moves.append((Pad, {"padding": (top, left, bottom, right)}))
    made = walk.inner(output, "phases", (outputs * phases, rows.count, columns.count))
    layer = walk.append(
        op, Conv, (x,), made if moves else output,
        weight=kernel, bias=np.tile(bias_of(walk, op, outputs, 3), phases),
        multiplier=multiplier, shift=shift, padding=padding, **fused(op, output),
    )  # fmt: skip
    walk.bind_tensor(op, moved(walk, op, layer, moves, output) if moves else layer)


def _sides(
    op: Operator, size: tuple[int, int], kernel: tuple[int, int], result: tuple[int, ...]
) -> tuple[Side, Side]:
    """Rows and columns; the result is as a convolution would take it back to the map.

    Raises
    ------
    UserError
        If that would give another map, or the options are none.
    """
    window = read_window(op, kernel, (result[0], result[1]))
    if window.size != size:
        raise op.error(
            f"makes {result[0]}x{result[1]} of {size[0]}x{size[1]}, where a convolution would give "
            f"{window.size[0]}x{window.size[1]} of that; convert the network again."
        )
    strides = (op.options["StrideH"], op.options["StrideW"])
    rows, columns = (
        Side(size[axis], kernel[axis], strides[axis], window.padding[axis], result[axis])
        for axis in (0, 1)
    )
    return rows, columns
