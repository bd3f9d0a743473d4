"""Bilinear upsampling, as a depthwise convolution whose outputs are the phases."""

from __future__ import annotations

import numpy as np

from steelyard.importer.bordering import bordered
from steelyard.importer.moving import movable
from steelyard.importer.node import Node
from steelyard.importer.phases import interleaves, taps
from steelyard.importer.unscaled import UnscaledConv, UnscaledMoved
from steelyard.importer.values import Activation, Pending
from steelyard.importer.walk import Walk

HALF = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel")
MOST = 127
"""Largest weight."""


def bilinear(walk: Walk, node: Node, counts: tuple[int, int]) -> None:
    """Bind the mean of up to four pixels that lie around each of `counts` times as many.

    Weights are whole numbers, so that each result is the exact mean, rounded once.

    Raises
    ------
    UserError
        If the node's pixels lie elsewhere, or its input is not quantized yet.
    """
    value, _, _ = movable(walk, node)
    rule = node.attributes.get("coordinate_transformation_mode", "asymmetric")
    if rule not in (*HALF, "asymmetric"):
        raise node.error(
            f"has coordinate_transformation_mode = {rule!r} in mode linear, allowed are "
            f"{', '.join(HALF)} and asymmetric; export it with align_corners = False."
        )
    if not isinstance(value, Activation):
        raise node.error(
            "takes real values in mode linear, allowed is what has been quantized; place "
            "QuantizeLinear and DequantizeLinear before it."
        )
    rows, columns = (taps(count, half=rule in HALF) for count in counts)
    weight = np.einsum("ai,bj->abij", rows[0], columns[0])
    if weight.max() > MOST:
        raise node.error(
            f"resizes by {counts} in mode linear, which takes weights up to {weight.max()}, "
            f"allowed are up to {MOST}; upsample twice by smaller factors."
        )
    channels = value.tensor.shape[0]
    before, behind = zip(rows[2], columns[2], strict=True)
    source = bordered(walk, node, value.tensor, (*before, *behind), "edge")
    phases = counts[0] * counts[1]
    shape = (channels * phases, *value.tensor.shape[1:])
    layer = UnscaledConv(
        node.name,
        shape,
        source,
        np.tile(weight.reshape(phases, 1, *weight.shape[2:]), (channels, 1, 1, 1)).astype(np.int8),
        None,
        np.full(shape[0], value.tensor.scale / (rows[1] * columns[1])),
        groups=channels,
    )
    pending = UnscaledMoved.behind(node.name, layer, interleaves(channels, *counts))
    walk.bind(node, Pending(pending, pending.shape))
