"""Views, padding and shapes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from steelyard import network
from steelyard.importer.bordering import bordered
from steelyard.importer.node import Node
from steelyard.importer.operators.constants import constant_operand
from steelyard.importer.registry import operator
from steelyard.importer.values import (
    Activation,
    Codes,
    Constant,
    NetworkInput,
    Pending,
    Turned,
    Value,
)
from steelyard.importer.walk import Walk

BORDERS = ("edge", "reflect", "wrap")
"""Modes that pad with pixels of the map itself."""


@operator("Identity", inputs=1)
def identity(walk: Walk, node: Node) -> None:
    """The value itself."""
    value = walk.value(node, 0)
    if value is not None:
        walk.bind(node, value)


@operator(
    "Dropout",
    inputs=3,
    ignores={
        "ratio": "a dropout does nothing in inference",
        "seed": "a dropout does nothing in inference",
    },
)
def dropout(walk: Walk, node: Node) -> None:
    """The value itself: a dropout does nothing in inference."""
    training = walk.constant(node, 2)
    if training is not None and np.any(training):
        raise node.error(
            "has training_mode set, allowed is inference; export the model in evaluation mode."
        )
    identity(walk, node)


@operator(
    "Flatten", "Reshape", "Squeeze", "Unsqueeze", inputs=2, reads=("axis", "axes", "allowzero")
)
def reshape(walk: Walk, node: Node) -> None:
    """View of the same elements in the same order; the batch stays the first axis."""
    value = _viewable(walk, node)
    # A dynamic batch counts as 1, which no other size can be mistaken for.
    batch = walk.graph.batch or 1
    old = (batch, *value.view)
    if node.op == "Flatten":
        new = _flattened(node, old)
    elif node.op == "Reshape":
        new = _reshaped(walk, node, old)
    else:
        new = _squeezed(walk, node, old)
    if len(new) < 2 or new[0] != batch or min(new) < 1 or math.prod(new) != math.prod(old):
        raise node.error(
            f"turns {('batch', *old[1:])} into {new}, allowed are shapes of the same elements with "
            "the batch as first axis; use a flatten from axis 1."
        )
    walk.bind(node, replace(value, view=new[1:]))


@operator("Shape", inputs=1, reads=("start", "end"))
def shape(walk: Walk, node: Node) -> None:
    """Constant shape, a dynamic batch as 1."""
    dims = (walk.graph.batch or 1, *_viewable(walk, node).view)
    part = slice(node.attributes.get("start"), node.attributes.get("end"))
    walk.bind(node, Constant(np.array(dims[part], np.int64)))


@operator("Pad", inputs=4, reads=("mode", "pads", "value"))
def pad(walk: Walk, node: Node) -> None:
    """Zeros around a map, for the convolution or pooling behind it; negative ones cut it."""
    source, _ = walk.plane(node)
    mode = node.attributes["mode"]
    fill = constant_operand(walk, node, 2)
    if fill is None and walk.value(node, 2) is not None:
        raise node.error(
            "pads with a value that is computed from data, allowed are zeros around height and "
            "width; use zero padding."
        )
    given = node.attributes.get("pads")
    amounts = given if len(node.inputs) < 2 else walk.integers(node, 1)
    values = (
        [node.attributes.get("value") or 0.0] if fill is None else fill.values.reshape(-1).tolist()
    )
    places = walk.integers(node, 3)
    axes = list(range(4)) if places is None else _in_range(node, places, 4)
    before, after = [0] * 4, [0] * 4
    fits = amounts is not None and len(amounts) == 2 * len(axes) and len(set(axes)) == len(axes)
    if amounts is not None and fits:
        for position, axis in enumerate(axes):
            before[axis] = amounts[position]
            after[axis] = amounts[position + len(axes)]
    zeros = mode == "constant" and values == [0]
    own = mode in BORDERS and min(before + after) >= 0
    allowed = fits and (zeros or own)
    if not allowed or any(before[:2] + after[:2]):
        raise node.error(
            f"pads {amounts} in mode {mode!r} with {values}, allowed are zeros, or pixels "
            "of the map itself, around height and width; use zero padding."
        )
    if own:
        source = walk.unpadded(source)
        padding = (before[2], before[3], after[2], after[3])
        tensor = bordered(walk, node, source.tensor, padding, mode)
        walk.bind(node, Activation(tensor, tensor.shape))
        return
    wanted = (*before[2:], *after[2:])
    cut = tuple(min(side, 0) for side in wanted)
    if any(cut):
        source = walk.unpadded(source)
        tensor = walk.moved(node, source.tensor, (network.Pad, {"padding": cut}))
        source = Activation(tensor, tensor.shape)
    top, left, bottom, right = (
        old + max(side, 0) for old, side in zip(source.padding, wanted, strict=True)
    )
    padding = (top, left, bottom, right)
    walk.bind(node, replace(source, padding=padding))


def axes_of(walk: Walk, node: Node, rank: int) -> list[int] | None:
    """Axes of a node from 0 on, from its attribute or (in newer opsets) its second input.

    Raises
    ------
    UserError
        If they are no constant or not within the rank.
    """
    axes = walk.integers(node, 1) if len(node.inputs) > 1 else node.attributes.get("axes")
    return None if axes is None else _in_range(node, axes, rank)


def axis_of(node: Node, axis: int, rank: int) -> int:
    """Axis from 0 on.

    Raises
    ------
    UserError
        If it is not within the rank.
    """
    return _in_range(node, [axis], rank)[0]


def _in_range(node: Node, axes: list[int], rank: int) -> list[int]:
    for axis in axes:
        if not -rank <= axis < rank:
            raise node.error(
                f"has axis {axis} for {rank} axes, allowed are {-rank} to {rank - 1}; "
                "export the network again."
            )
    return [axis % rank for axis in axes]


def _viewable(walk: Walk, node: Node) -> Activation | Pending | NetworkInput | Codes | Turned:
    value: Value | None = walk.value(node, 0)
    if isinstance(value, Activation):
        return walk.unpadded(value)
    if isinstance(value, Codes):
        return walk.unpadded_codes(value)
    if not isinstance(value, Pending | NetworkInput | Codes | Turned):
        raise node.error(
            "reshapes a quantized constant, allowed is an activation; store the constant in its "
            "final shape."
        )
    return value


def _flattened(node: Node, old: tuple[int, ...]) -> tuple[int, ...]:
    rank, axis = len(old), node.attributes["axis"]
    if not -rank <= axis <= rank:
        raise node.error(
            f"has axis {axis} for {rank} axes, allowed are {-rank} to {rank}; "
            "use a flatten from axis 1."
        )
    axis += rank if axis < 0 else 0
    return math.prod(old[:axis]), math.prod(old[axis:])


def _reshaped(walk: Walk, node: Node, old: tuple[int, ...]) -> tuple[int, ...]:
    sizes = list(walk.integers(node, 1) or [])
    if not node.attributes.get("allowzero"):
        sizes = [old[i] if size == 0 and i < len(old) else size for i, size in enumerate(sizes)]
    if sizes.count(-1) == 1:
        known = math.prod(size for size in sizes if size != -1)
        sizes[sizes.index(-1)] = math.prod(old) // known if known else 0
    return tuple(sizes)


def _squeezed(walk: Walk, node: Node, old: tuple[int, ...]) -> tuple[int, ...]:
    given = walk.integers(node, 1) if len(node.inputs) > 1 else node.attributes.get("axes")
    rank = len(old) + (len(given or []) if node.op == "Unsqueeze" else 0)
    axes = [] if given is None else _in_range(node, given, rank)
    if not axes or 0 in axes or len(set(axes)) < len(axes):
        raise node.error(
            f"has axes {given}, allowed are different axes behind the batch; name such axes."
        )
    if node.op == "Squeeze":
        return tuple(size for axis, size in enumerate(old) if axis not in axes)
    remaining = iter(old)
    return tuple(1 if axis in axes else next(remaining) for axis in range(rank))
