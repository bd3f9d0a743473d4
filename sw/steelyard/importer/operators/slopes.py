"""Slopes of negative values: a layer's second multiplier, a 1x1 depthwise layer, or a table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from steelyard.importer.functions import bind_step
from steelyard.importer.node import Node
from steelyard.importer.operators.constants import constant_operand, free_sums
from steelyard.importer.registry import operator
from steelyard.importer.unscaled import UnscaledConv, UnscaledMoved
from steelyard.importer.values import Pending
from steelyard.importer.walk import Walk


def bind_slope(walk: Walk, node: Node, slope: float) -> None:
    """Bind the first input, its negative values times one slope."""
    value = walk.value(node, 0)
    if slope >= 0 and isinstance(value, Pending):
        layer = value.layer
        moved = layer if isinstance(layer, UnscaledMoved) else None
        inner = value if moved is None else replace(value, layer=moved.layer)
        sums = free_sums(inner)
        if sums is not None:
            sloped = replace(sums, slopes=np.full(len(sums.weight), slope))
            whole = sloped if moved is None else replace(moved, layer=sloped)
            walk.bind(node, replace(value, layer=whole))
            return
    bind_step(walk, node, lambda x: np.where(x < 0, slope * x, x))


@operator("PRelu", inputs=2)
def prelu(walk: Walk, node: Node) -> None:
    """Negative values times a slope, or one for each channel."""
    slopes, value = _slopes(walk, node), walk.value(node, 0)
    if slopes.size == 1:
        bind_slope(walk, node, float(slopes[0]))
        return
    if np.any(slopes < 0):
        raise node.error(
            f"has slopes from {slopes.min():g}, allowed are slopes from 0, or one of any sign for "
            "all channels; train it with one slope (num_parameters=1)."
        )
    sums = free_sums(value) if isinstance(value, Pending) else None
    if isinstance(value, Pending) and sums is not None:
        walk.bind(node, replace(value, layer=replace(sums, slopes=slopes)))
        return
    source = walk.unpadded(walk.activation(node))
    tensor = source.tensor if len(source.view) == 1 else walk.plane(node)[0].tensor
    if tensor.shape[0] != len(slopes):
        raise node.error(
            f"takes a flattened map of shape {('batch', *tensor.shape)}, allowed is a map or what "
            "a fully connected layer gives; place it in front of the flatten."
        )
    ones, scale = np.ones((len(slopes), 1, 1, 1), np.int8), np.full(len(slopes), tensor.scale)
    layer = UnscaledConv(
        node.name, tensor.shape, tensor, ones, None, scale, groups=len(slopes), slopes=slopes
    )
    walk.bind(node, Pending(layer, source.view))


def _slopes(walk: Walk, node: Node) -> NDArray[np.float64]:
    """Slopes as float32, one, or one for each channel where they differ.

    Raises
    ------
    UserError
        If they are computed, not finite, or neither one nor one for each channel.
    """
    constant = constant_operand(walk, node, 1)
    if constant is None:
        raise node.error(
            "computes its slopes from data, allowed are constants; export the network again."
        )
    values = constant.values.astype(np.float32).astype(np.float64)
    value = walk.value(node, 0)
    view: tuple[int, ...] = getattr(value, "view", ())
    shape = values.shape
    while len(shape) > len(view) and shape[0] == 1:
        shape = shape[1:]
    alone = values.size == 1 and values.ndim <= 1 + len(view)
    each = shape == (*view[:1], *(1 for _ in view[1:]))
    if not (alone or each) or not np.all(np.isfinite(values)):
        what = "" if np.all(np.isfinite(values)) else ", some NaN or infinite"
        raise node.error(
            f"has slopes of shape {values.shape}{what}, allowed is one finite number or one for "
            f"each channel of {('batch', *view)}; export the network again."
        )
    flat = values.reshape(-1)
    return flat[:1] if np.all(flat == flat[0]) else flat
