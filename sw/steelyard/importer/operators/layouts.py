"""Operators that put elements elsewhere: upsampling, depth to space, transposed axes."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from steelyard.contract.limits import MAX_SIDE
from steelyard.importer.moving import bind_moved, movable
from steelyard.importer.node import Node
from steelyard.importer.operators.bilinear import bilinear
from steelyard.importer.operators.shapes import axis_of
from steelyard.importer.phases import interleaves
from steelyard.importer.registry import operator
from steelyard.importer.unscaled import Move
from steelyard.importer.values import QuantizedConstant, Turned, Value
from steelyard.importer.walk import Walk
from steelyard.network import Repeat, Shape, Shuffle

FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]
"""Orders of the axes by which channels become first and last."""
REORDERED = (
    "reorders the axes of an activation, allowed are channels that become last (0, 2, 3, 1) in "
    "front of outputs, fully connected layers and functions of each element, and first again, and "
    "channel and pixel shuffles; export the network with channels first."
)
CUBIC = "it is about mode cubic, which is refused"
CROPPED = "it is about tf_crop_and_resize, which is refused"


@operator(
    "Resize",
    inputs=4,
    reads=(
        "antialias",
        "axes",
        "coordinate_transformation_mode",
        "keep_aspect_ratio_policy",
        "mode",
        "nearest_mode",
    ),
    ignores={
        "cubic_coeff_a": CUBIC,
        "exclude_outside": CUBIC,
        "extrapolation_value": CROPPED,
    },
)
def resize(walk: Walk, node: Node) -> None:
    """Nearest or bilinear upsampling by whole factors."""
    attributes = node.attributes
    for key, allowed in (
        ("mode", ("nearest", "linear")),
        ("antialias", (0,)),
        ("keep_aspect_ratio_policy", ("stretch",)),
    ):
        if attributes.get(key, allowed[0]) not in allowed:
            usable = " and ".join(map(repr, allowed))
            raise node.error(
                f"has {key} = {attributes[key]!r}, allowed is {usable}; use nearest upsampling by "
                "a whole factor, or leave the node to the host."
            )
    _, shape, view = movable(walk, node)
    _check_plane(node, shape, view)
    last = "coordinate_transformation_mode" in attributes
    given = walk.constant(node, 2 if last else 1)
    sizes = walk.integers(node, 3) if last else None
    axes = list(attributes.get("axes") or range(4))
    if given is not None and given.size:
        factors = _numbers(node, given)
    elif sizes is not None and len(sizes) == len(axes):
        old = (walk.graph.batch or 1, *view)
        places = [axis_of(node, axis, 4) for axis in axes]
        factors = [size / old[axis] for size, axis in zip(sizes, places, strict=True)]
    else:
        factors = []
    _upsample(walk, node, factors, axes)


@operator("Upsample", inputs=2, reads=("mode", "scales"))
def upsample(walk: Walk, node: Node) -> None:
    """Nearest or bilinear upsampling of old files."""
    if node.attributes["mode"] not in ("nearest", "linear"):
        raise node.error(
            f"has mode = {node.attributes['mode']!r}, allowed is 'nearest' and 'linear'; use "
            "nearest upsampling by a whole factor, or leave the node to the host."
        )
    given = walk.constant(node, 1) if len(node.inputs) > 1 else None
    factors = list(node.attributes.get("scales", ())) if given is None else _numbers(node, given)
    _upsample(walk, node, factors, list(range(4)))


@operator("DepthToSpace", inputs=1, reads=("blocksize", "mode"))
def depth_to_space(walk: Walk, node: Node) -> None:
    """Blocks of channels as blocks of pixels, in both orders."""
    value, shape, view = movable(walk, node)
    _check_plane(node, shape, view)
    side, mode = node.attributes["blocksize"], node.attributes.get("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise node.error(
            f"has mode = {mode!r}, allowed are 'DCR' and 'CRD'; export the network again."
        )
    if side < 1 or shape[0] % (side * side):
        raise node.error(
            f"has blocksize = {side} for {shape[0]} channels, allowed is a number whose square "
            "divides them; export the network again."
        )
    channels = shape[0] // (side * side) if mode == "CRD" else 1
    bind_moved(walk, node, value, interleaves(channels, side, side))


@operator("Transpose", inputs=1, reads=("perm",))
def transpose(walk: Walk, node: Node) -> None:
    """Transposed weight, or activation whose channels or pixels go where layers can put them.

    Channels that become last stay where they are, and what reads the value is told so.
    """
    stored = walk.value(node, 0)
    constant = stored if isinstance(stored, QuantizedConstant) else None
    if _straightened(walk, node, stored):
        return
    if constant is None:
        value, shape, view = movable(walk, node)
    rank = constant.codes.ndim if constant else 1 + len(view)
    order = node.attributes.get("perm") or list(reversed(range(rank)))
    if sorted(order) != list(range(rank)):
        raise node.error(
            f"has perm = {order} for {rank} axes, allowed is each axis once; "
            "export the network again."
        )
    if constant:
        axis = order.index(constant.axis) if rank else 0
        walk.bind(node, replace(constant, codes=constant.codes.transpose(order), axis=axis))
        return
    moves = _transposing(shape, view, [axis - 1 for axis in order[1:]]) if order[0] == 0 else None
    if moves is None and order == LAST and view == shape:
        walk.bind(node, Turned(value, (*view[1:], view[0])))
        return
    if moves is None:
        raise node.error(REORDERED)
    bind_moved(walk, node, value, moves, tuple(view[axis - 1] for axis in order[1:]))


def _straightened(walk: Walk, node: Node, value: Value | None) -> bool:
    """Bind the result where the input has channels last, which become first or stay.

    Returns whether that is so; also of the network's input, which has channels last from then on.

    Raises
    ------
    UserError
        If the axes of such a map are ordered otherwise.
    """
    order = node.attributes.get("perm")
    if isinstance(value, Turned):
        channels, height, width = value.value.view
        if order == [*range(1 + len(value.view))]:
            walk.bind(node, value)
        elif order == FIRST and value.view == (height, width, channels):
            walk.bind(node, value.value)
        else:
            raise node.error(REORDERED)
        return True
    view: tuple[int, ...] = getattr(value, "view", ())
    if order != FIRST or len(view) != 3:
        return False
    straight = walk.straight_input(value, (view[2], view[0], view[1]))
    if straight is None:
        return False
    walk.bind(node, straight)
    return True


def _transposing(shape: Shape, view: tuple[int, ...], order: list[int]) -> list[Move] | None:
    """Moves that reorder the axes of a view of a tensor, None if there are none."""
    axes = [axis for axis in range(len(view)) if view[axis] != 1]
    kept = [axis for axis in order if view[axis] != 1]
    if kept == axes:
        return []
    # Two blocks of axes that make up the channels change places.
    for stop in range(2, len(axes) + 1):
        if math.prod(view[axis] for axis in axes[:stop]) != shape[0]:
            continue
        for count in range(1, stop):
            if kept == [*axes[count:stop], *axes[:count], *axes[stop:]]:
                return [(Shuffle, {"groups": math.prod(view[axis] for axis in axes[:count])})]
    if len(view) == 5 and view[3:] == shape[1:]:
        if order == [0, 3, 1, 4, 2]:
            return interleaves(view[0], view[1], view[2])
        if order == [2, 3, 0, 4, 1]:
            return interleaves(1, view[0], view[1])
    return None


def _numbers(node: Node, factors: np.ndarray) -> list[float]:
    if factors.dtype.kind not in "fiu":
        raise node.error(
            f"has factors of {factors.dtype}, allowed are float numbers; export the network again."
        )
    return [float(each) for each in factors.reshape(-1)[:5]]


def _check_plane(node: Node, shape: Shape, view: tuple[int, ...]) -> None:
    if view != shape:
        raise node.error(
            f"takes a tensor of shape {('batch', *view)}, allowed is the unflattened "
            f"{('batch', *shape)}; flatten behind it."
        )


def _upsample(walk: Walk, node: Node, factors: list[float], axes: list[int]) -> None:
    """Bind the upsampling by a factor for each of `axes`."""
    value, shape, view = movable(walk, node)
    _check_plane(node, shape, view)
    places = [axis_of(node, axis, 4) for axis in axes]
    whole = [1.0] * 4
    fits = len(factors) == len(places) == len(set(places))
    for axis, factor in zip(places, factors, strict=False):
        whole[axis] = factor
    longest = [MAX_SIDE // size for size in view[1:]]
    # NaN is no number from 1 on either.
    counted = all(1 <= f <= top and f == int(f) for f, top in zip(whole[2:], longest, strict=True))
    if not fits or whole[:2] != [1, 1] or not counted:
        raise node.error(
            f"resizes by {factors} along axes {axes}, allowed are whole factors of height and "
            f"width from 1 on, to sides of {MAX_SIDE}; use nearest upsampling by a whole factor, "
            "or leave the node to the host."
        )
    counts = [int(factor) for factor in whole[2:]]
    if node.attributes["mode"] == "linear" and max(counts) > 1:
        bilinear(walk, node, (counts[0], counts[1]))
        return
    for size, count in zip(view[1:], counts, strict=True):
        if count > 1:
            _check_nearest(node, size, count)
    moves: list[Move] = [
        (Repeat, {"axis": axis, "count": count})
        for axis, count in enumerate(counts, start=1)
        if count > 1
    ]
    bind_moved(walk, node, value, moves)


def _check_nearest(node: Node, size: int, count: int) -> None:
    """Refuse a rule of the nearest pixel by which pixels are not repeated `count` times.

    Raises
    ------
    UserError
        Names the rule.
    """
    rule = node.attributes.get("coordinate_transformation_mode", "asymmetric")
    nearest = node.attributes.get("nearest_mode", "floor")
    made = np.arange(size * count)
    middle = (made + 0.5) / count
    none = np.full(made.shape, -1.0)
    x = {
        "align_corners": made * ((size - 1) / max(size * count - 1, 1)),
        "asymmetric": made / count,
        "half_pixel": middle - 0.5,
        "half_pixel_symmetric": middle - 0.5,
        "pytorch_half_pixel": middle - 0.5,
        "tf_half_pixel_for_nn": middle,
    }.get(rule, none)
    taken = {
        "ceil": np.ceil(x),
        "floor": np.floor(x),
        "round_prefer_ceil": np.floor(x + 0.5),
        "round_prefer_floor": np.ceil(x - 0.5),
    }.get(nearest, none)
    known = x is not none and taken is not none
    if not known or not np.array_equal(np.clip(taken, 0, size - 1), made // count):
        raise node.error(
            f"has coordinate_transformation_mode = {rule!r} and nearest_mode = {nearest!r}, which "
            f"do not repeat each of {size} pixels {count} times, as it must be; use 'asymmetric' "
            "and 'floor'."
        )
