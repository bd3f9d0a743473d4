"""Values whose codes move: at once where they are there, behind their layer where that waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from steelyard.errors import UserError
from steelyard.importer.node import Node
from steelyard.importer.unscaled import Move, UnscaledMoved
from steelyard.importer.values import Activation, Codes, Pending
from steelyard.importer.walk import Walk
from steelyard.network import Shape

View = tuple[int, ...]


def movable(walk: Walk, node: Node) -> tuple[Activation | Pending | Codes, Shape, View]:
    """First input of a node, with the shape of its tensor and that in which it is seen.

    Raises
    ------
    UserError
        If it is constant, or not quantized yet.
    """
    value = walk.value(node, 0)
    if isinstance(value, Pending):
        return value, value.layer.shape, value.view
    if isinstance(value, Codes):
        source = walk.unpadded(walk.dequantized(value))
        return replace(value, source=source), source.tensor.shape, source.view
    source = walk.unpadded(walk.activation(node))
    return source, source.tensor.shape, source.view


def bind_moved(
    walk: Walk,
    node: Node,
    value: Activation | Pending | Codes,
    moves: Sequence[Move],
    view: View | None = None,
) -> None:
    """Bind what moves make of a value that :func:`movable` gave.

    Parameters
    ----------
    moves : layers that only move codes, one after the other
    view : shape in which the result is seen, by default that of its tensor

    Raises
    ------
    UserError
        If a layer cannot be.
    """
    if isinstance(value, Pending):
        try:
            layer = UnscaledMoved.behind(node.name, value.layer, moves)
        except UserError as error:
            reason = str(error).rstrip(".")
            raise node.error(f"cannot run: {reason}; change the layer so that it is.") from None
        walk.bind(node, replace(value, layer=layer, view=layer.shape if view is None else view))
        return
    source = value.source if isinstance(value, Codes) else value
    assert isinstance(source, Activation)
    tensor = walk.moved(node, source.tensor, *moves)
    moved = Activation(tensor, tensor.shape if view is None else view)
    if isinstance(value, Codes):
        codes = replace(value, source=moved, name=node.outputs[0], view=moved.view, lo=-128, hi=127)
        walk.bind(node, codes)
    else:
        walk.bind(node, moved)
