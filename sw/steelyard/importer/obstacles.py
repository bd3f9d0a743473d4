"""What of a float network the accelerator cannot run: all of it at once, before quantization.

The importer's own handlers judge every node, so that this list and what the importer refuses cannot
differ. Which operators run does not depend on scales: every activation gets the same one here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.errors import UserError
from steelyard.importer.graph import Graph, is_quantized, read_constants, surplus_ends
from steelyard.importer.node import Node
from steelyard.importer.registry import OPERATORS
from steelyard.importer.schema import OWN_DOMAINS, opset_of, read_node
from steelyard.importer.unscaled import UnscaledAvgPool, UnscaledConv, UnscaledMaxPool
from steelyard.importer.values import (
    Activation,
    Constant,
    NetworkInput,
    Pending,
    QuantizedConstant,
    Value,
)
from steelyard.importer.walk import Walk
from steelyard.network import Layer, NetworkBuilder, Tensor

if TYPE_CHECKING:
    import onnx

Shape = tuple[int, ...]
Form = dict[int, Value]
"""What a node is shown as its inputs, by their number."""

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
AFFINE = ("Add", "BatchNormalization", "Div", "Mul", "Sub")
"""Operators that 'steelyard quantize' folds into layers where all but one input is constant."""
LARGE = np.float32(2.0**60)
"""Scale of the weights that handlers are shown, for which no bias is too large."""
UNKNOWN = Constant(np.zeros(0, np.float32))
"""Result of a node that cannot run, where its shape is not known or none that layers take."""
ANY = "any value"
"""What a node is shown to hear whether its operator is known."""
NAMED = 3
"""Nodes that one sentence names."""


def obstacles(model: onnx.ModelProto) -> list[str]:
    """Every reason why a float ONNX network cannot be compiled, as far as its graph tells.

    Parameters
    ----------
    model
        Float ONNX model, constant factors and summands folded or not.

    Returns
    -------
    list
        Sentences that name the node, what is allowed and what to do; empty where nothing stands in
        the way. Nodes that fail alike share a sentence. A model that is quantized already gives
        none, since the importer itself can read it.
    """
    if is_quantized(model):
        return []
    constants = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in constants]
    found = surplus_ends(model.graph, constants, "The network")
    if found:
        return found
    shapes = _shapes(model)
    return [*_input_obstacles(inputs[0], shapes), *_Survey(_graph(model, shapes), shapes).run()]


def _input_obstacles(value: onnx.ValueInfoProto, shapes: dict[str, Shape]) -> list[str]:
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
    with suppress(onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        single = onnx.shape_inference.infer_shapes(single, data_prop=True)
    graph = single.graph
    found = {
        item.name: tuple(dim.dim_value for dim in item.type.tensor_type.shape.dim)
        for item in (*graph.input, *graph.value_info, *graph.output)
        if item.type.tensor_type.HasField("shape")
    }
    return {name: shape for name, shape in found.items() if shape and min(shape) > 0}


def _graph(model: onnx.ModelProto, shapes: dict[str, Shape]) -> Graph:
    graph = model.graph
    constants = read_constants(graph, graph.name or "network")
    source = next(item.name for item in graph.input if item.name not in constants)
    opset = opset_of(model)
    return Graph(
        graph.name or "network",
        opset,
        source,
        shapes.get(source, (1,))[1:],
        None,
        graph.output[0].name,
        tuple(read_node(each, opset) for proto in graph.node for each in additions(proto)),
        constants,
    )


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


class _Survey(Walk):
    """Walk that goes on behind a node that cannot run, with the shape that it would have given."""

    def __init__(self, graph: Graph, shapes: dict[str, Shape]) -> None:
        super().__init__(graph, graph.name)
        self._shapes = shapes
        self._shown: Form = {}
        self._count = 0
        self._values[ANY] = NetworkInput(ANY, (1,))
        if len(graph.input_shape) not in (1, 3):
            self._values[graph.input] = UNKNOWN

    def run(self) -> list[str]:
        """Sentences on the nodes and the output."""
        failed: dict[tuple[str, str], list[str]] = {}
        for node in self.graph.nodes:
            reason = self._judge(node)
            if reason is not None:
                title = f"{node.op} node {node.name!r} "
                failed.setdefault((node.op, reason.removeprefix(title)), []).append(node.name)
        found = [_sentence(op, names, reason) for (op, reason), names in failed.items()]
        output = self._values.get(self.graph.output)
        if isinstance(output, Constant) and output is not UNKNOWN:
            found.append(
                f"Network output {self.graph.output!r} does not depend on the input; "
                "export the whole network."
            )
        return found

    def value(self, node: Node, index: int) -> Value | None:
        """What the node is shown."""
        return self._shown[index] if index in self._shown else super().value(node, index)

    def _judge(self, node: Node) -> str | None:
        """Lowers a node in the first form of its inputs that serves; else the reason against it."""
        reasons: list[str] = []
        for form in self._forms(node):
            self._shown = form
            try:
                self._lower(node)
            except UserError as error:
                reasons.append(str(error))
            else:
                return self._unfit(node)
            finally:
                self._shown = {}
        if not reasons:
            # What stands before the node has been reported already.
            self._assume(node)
            return None if node.op in (*OPERATORS, *AFFINE) else self._unsupported(node)
        if self._affine(node):
            return None
        self._assume(node)
        return _without_circle(node, reasons)

    def _unfit(self, node: Node) -> str | None:
        """Why the layer that a node has become is none that accelerators compute, if it is none."""
        value = self._values.get(node.outputs[0])
        layer = value.layer if isinstance(value, Pending) else None
        if not isinstance(layer, UnscaledConv | UnscaledAvgPool | UnscaledMaxPool):
            return None
        if layer.name != node.name:
            return None  # A clamp of a layer that was judged before.
        scale = float(layer.scale.max()) if isinstance(layer, UnscaledConv) else 1.0
        output = replace(self._tensor(layer.shape), scale=scale)
        try:
            x = layer.source
            builder = NetworkBuilder(
                node.name, x.shape, scale=x.scale, zero_point=x.zero_point, input=x.name
            )
            layer.finish(builder, output, -128, 127)
            builder.network()
        except UserError as error:
            reason = str(error).removeprefix(f"Layer {node.name!r}: ").rstrip(".")
            return str(node.error(f"cannot run: {reason}; change the layer so that it is."))
        return None

    def _unsupported(self, node: Node) -> str:
        try:
            self._lower(replace(node, inputs=(ANY,)))
        except UserError as error:
            return _without_circle(node, [str(error)])
        return f"{node.op} node {node.name!r} is not supported; replace the operator."

    def _forms(self, node: Node) -> Iterator[Form]:
        """Ways to show the node its inputs, the usual one first; none if one is unknown."""
        values = [self._values.get(name) if name else None for name in node.inputs]
        if any(value is UNKNOWN for value in values):
            return
        weights: Form = {}
        if node.op in WEIGHTED and len(values) > 1 and isinstance(values[1], Constant):
            weights[1] = _quantized(values[1])
        quantized: Form = {
            index: self._activation(value)
            for index, value in enumerate(values)
            if isinstance(value, Pending | NetworkInput)
        }
        constants: Form = {
            index: _quantized(value)
            for index, value in enumerate(values)
            if isinstance(value, Constant) and value.array.dtype.kind == "f"
        }
        forms = [{**quantized, **weights}, weights]
        if any(isinstance(value, NetworkInput) for value in values):
            # A view of the network's input is quantized behind it.
            forms.reverse()
        yield from forms
        for form in forms:
            yield {**form, **constants}

    def _activation(self, value: Pending | NetworkInput) -> Activation:
        shape = value.layer.shape if isinstance(value, Pending) else _plane(value.view)
        return Activation(self._tensor(shape), value.view)

    def _tensor(self, shape: tuple[int, int, int]) -> Tensor:
        self._count += 1
        # As behind a ReLU, where a Pad node's zeros never win a max pooling.
        return Tensor(f"value {self._count}", shape, 1.0, -128)

    def _move(
        self, source: Tensor, kind: type[Layer], name: str, output: str, fields: dict[str, Any]
    ) -> Tensor:
        builder = NetworkBuilder(
            name, source.shape, scale=source.scale, zero_point=source.zero_point
        )
        made = builder.append(kind, name=name, output=output, **fields)
        self._count += 1
        return replace(builder.tensors[made], name=f"value {self._count}")

    def _affine(self, node: Node) -> bool:
        """Binds the result of a factor and summand for each channel, if the node is one."""
        values = [self._values.get(name) for name in node.inputs]
        moving = [i for i, value in enumerate(values) if not isinstance(value, Constant)]
        if node.op not in AFFINE or len(moving) != 1 or (node.op == "Div" and moving != [0]):
            return False
        value = values[moving[0]]
        if isinstance(value, Pending | NetworkInput):
            value = self._activation(value)
        if not isinstance(value, Activation):
            return False
        value = self.unpadded(value)
        channels = value.view[0]
        # A constant spreads over a map from (channels, 1, 1) on and over a vector from (channels,).
        wanted = {(1,) * rank for rank in range(5)}
        tail = (1,) * (len(value.view) - 1)
        wanted |= {(channels, *tail), (1, channels, *tail)}
        if node.op == "BatchNormalization":
            wanted.add((channels,))
        shapes = [v.array.shape for v in values if isinstance(v, Constant)]
        if any(shape not in wanted for shape in shapes):
            return False
        layer = UnscaledAvgPool(node.name, value.tensor.shape, value.tensor)
        self.bind(node, Pending(layer, value.view))
        return True

    def _assume(self, node: Node) -> None:
        """Binds what a node that cannot run would have given."""
        for name in filter(None, node.outputs):
            shape = self._shapes.get(name, ())
            usual = len(shape) in (2, 4) and shape[0] == 1
            view = shape[1:]
            self._values[name] = Activation(self._tensor(_plane(view)), view) if usual else UNKNOWN


def _plane(view: Shape) -> tuple[int, int, int]:
    return (view[0], view[1], view[2]) if len(view) == 3 else (math.prod(view), 1, 1)


def _quantized(value: Constant) -> QuantizedConstant:
    codes = np.broadcast_to(np.int8(1), value.array.shape)
    return QuantizedConstant(codes, np.asarray(LARGE), np.zeros((), np.int8), 0, real=True)


def _without_circle(node: Node, reasons: Sequence[str]) -> str:
    """The first reason that does not advise to quantize, which comes next anyway."""
    if node.op not in OPERATORS:
        return reasons[0].replace("QuantizeLinear, ", "").replace("DequantizeLinear, ", "")
    for reason in reasons:
        if "quantize" not in reason.lower():
            return reason
    return str(
        node.error(
            "combines its inputs in a way that the accelerator has no layer for; use a layer with "
            "constant weights, or an addition of two activations of one shape."
        )
    )


def _sentence(op: str, names: Sequence[str], reason: str) -> str:
    others = [repr(name) for name in names[1:NAMED]]
    if len(names) > NAMED:
        others.append(f"{len(names) - NAMED} more")
    likewise = f" (likewise {', '.join(others)})" if others else ""
    return f"{op} node {names[0]!r}{likewise} {reason}"
