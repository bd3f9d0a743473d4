"""ONNX file as plain nodes and numpy constants.

Reading and lowering go through here; beside it only `complete`, which changes graphs, touches the
onnx package.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.errors import UserError

if TYPE_CHECKING:
    import onnx

DOMAINS = ("", "ai.onnx", "com.microsoft")


@dataclass(frozen=True)
class Node:
    """One operator of the graph.

    Members
    -------
    name : the file's name, or operator and output where the file has none
    op : operator type, with its domain in front if that is not ONNX's own
    inputs, outputs : names of values, an absent optional input is empty
    attributes : plain Python values
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    @property
    def title(self) -> str:
        """Operator and name, as sentences begin."""
        return f"{self.op} node {self.name!r}"

    def error(self, message: str) -> UserError:
        """Error whose sentence begins with the node's operator and name."""
        return UserError(f"{self.title} {message}")


@dataclass(frozen=True)
class Graph:
    """Parsed graph: `input_shape` without the batch axis, `opset` of ONNX's own domain."""

    name: str
    opset: int
    input: str
    input_shape: tuple[int, ...]
    output: str
    nodes: tuple[Node, ...]
    constants: dict[str, np.ndarray]


def read_model(source: str | os.PathLike[str] | bytes | onnx.ModelProto) -> onnx.ModelProto:
    """ONNX model of a path, the bytes of a file, or a model already loaded.

    Raises
    ------
    UserError
        If the file is missing or is not ONNX.
    """
    import onnx

    if isinstance(source, onnx.ModelProto):
        return source
    # protobuf ships no types, so a plain import would not pass the type check.
    undecodable = import_module("google.protobuf.message").DecodeError
    label = "The given data" if isinstance(source, bytes) else f"File {os.fspath(source)!r}"
    try:
        if isinstance(source, bytes):
            model = onnx.load_model_from_string(source)
        else:
            model = onnx.load(os.fspath(source))
    except FileNotFoundError:
        raise UserError(f"{label} does not exist; give the path of an ONNX file.") from None
    except (OSError, undecodable, onnx.checker.ValidationError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{label} cannot be read as ONNX ({reason}); "
            "give a file written by 'steelyard quantize'."
        ) from None
    if not model.graph.node:
        raise UserError(
            f"{label} is not ONNX or holds no nodes; give a file written by 'steelyard quantize'."
        )
    return model


def parse(model: onnx.ModelProto) -> Graph:
    """Nodes, constants, the single input and the single output of a quantized model.

    Raises
    ------
    UserError
        If the model is not quantized, has several inputs or outputs, or a shape that is open in
        more than the batch axis.
    """
    from onnx import numpy_helper

    graph = model.graph
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    label = graph.name or "network"
    if not any(node.op_type == "QuantizeLinear" for node in graph.node):
        raise UserError(
            f"ONNX graph {label!r} is not quantized, only graphs with QuantizeLinear nodes are "
            "imported; run 'steelyard quantize' on it first."
        )
    inputs = [item for item in graph.input if item.name not in constants]
    for kind, values in (("inputs", inputs), ("outputs", list(graph.output))):
        if len(values) != 1:
            names = ", ".join(repr(item.name) for item in values) or "none"
            raise UserError(
                f"ONNX graph {label!r} has {len(values)} {kind} ({names}), one is allowed; "
                "export the network with one input and one output."
            )
    opset = next((item.version for item in model.opset_import if item.domain in DOMAINS[:2]), 1)
    return Graph(
        label,
        opset,
        inputs[0].name,
        _input_shape(inputs[0]),
        graph.output[0].name,
        tuple(_node(node) for node in graph.node),
        constants,
    )


def evaluate(node: Node, inputs: Sequence[np.ndarray | None], opset: int) -> list[np.ndarray]:
    """Outputs of a node whose inputs are all constant.

    Raises
    ------
    UserError
        If onnx's reference evaluator cannot run it.
    """
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    proto = helper.make_node(node.op, node.inputs, node.outputs, **node.attributes)
    given = {n: v for n, v in zip(node.inputs, inputs, strict=True) if n and v is not None}
    graph = helper.make_graph(
        [proto],
        "constant",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for n, v in given.items()
        ],
        [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in node.outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        return list(ReferenceEvaluator(model).run(None, given))
    except (NotImplementedError, RuntimeError, TypeError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split())
        raise node.error(
            f"has constant inputs but cannot be computed ({reason}); "
            "simplify the model before it is exported."
        ) from None


def model_name(source: object, graph: Graph) -> str:
    """File name without its endings, or the graph's own name."""
    if isinstance(source, str | os.PathLike):
        return Path(source).name.split(".")[0] or graph.name
    return graph.name


def _node(proto: onnx.NodeProto) -> Node:
    from onnx import helper

    name = proto.name or f"{proto.op_type} of {', '.join(proto.output)}"
    op = proto.op_type if proto.domain in DOMAINS else f"{proto.domain}.{proto.op_type}"
    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        value = helper.get_attribute_value(attribute)
        attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
    return Node(name, op, tuple(proto.input), tuple(proto.output), attributes)


def _input_shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    dims = value.type.tensor_type.shape.dim
    if len(dims) not in (2, 4):
        raise UserError(
            f"Network input {value.name!r} has {len(dims)} axes, allowed are 4 (batch, channels, "
            "height, width) or 2 (batch, features); export the network with such an input."
        )
    sizes = tuple(dim.dim_value for dim in dims[1:])
    for axis, size in enumerate(sizes, start=1):
        if size < 1:
            raise UserError(
                f"Axis {axis} of network input {value.name!r} has no fixed size, only the batch "
                "axis may be dynamic; export the network with fixed channels, height and width."
            )
    return sizes
