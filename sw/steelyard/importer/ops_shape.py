"""Operators that move no data: views, padding and shapes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from steelyard.importer.builder import Builder, operator
from steelyard.importer.graph import Node
from steelyard.importer.values import Activation, Constant, NetworkInput, Pending, Value


@operator("Identity", "Dropout")
def identity(builder: Builder, node: Node) -> None:
    """The value itself; a dropout does nothing in inference."""
    value = builder.value(node, 0)
    if value is None:
        raise node.error("has no input, one is needed; mend the graph.")
    builder.bind(node, value)


@operator("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def reshape(builder: Builder, node: Node) -> None:
    """View of the same elements in the same order; the batch stays the first axis."""
    value = _viewable(builder, node)
    old = (1, *value.view)
    if node.op == "Flatten":
        axis = int(node.attributes.get("axis", 1)) % (len(old) + 1)
        new: tuple[int, ...] = (math.prod(old[:axis]), math.prod(old[axis:]))
    elif node.op == "Reshape":
        new = _reshaped(builder, node, old)
    else:
        new = _squeezed(builder, node, old)
    if len(new) < 2 or new[0] != 1 or math.prod(new) != math.prod(old):
        raise node.error(
            f"turns {('batch', *old[1:])} into {new}, allowed are shapes of the same elements with "
            "the batch as first axis; use a flatten from axis 1."
        )
    builder.bind(node, replace(value, view=new[1:]))


@operator("Shape")
def shape(builder: Builder, node: Node) -> None:
    """Constant shape, as of a batch of one."""
    dims = (1, *_viewable(builder, node).view)
    start = node.attributes.get("start", 0)
    end = node.attributes.get("end", len(dims))
    builder.bind(node, Constant(np.array(dims[start:end], np.int64)))


@operator("Pad")
def pad(builder: Builder, node: Node) -> None:
    """Zeros around a map, taken over by the convolution or pooling behind it."""
    source = builder.activation(node)
    source.plane(node)
    mode = node.attributes.get("mode", "constant")
    given, fill, axes = (builder.constant(node, index) for index in (1, 2, 3))
    amounts = node.attributes.get("pads") if given is None else given.tolist()
    fill_value = node.attributes.get("value", 0.0) if fill is None else float(fill)
    places = range(4) if axes is None else [int(axis) % 4 for axis in axes]
    before, after = [0] * 4, [0] * 4
    if amounts is not None and len(amounts) == 2 * len(places):
        for position, axis in enumerate(places):
            before[axis] = int(amounts[position])
            after[axis] = int(amounts[position + len(places)])
    allowed = mode == "constant" and fill_value == 0 and amounts is not None
    if not allowed or any(before[:2] + after[:2]) or min(before + after) < 0:
        raise node.error(
            f"pads {amounts} in mode {mode!r} with {fill_value!r}, allowed are zeros around height "
            "and width; use zero padding."
        )
    top, left, bottom, right = source.padding
    padding = (top + before[2], left + before[3], bottom + after[2], right + after[3])
    builder.bind(node, replace(source, padding=padding))


def _viewable(builder: Builder, node: Node) -> Activation | Pending | NetworkInput:
    value: Value | None = builder.value(node, 0)
    if isinstance(value, Activation):
        return value.unpadded(node)
    if not isinstance(value, Pending | NetworkInput):
        raise node.error(
            "reshapes a quantized constant, allowed is an activation; store the constant in its "
            "final shape."
        )
    return value


def _reshaped(builder: Builder, node: Node, old: tuple[int, ...]) -> tuple[int, ...]:
    target = builder.constant(node, 1)
    sizes = [] if target is None else [int(size) for size in target]
    if not node.attributes.get("allowzero", 0):
        sizes = [old[i] if size == 0 and i < len(old) else size for i, size in enumerate(sizes)]
    if sizes.count(-1) == 1:
        known = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = math.prod(old) // known if known else 0
    return tuple(sizes)


def _squeezed(builder: Builder, node: Node, old: tuple[int, ...]) -> tuple[int, ...]:
    given = builder.constant(node, 1)
    axes = node.attributes.get("axes") if given is None else np.atleast_1d(given).tolist()
    if axes is None:
        raise node.error("names no axes, allowed are axes behind the batch; name the axes.")
    if node.op == "Squeeze":
        dropped = {axis % len(old) for axis in axes}
        return tuple(size for axis, size in enumerate(old) if axis not in dropped)
    rank = len(old) + len(axes)
    added = {axis % rank for axis in axes}
    remaining = iter(old)
    return tuple(1 if axis in added else next(remaining) for axis in range(rank))
