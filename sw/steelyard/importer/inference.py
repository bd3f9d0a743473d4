"""Shapes of a graph's values, as onnx infers them, within bounds of memory."""

from __future__ import annotations

import math
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
READ = 1 << 10
"""Elements of a constant whose values may say shapes; of larger ones only their own counts."""


def outline(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy of a model without the values of large constants, which are inputs of their shapes.

    Weights are nearly all of a file, and shapes do not depend on them.
    """
    import onnx
    from onnx import helper

    copy, graph = onnx.ModelProto(), model.graph
    copy.ir_version = model.ir_version
    copy.opset_import.extend(model.opset_import)
    copy.functions.extend(model.functions)
    copy.graph.name = graph.name
    copy.graph.node.extend(graph.node)
    copy.graph.input.extend(graph.input)
    copy.graph.output.extend(graph.output)
    copy.graph.value_info.extend(graph.value_info)
    given = {item.name for item in graph.input}
    for item in graph.initializer:
        if math.prod(item.dims) <= READ:
            copy.graph.initializer.append(item)
        elif item.name not in given:
            copy.graph.input.append(
                helper.make_tensor_value_info(item.name, item.data_type, item.dims)
            )
    return copy


def of_one_image(model: onnx.ModelProto) -> onnx.ModelProto:
    """Outline of a model whose batch is 1 and whose other shapes are to be inferred."""
    return of_images(model, 1)


def of_images(model: onnx.ModelProto, count: int) -> onnx.ModelProto:
    """The same of another batch."""
    single = outline(model)
    constants = {item.name for item in model.graph.initializer}
    for item in single.graph.input:
        dims = item.type.tensor_type.shape.dim
        if item.name not in constants and dims:
            dims[0].dim_value = count
    del single.graph.value_info[:]
    for item in single.graph.output:
        item.type.tensor_type.ClearField("shape")
    return single


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
    for given in graph.input:
        dims = given.type.tensor_type.shape.dim
        if len(dims) == 1:
            lengths[given.name] = max(1, dims[0].dim_value)
    for node in graph.node:
        if node.op_type not in FOLLOWED:
            continue
        given = [lengths.get(name, 1) for name in node.input]
        total = sum(given) if node.op_type == "Concat" else max(given, default=1)
        if total > LONGEST:
            return False
        lengths.update(dict.fromkeys(node.output, total))
    return True
