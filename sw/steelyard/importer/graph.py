"""Parsed graph: the nodes that the outputs need, in order, and numpy constants."""

from __future__ import annotations

import heapq
import os
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from steelyard.errors import UserError
from steelyard.importer.code_input import has_code_input, quantized_first
from steelyard.importer.model_file import read_model
from steelyard.importer.node import Node
from steelyard.importer.qoperator import as_qdq, is_qoperator
from steelyard.importer.schema import QUANTIZERS, check_opset, read_node

if TYPE_CHECKING:
    import onnx

__all__ = [
    "Graph",
    "check_batch",
    "faulty_ends",
    "is_quantized",
    "model_name",
    "parse",
    "read_constants",
    "read_model",
    "single_input",
    "without_qoperators",
]

MAX_BATCH = 65535
REAL_TYPES = ("FLOAT", "FLOAT16", "DOUBLE", "BFLOAT16")


@dataclass(frozen=True)
class Graph:
    """Parsed graph.

    Members
    -------
    name : the graph's own
    opset : of ONNX's own domain
    input : name of the one input
    outputs : names of the outputs, each once
    input_shape : sizes without the batch axis
    batch : size of the batch axis where the file fixes it, else None
    nodes : those that the outputs need, each behind the ones that make its inputs
    constants : stored in the file, by name
    """

    name: str
    opset: int
    input: str
    input_shape: tuple[int, ...]
    batch: int | None
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: dict[str, np.ndarray]


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether a model has quantizers: it is for :func:`~steelyard.importer.load`, not for float."""
    return any(node.op_type in QUANTIZERS or is_qoperator(node) for node in model.graph.node)


def parse(model: onnx.ModelProto) -> Graph:
    """Nodes, constants, the single input and the outputs of a quantized model.

    Raises
    ------
    UserError
        If the model is not quantized, has several inputs or no outputs, a shape that is open in
        more than the batch axis, a node that its opset does not allow, or names that do not fit.
    """
    label = model.graph.name or "network"
    if not is_quantized(model):
        raise UserError(
            f"ONNX graph {label!r} is not quantized, only graphs with QuantizeLinear nodes or "
            "QLinear operators are imported; run 'steelyard quantize' on it first."
        )
    opset = check_opset(model, label)
    graph = without_qoperators(model).graph
    constants = read_constants(graph, label)
    source = single_input(graph, constants)
    outputs = tuple(item.name for item in graph.output)
    shape = _input_shape(source)
    needed = needed_nodes(graph, outputs, {source.name, *constants})
    return Graph(
        label,
        opset,
        source.name,
        shape,
        source.type.tensor_type.shape.dim[0].dim_value or None,
        outputs,
        tuple(read_node(proto, opset) for proto in needed),
        constants,
    )


def without_qoperators(model: onnx.ModelProto) -> onnx.ModelProto:
    """Copy of a model whose nodes are those that :func:`parse` reads; itself if they all are.

    Where the input is codes, the copy takes the real values that these stand for.

    Raises
    ------
    UserError
        If the model has several inputs or no outputs, or a node of the QOperator format is
        malformed.
    """
    import onnx

    graph = model.graph
    stored = {item.name for item in graph.initializer}
    codes = any(has_code_input(item) for item in graph.input if item.name not in stored)
    if not is_quantized(model) or not (codes or any(is_qoperator(node) for node in graph.node)):
        return model
    label = graph.name or "network"
    opset = check_opset(model, label)
    source = single_input(graph, stored)
    outputs = [item.name for item in graph.output]
    given = {source.name, *stored}
    nodes = as_qdq(needed_nodes(graph, outputs, given), given, outputs, opset)
    real = quantized_first(nodes, source, given) if codes else None
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.node[:]
    copy.graph.node.extend(real or nodes)
    for item in copy.graph.input:
        if real and item.name == source.name:
            item.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return copy


def faulty_ends(graph: onnx.GraphProto, constants: Container[str], what: str) -> list[str]:
    """Sentences on inputs and outputs, called those of `what`.

    There must be one input, and outputs of which each is there once and is not the input.
    """
    inputs = [item.name for item in graph.input if item.name not in constants]
    outputs = [item.name for item in graph.output]
    found = []
    if len(inputs) != 1:
        names = ", ".join(map(repr, inputs)) or "none"
        found.append(
            f"{what} has {len(inputs)} inputs ({names}), one is allowed; "
            "export the network with one input."
        )
    if not outputs:
        found.append(
            f"{what} has no outputs, at least one is needed; export the network with its outputs."
        )
    for name in dict.fromkeys(outputs):
        if outputs.count(name) > 1:
            found.append(
                f"{what} lists output {name!r} {outputs.count(name)} times, allowed is each name "
                "once; export the network with different outputs."
            )
        if name in inputs:
            found.append(
                f"{what} gives its input {name!r} out unchanged, allowed are outputs that layers "
                "compute; export the network without that output."
            )
    return found


def single_input(graph: onnx.GraphProto, constants: Container[str]) -> onnx.ValueInfoProto:
    """The one input of a graph that has outputs.

    Raises
    ------
    UserError
        If inputs or outputs are not as :func:`faulty_ends` wants them; names them.
    """
    for sentence in faulty_ends(graph, constants, f"ONNX graph {graph.name or 'network'!r}"):
        raise UserError(sentence)
    return next(item for item in graph.input if item.name not in constants)


def model_name(source: object, graph: Graph | onnx.GraphProto) -> str:
    """File name without its endings, or the graph's own name."""
    if isinstance(source, str | os.PathLike):
        return Path(os.fsdecode(source)).name.split(".")[0] or graph.name
    return graph.name


