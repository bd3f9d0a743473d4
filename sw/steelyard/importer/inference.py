"""Shapes of a graph's values, as onnx infers them, within bounds of memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

FOLLOWED = (
    "Add", "Cast", "Concat", "Gather", "Identity", "Mul", "Shape", "Slice", "Squeeze", "Sub",
    "Unsqueeze",
)  # fmt: skip
"""Operators whose results onnx's shape inference computes where they are shapes."""
LONGEST = 1 << 16
"""Elements of a shape that is followed so."""


def inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    """Model with the shapes that follow from its input's; as it is if they contradict each other.

    Shapes that the graph itself computes are followed unless they would become large.
    """
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=_propagates(model.graph))
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return model


def _propagates(graph: onnx.GraphProto) -> bool:
    """Whether shapes that a graph computes stay small enough to follow them."""
    lengths = {item.name: max([1, *item.dims]) for item in graph.initializer if len(item.dims) < 2}
    for node in graph.node:
        if node.op_type not in FOLLOWED:
            continue
        given = [lengths.get(name, 1) for name in node.input]
        total = sum(given) if node.op_type == "Concat" else max(given, default=1)
        if total > LONGEST:
            return False
        lengths.update(dict.fromkeys(node.output, total))
    return True
