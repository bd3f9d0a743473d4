"""What of a network the accelerator cannot run: all of it at once, before any work.

The importer's own handlers judge every node (:mod:`steelyard.importer.survey`), so that this list
and what the importer refuses cannot differ. A part at the end that the host can compute is offered
to it by name.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from steelyard.errors import UserError
from steelyard.importer import operators  # noqa: F401 - they enter the registry
from steelyard.importer.cutting import offers
from steelyard.importer.graph import (
    Graph,
    faulty_ends,
    is_quantized,
    needed_nodes,
    read_constants,
    without_qoperators,
)
from steelyard.importer.inference import inferred
from steelyard.importer.node import Node
from steelyard.importer.schema import OWN_DOMAINS, check_opset, opset_of, read_node
from steelyard.importer.survey import Fault, Survey

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]

NAMED = 3
"""Nodes that one sentence names."""


def obstacles(
    model: onnx.ModelProto,
    *,
    original: onnx.ModelProto | None = None,
    completing: bool = False,
) -> list[str]:
    """Every reason why an ONNX network cannot be compiled, as far as its graph tells.

    Parameters
    ----------
    model
        ONNX model: float, constant factors and summands folded or not, or quantized.
    original
        The file that `model` was made of, whose names the user knows; `model` itself unless given.
    completing
        Whether quantizers that a quantized model misses are no obstacles, for they are added next.

    Returns
    -------
    list
        Sentences that name the node, what is allowed and what to do; empty where nothing stands in
        the way. Nodes that fail alike share a sentence.
    """
    try:
        return _obstacles(without_qoperators(model), original or model, completing)
    except UserError as error:
        return [str(error)]


def _obstacles(model: onnx.ModelProto, original: onnx.ModelProto, completing: bool) -> list[str]:
    quantized = is_quantized(model)
    graph = model.graph
    check_opset(model, graph.name or "network")
    constants = {item.name for item in graph.initializer}
    inputs = [item for item in graph.input if item.name not in constants]
    found = faulty_ends(graph, constants, "The network")
    if not inputs or not graph.output:
        return found
    parsed, shapes, unread = surveyed(model)
    found += _input_obstacles(inputs[0], shapes)
    survey = Survey(parsed, shapes, unread, quantized=quantized, completing=completing)
    faults = survey.run(item.name for item in inputs[1:])
    return found + _sentences(faults, offers(original, _culprits(faults)))


def surveyed(model: onnx.ModelProto) -> tuple[Graph, dict[str, Shape], dict[str, str]]:
    """Graph of what all outputs need, shapes of values, and what is wrong with nodes' attributes.

    Shapes hold the batch, which is 1; what is wrong stands under a node's first output.

    Raises
    ------
    UserError
        If constants cannot be read, or values are not made once and before they are read.
    """
    graph = model.graph
    label = graph.name or "network"
    constants = read_constants(graph, label)
    inputs = [item.name for item in graph.input if item.name not in constants]
    outputs = tuple(item.name for item in graph.output)
    nodes = needed_nodes(graph, outputs, {*constants, *inputs})
    opset = opset_of(model)
    shapes = _shapes(model)
    unread: dict[str, str] = {}
    float_sums = not is_quantized(model)
    parsed = tuple(
        _read(each, opset, unread)
        for proto in nodes
        for each in (additions(proto) if float_sums else [proto])
    )
    view = shapes.get(inputs[0], (1,))[1:]
    parts = Graph(label, opset, inputs[0], view, None, outputs, parsed, constants)
    return parts, shapes, unread


def _read(proto: onnx.NodeProto, opset: int, unread: dict[str, str]) -> Node:
    """Node of a file; what is wrong with it goes into `unread`."""
    try:
        return read_node(proto, opset)
    except UserError as error:
        name = proto.name or f"{proto.op_type} of {', '.join(proto.output)}"
        unread[proto.output[0] if proto.output else name] = str(error)
        return Node(name, proto.op_type, tuple(proto.input), tuple(proto.output), {}, proto)


def _culprits(faults: Iterable[Fault]) -> list[str]:
    """First outputs of the nodes that cannot run."""
    return [each.node.outputs[0] for each in faults if each.node and each.node.outputs]


def _sentences(faults: Iterable[Fault], cuts: Mapping[str, str]) -> list[str]:
    """Sentences on faults, one for nodes that fail alike.

    Parameters
    ----------
    cuts : by a node's first output, the name to cut the network at so that the host computes it
    """
    alike: dict[tuple[str, str], list[str]] = {}
    for fault in faults:
        reason = fault.reason
        if fault.node is None or fault.whole:
            alike.setdefault(("", reason), [])
            continue
        name = cuts.get(fault.node.outputs[0]) if fault.node.outputs else None
        if name is not None:
            wrong = reason.rpartition("; ")[0] or reason.rstrip(".")
            reason = f"{wrong}; leave it to the host with --cut {shlex.quote(name)}."
        alike.setdefault((fault.node.op, reason), []).append(fault.node.name)
    return [_sentence(op, names, reason) for (op, reason), names in alike.items()]


def _sentence(op: str, names: Sequence[str], reason: str) -> str:
    if not names:
        return reason
    others = [repr(name) for name in names[1:NAMED]]
    if len(names) > NAMED:
        others.append(f"{len(names) - NAMED} more")
    likewise = f" (likewise {', '.join(others)})" if others else ""
    return f"{op} node {names[0]!r}{likewise} {reason}"


def _input_obstacles(value: onnx.ValueInfoProto, shapes: Mapping[str, Shape]) -> list[str]:
    rank = len(value.type.tensor_type.shape.dim)
    if rank not in (2, 4):
        return [
            f"Network input {value.name!r} has {rank} axes, allowed are 4 (batch, channels, "
            "height, width) or 2 (batch, features); use two-dimensional layers."
        ]
    if value.name not in shapes:
        return [
            f"Network input {value.name!r} has an axis without a fixed size, only the batch axis "
            "may be so; export the network with fixed channels, height and width."
        ]
    return []


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    """Shapes of all values that are known once the batch is 1."""
    import onnx

    single = onnx.ModelProto()
    single.CopyFrom(model)
    constants = {item.name for item in single.graph.initializer}
    for item in single.graph.input:
        dims = item.type.tensor_type.shape.dim
        if item.name not in constants and dims:
            dims[0].dim_value = 1
    del single.graph.value_info[:]
    for item in single.graph.output:
        item.type.tensor_type.ClearField("shape")
    # Nodes whose inputs' shapes stay unknown are judged by their operator alone.
    graph = inferred(single).graph
    found = {
        item.name: tuple(dim.dim_value for dim in item.type.tensor_type.shape.dim)
        for item in (*graph.input, *graph.value_info, *graph.output)
        if item.type.tensor_type.HasField("shape")
    }
    return {name: shape for name, shape in found.items() if shape and min(shape) > 0}


def additions(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """Sum of several values as the additions of two that 'steelyard quantize' makes of it.

    Any other node is given back alone.
    """
    from onnx import helper

    if node.op_type != "Sum" or node.domain not in OWN_DOMAINS or len(node.input) < 2:
        return [node]
    made = []
    total = node.input[0]
    for number, name in enumerate(node.input[1:], start=1):
        last = number == len(node.input) - 1
        result = node.output[0] if last else f"{node.output[0]}/sum {number}"
        title = node.name if last else f"{node.name}/sum {number}"
        made.append(helper.make_node("Add", [total, name], [result], title))
        total = result
    return made