def read_constants(graph: onnx.GraphProto, label: str) -> dict[str, np.ndarray]:
    """Constants that a graph stores, by name.

    Raises
    ------
    UserError
        If one cannot be read, or has no name of its own.
    """
    from onnx import numpy_helper

    if graph.sparse_initializer:
        raise UserError(
            f"ONNX graph {label!r} stores constant {graph.sparse_initializer[0].values.name!r} as "
            "a sparse tensor, allowed are dense ones; export the network without sparse tensors."
        )
    constants: dict[str, np.ndarray] = {}
    for item in graph.initializer:
        if item.name in constants or not item.name:
            what = "stored twice" if item.name else "stored without a name"
            raise UserError(
                f"ONNX graph {label!r} has constant {item.name!r} {what}, allowed is each under "
                "its own name; export the network again."
            )
        try:
            constants[item.name] = numpy_helper.to_array(item)
        except (TypeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise UserError(
                f"Constant {item.name!r} of ONNX graph {label!r} cannot be read ({reason}); "
                "export the network again."
            ) from None
    return constants


def needed_nodes(
    graph: onnx.GraphProto, outputs: Sequence[str], given: set[str]
) -> list[onnx.NodeProto]:
    """Nodes that outputs need, in the file's order as far as that puts makers first.

    Raises
    ------
    UserError
        If a name is made twice or not at all, or nodes wait for each other.
    """
    makers: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        for name in filter(None, node.output):
            if name in makers or name in given:
                raise UserError(
                    f"Value {name!r} of the ONNX graph is made twice, the second time by node "
                    f"{node.name!r}; export the network again."
                )
            makers[name] = index
    for output in outputs:
        if output not in makers and output not in given:
            raise UserError(
                f"Network output {output!r} is made by no node; export the network again."
            )
    waiting: dict[int, set[int]] = {}
    open_nodes = [makers[output] for output in outputs if output in makers]
    while open_nodes:
        index = open_nodes.pop()
        if index in waiting:
            continue
        node = graph.node[index]
        for name in filter(None, node.input):
            if name not in makers and name not in given:
                raise UserError(
                    f"{node.op_type} node {node.name!r} reads {name!r}, which nothing makes; "
                    "export the network again."
                )
        waiting[index] = {makers[name] for name in node.input if name in makers}
        open_nodes += waiting[index]
    return [graph.node[index] for index in _sorted(graph, waiting)]


def _sorted(graph: onnx.GraphProto, waiting: dict[int, set[int]]) -> list[int]:
    readers: dict[int, list[int]] = {index: [] for index in waiting}
    for index, makers in waiting.items():
        for maker in makers:
            readers[maker].append(index)
    missing = {index: len(makers) for index, makers in waiting.items()}
    ready = [index for index, count in missing.items() if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for reader in readers[index]:
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready, reader)
    if len(order) < len(waiting):
        stuck = graph.node[min(set(waiting) - set(order))]
        raise UserError(
            f"{stuck.op_type} node {stuck.name!r} waits for its own output, allowed are graphs "
            "without cycles; export the network again."
        )
    return order


def _input_shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    from onnx import TensorProto

    kinds = {number: name for name, number in TensorProto.DataType.items()}
    kind = kinds.get(value.type.tensor_type.elem_type, "UNDEFINED")
    if kind not in (*REAL_TYPES, "UNDEFINED"):
        raise UserError(
            f"Network input {value.name!r} is of type {kind}, allowed is float32 with a "
            "QuantizeLinear behind it, or int8 or uint8 codes with a DequantizeLinear; export the "
            "network with a float input."
        )
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
    check_batch(value)
    return sizes


def check_batch(value: onnx.ValueInfoProto) -> None:
    """Refuse a batch size of the network's input that nobody can run.

    Raises
    ------
    UserError
        If it is fixed and not from 1 to 65535.
    """
    dim = value.type.tensor_type.shape.dim[0]
    if not 0 <= dim.dim_value <= MAX_BATCH:
        raise UserError(
            f"The batch of network input {value.name!r} is {dim.dim_value}, allowed are 1 to "
            f"{MAX_BATCH} or a dynamic axis; export the network again."
        )
