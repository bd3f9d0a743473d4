"""Transposed convolutions, as a convolution for each phase of the stride."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from steelyard import network
from steelyard.contract.limits import MAX_PADDED_KERNEL
from steelyard.importer.node import Node
from steelyard.importer.operators.weights import bias_of, check_size, dilated, weight_of
from steelyard.importer.phases import Side, interleaves, phases_of
from steelyard.importer.registry import operator
from steelyard.importer.unscaled import Move, UnscaledConv, UnscaledMoved
from steelyard.importer.values import NO_PADDING, Pending
from steelyard.importer.walk import Walk


@operator(
    "ConvTranspose",
    inputs=3,
    reads=(
        "auto_pad",
        "dilations",
        "group",
        "kernel_shape",
        "output_padding",
        "output_shape",
        "pads",
        "strides",
    ),
)
def conv_transpose(walk: Walk, node: Node) -> None:
    """One convolution whose outputs are the phases, which then take turns in rows and columns."""
    source, _ = walk.plane(node)
    source = walk.unpadded(source)
    channels, *size = source.tensor.shape
    weight, weight_scale = weight_of(walk, node, 1, axis=1)
    groups = node.attributes["group"]
    if weight.ndim != 4 or groups < 1 or len(weight) != channels or channels % groups:
        raise node.error(
            f"has a weight of shape {weight.shape} in {groups} groups where its input has "
            f"{channels} channels, allowed is (channels, outputs of a group, height, width); "
            "export the network again."
        )
    named = node.attributes.get("kernel_shape")
    if named is not None and tuple(named) != weight.shape[2:]:
        raise node.error(
            f"has kernel_shape = {tuple(named)} and a weight of {weight.shape[2]}x"
            f"{weight.shape[3]}, allowed is the weight's size; export the network again."
        )
    weight = dilated(node, weight)
    rows, columns = _sides(node, size, weight.shape[2:])
    spread = (rows.taps * rows.stride, columns.taps * columns.stride)
    check_size(node, weight.shape[0] * weight.shape[1] * spread[0] * spread[1])
    scale = np.tile(source.tensor.scale * weight_scale, groups)
    bias = bias_of(walk, node, scale)

    def phases(values: NDArray) -> NDArray:
        """Values of all outputs, for the outputs of the convolution."""
        shape = (groups, rows.stride * columns.stride, len(values) // groups)
        return np.broadcast_to(values.reshape(groups, 1, -1), shape).reshape(-1)

    (top, bottom), (left, right) = rows.padding, columns.padding
    padding = (top, left, bottom, right)
    if any(padding) and max(rows.taps, columns.taps) > MAX_PADDED_KERNEL:
        source, padding = walk.unpadded(replace(source, padding=padding)), NO_PADDING
    scale = phases(scale)
    layer = UnscaledConv(
        node.name,
        (len(scale), rows.count, columns.count),
        source.tensor,
        phases_of(weight, groups, rows, columns),
        None if bias is None else phases(bias),
        scale,
        (1, 1),
        padding,
        groups,
    )
    moves: list[Move] = interleaves(groups, rows.stride, columns.stride)
    crop = tuple(side for pair in zip(rows.crop, columns.crop, strict=True) for side in pair)
    if any(crop):
        moves.append((network.Pad, {"padding": crop}))
    pending = UnscaledMoved.behind(node.name, layer, moves)
    walk.bind(node, Pending(pending, pending.shape))


def _sides(node: Node, size: list[int], kernel: tuple[int, ...]) -> tuple[Side, Side]:
    """Rows and columns.

    Raises
    ------
    UserError
        If strides, padding or the output's size are none.
    """
    attributes = node.attributes
    strides = list(attributes.get("strides") or (1, 1))
    more = list(attributes.get("output_padding") or (0, 0))
    pads = list(attributes.get("pads") or (0, 0, 0, 0))
    for name, values, count, least in (
        ("strides", strides, 2, 1),
        ("output_padding", more, 2, 0),
        ("pads", pads, 4, 0),
    ):
        if len(values) != count or min(values) < least:
            raise node.error(
                f"has {name} {values}, allowed are {count} numbers from {least}; "
                "export the network again."
            )
    mode, wanted = attributes["auto_pad"], attributes.get("output_shape")
    if mode not in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"):
        raise node.error(
            f"has auto_pad = {mode!r}, allowed are NOTSET, VALID, SAME_UPPER and SAME_LOWER; "
            "give the padding as pads."
        )
    if mode.startswith("SAME") and not wanted:
        wanted = [n * step for n, step in zip(size, strides, strict=True)]
    sides = []
    for axis in (0, 1):
        whole = (size[axis] - 1) * strides[axis] + kernel[axis] + more[axis]
        begin, end = (0, 0) if mode == "VALID" else (pads[axis], pads[axis + 2])
        if wanted:
            total = whole - wanted[-2:][axis] if len(wanted) > 1 else -1
            begin = total // 2 if mode == "SAME_UPPER" else total - total // 2
            end = total - begin
        if min(begin, end, whole - begin - end - 1) < 0:
            raise node.error(
                f"wants {whole - begin - end} of {whole} rows or columns, allowed are sizes from 1 "
                "up to what the kernel reaches; use another padding."
            )
        result = whole - begin - end
        sides.append(Side(size[axis], kernel[axis], strides[axis], begin, result))
    return sides[0], sides[1]
