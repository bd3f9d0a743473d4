"""Concatenations."""

from __future__ import annotations

from steelyard.importer.node import Node
from steelyard.importer.operators.shapes import axis_of
from steelyard.importer.registry import operator
from steelyard.importer.unscaled import Part, UnscaledConcat, UnscaledLayer, UnscaledMoved
from steelyard.importer.values import Activation, Codes, LaterMaxPool, Pending
from steelyard.importer.walk import Walk

EXPORT = "join along channels, or leave the node to the host"


@operator("Concat", inputs=1, reads=("axis",))
def concat(walk: Walk, node: Node) -> None:
    """Concatenation of channels, of real values or of codes."""
    given = [walk.value(node, index) for index in range(len(node.inputs))]
    codes = [each for each in given if isinstance(each, Codes)]
    if codes and len(codes) < len(given):
        raise node.error(
            "joins integer codes and real values, allowed is one of them; export the network again."
        )
    kinds = {(each.scale, each.zero_point, each.unsigned) for each in codes}
    if len(kinds) > 1:
        raise node.error(
            "joins integer codes of different scales or zero points, allowed are equal ones; "
            "join real values in front of a QuantizeLinear."
        )
    sources: list[Activation | Pending] = []
    for index, value in enumerate(given):
        if isinstance(value, Codes):
            value = walk.dequantized(value)
        elif not isinstance(value, Pending) or _joins(value.layer):
            value = walk.activation(node, index)
        sources.append(walk.unpadded(value) if isinstance(value, Activation) else value)
    view = _joined_view(node, [each.view for each in sources])
    shapes = [s.layer.shape if isinstance(s, Pending) else s.tensor.shape for s in sources]
    if len({shape[1:] for shape in shapes}) > 1:
        raise node.error(
            f"joins flattened maps of shapes {shapes}, allowed are maps of one height and width; "
            "join the maps before they are flattened."
        )
    parts = [
        Part(s.layer, s.low, s.high) if isinstance(s, Pending) else Part(s.tensor) for s in sources
    ]
    shape = (sum(shape[0] for shape in shapes), *shapes[0][1:])
    pending = Pending(UnscaledConcat(node.name, shape, tuple(parts)), view)
    if codes:
        ((scale, zero_point, unsigned),) = kinds
        walk.bind(node, Codes(pending, node.outputs[0], scale, zero_point, unsigned, view))
    else:
        walk.bind(node, pending)


def _joins(layer: UnscaledLayer) -> bool:
    """Whether a layer that waits is a concatenation: what it joins would be computed once more."""
    while isinstance(layer, UnscaledMoved | LaterMaxPool):
        layer = layer.layer if isinstance(layer, UnscaledMoved) else layer.source.layer
    return isinstance(layer, UnscaledConcat)


def _joined_view(node: Node, views: list[tuple[int, ...]]) -> tuple[int, ...]:
    """Shape of the result without batch.

    Raises
    ------
    UserError
        If the axis is not that of the channels, or the shapes differ in another one.
    """
    axis = axis_of(node, node.attributes["axis"], 1 + len(views[0]))
    if axis != 1:
        raise node.error(
            f"joins along axis {node.attributes['axis']} of {1 + len(views[0])}, allowed is the "
            f"axis of channels (1); {EXPORT}."
        )
    if len({view[1:] for view in views}) > 1 or len({len(view) for view in views}) > 1:
        listed = ", ".join(str(("batch", *view)) for view in views)
        raise node.error(
            f"joins tensors of shapes {listed}, allowed are shapes that differ in their channels "
            "alone; export the network again."
        )
    return (sum(view[0] for view in views), *views[0][1:])
