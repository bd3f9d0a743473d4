"""Walk that judges every node of a graph, also behind those that cannot run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import numpy as np

from steelyard.errors import UserError
from steelyard.importer.errors import NotQuantized
from steelyard.importer.graph import Graph
from steelyard.importer.inner import inner_values
from steelyard.importer.node import Node
from steelyard.importer.registry import OPERATORS
from steelyard.importer.unscaled import (
    UnscaledAvgPool,
    UnscaledConv,
    UnscaledLayer,
    UnscaledMaxPool,
)
from steelyard.importer.values import (
    Activation,
    Codes,
    Constant,
    NetworkInput,
    Pending,
    QuantizedConstant,
    Turned,
    Value,
    ends_of,
)
from steelyard.importer.walk import Walk
from steelyard.network import Layer, NetworkBuilder, Tensor

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


@dataclass(frozen=True)
class Fault:
    """Why a node cannot run.

    Members
    -------
    node : that the reason is about; None for one about the whole network
    reason : what is wrong, allowed and to be done, without the node's title
    whole : whether `reason` is a sentence of its own, which names its culprit itself
    """

    node: Node | None
    reason: str
    whole: bool = False


class Survey(Walk):
    """Walk that goes on behind a node that cannot run, with the shape that it would have given.

    Parameters
    ----------
    graph : nodes in order
    shapes : of values, the batch among them, where they are known
    unread : what is wrong with nodes whose attributes could not be read, by the nodes' first output
    quantized : whether the graph has its quantizers; else every activation gets one here
    completing : whether missing quantizers are no fault, for they are added next
    """

    def __init__(
        self,
        graph: Graph,
        shapes: Mapping[str, Shape],
        unread: Mapping[str, str],
        *,
        quantized: bool,
        completing: bool = False,
    ) -> None:
        super().__init__(graph, graph.name)
        self._shapes = shapes
        self._unread = unread
        self._quantized_graph = quantized
        self._completing = completing
        self._shown: Form = {}
        self._count = 0
        self._ranges: dict[str, tuple[int, int]] = {}
        self._activations: dict[str, Activation | Turned] = {}
        self._inner = frozenset[str]() if quantized else inner_values(graph)
        self._values[ANY] = NetworkInput(ANY, (1,))
        if len(graph.input_shape) not in (1, 3):
            self._values[graph.input] = UNKNOWN

    def run(self, strangers: Iterable[str] = ()) -> list[Fault]:
        """Faults of the nodes and the outputs, in the graph's order.

        Parameters
        ----------
        strangers : values that are given beside the network's input
        """
        for name in strangers:
            self._values[name] = UNKNOWN
        found: list[Fault] = []
        for node in self.graph.nodes:
            found += self._judge(node)
        for name in self.graph.outputs:
            found += self._output_faults(name)
        return found

    def _output_faults(self, name: str) -> list[Fault]:
        output = self._values.get(name)
        if output is UNKNOWN:
            return []
        if isinstance(output, Constant):
            alone = len(self.graph.outputs) == 1
            remedy = "export the whole network" if alone else "export the network without it"
            return [
                Fault(
                    None,
                    f"Network output {name!r} does not depend on the input; {remedy}.",
                    whole=True,
                )
            ]
        if not self._quantized_graph and not isinstance(output, Activation):
            return []
        try:
            self._result(name)
        except NotQuantized as missing:
            return [] if self._completing else [Fault(None, str(missing), whole=True)]
        except UserError as error:
            return [Fault(None, str(error), whole=True)]
        return []

    def value(self, node: Node, index: int) -> Value | None:
        """What the node is shown."""
        if index in self._shown and index not in self._straight:
            return self._shown[index]
        return super().value(node, index)

    def _finished(self, codes: Codes, pending: Pending) -> Tensor:
        """Tensor of a layer's output, if the layer is one that accelerators compute."""
        key = (codes.name, codes.scale, codes.zero_point, codes.lo, codes.hi)
        if key not in self._quantized:
            self._count += 1
            name = f"value {self._count}"
            output = Tensor(name, pending.layer.shape, codes.scale, codes.zero_point)
            self._ranges[name] = _check(pending.layer, output, *ends_of(codes, pending))
            self._quantized[key] = output
        return self._quantized[key]

    def range_of(self, tensor: Tensor) -> tuple[int, int]:
        """Lowest and highest code that a tensor can hold, as far as its own layer tells."""
        return self._ranges.get(tensor.name, (-128, 127))

    def _judge(self, node: Node) -> list[Fault]:
        """Lowers a node in the first form of its inputs that serves; else what is against it."""
        if node.outputs and node.outputs[0] in self._unread:
            self._assume(node)
            return [_fault(node, self._unread[node.outputs[0]])]
        if self._quantized_graph:
            return self._judge_quantized(node)
        reason = self._reason(node)
        return [] if reason is None else [_fault(node, reason)]

    def _judge_quantized(self, node: Node) -> list[Fault]:
        """Faults of a node that gets its inputs as they are, or with quantizers that it misses."""
        if any(self._values.get(name) is UNKNOWN for name in node.inputs if name):
            self._assume(node)
            known = node.op in OPERATORS
            return [] if known else [_fault(node, self._unsupported(node))]
        try:
            self._lower(node)
        except NotQuantized as missing:
            found = [] if self._completing else [_fault(node, str(missing))]
            reason = self._reason(node)
            return found if reason is None else [*found, _fault(node, reason)]
        except UserError as error:
            self._assume(node)
            if node.op == "QuantizeLinear":
                # Whatever codes these are, the DequantizeLinear behind them is not at fault.
                self._values[node.outputs[0]] = UNKNOWN
            return [_fault(node, str(error))]
        return []

    def _reason(self, node: Node) -> str | None:
        """Why no form of its inputs serves a node; None if one does."""
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
        try:
            _check(layer, replace(self._tensor(layer.shape), scale=scale))
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
            weights[1] = self._weights(values[1])
        quantized: Form = {
            index: self._shown_as(node.inputs[index], value)
            for index, value in enumerate(values)
            if unquantized(value)
        }
        outer = {i: each for i, each in quantized.items() if node.inputs[i] not in self._inner}
        constants: Form = {
            index: _quantized(value)
            for index, value in enumerate(values)
            if isinstance(value, Constant) and value.array.dtype.kind == "f"
        }
        forms = [{**quantized, **weights}, weights]
        if len(outer) < len(quantized):
            forms.insert(0, {**outer, **weights})
        if any(isinstance(inner_of(value), NetworkInput) for value in values):
            # A view of the network's input is quantized behind it.
            forms.reverse()
        yield from forms
        for form in forms:
            yield {**form, **constants}

    def _shown_as(self, name: str, value: Pending | NetworkInput | Turned) -> Activation | Turned:
        """The one activation that all readers of a value are shown."""
        if name not in self._activations:
            self._activations[name] = self._as_activation(value)
        return self._activations[name]

    def _as_activation(self, value: Pending | NetworkInput | Turned) -> Activation | Turned:
        if not isinstance(value, Turned):
            return self._activation(value)
        inner = value.value
        assert isinstance(inner, Pending | NetworkInput)
        return replace(value, value=self._activation(inner))

    def _activation(self, value: Pending | NetworkInput) -> Activation:
        shape = value.layer.shape if isinstance(value, Pending) else _plane(value.view)
        return Activation(self._tensor(shape), value.view)

    def _weights(self, value: Constant) -> QuantizedConstant:
        """What a float weight is shown as."""
        return _quantized(value)

    def _tensor(self, shape: tuple[int, int, int]) -> Tensor:
        self._count += 1
        # As behind a ReLU, where a Pad node's zeros never win a max pooling.
        return Tensor(f"value {self._count}", shape, 1.0, -128)

    def append(
        self, kind: type[Layer], inputs: tuple[Tensor, ...], output: Tensor, fields: dict[str, Any]
    ) -> None:
        """Check a layer that would be appended."""
        names = tuple(each.name for each in inputs)
        layer = kind(name=output.name, inputs=names, output=output.name, **fields)
        layer.check(inputs, output)

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


def inner_of(value: Value | None) -> Value | None:
    """A value with channels first, whichever order the graph sees it in."""
    return value.value if isinstance(value, Turned) else value


def unquantized(
    value: Value | None,
) -> TypeGuard[Pending | NetworkInput | Turned]:
    """Whether a value is real and has no quantizer yet."""
    return isinstance(inner_of(value), Pending | NetworkInput)


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


def _check(layer: UnscaledLayer, output: Tensor, lo: int = -128, hi: int = 127) -> tuple[int, int]:
    """Lowest and highest code that a layer gives; one of one input is refused if none computes it.

    Raises
    ------
    UserError
        If there is a limit that the layer exceeds.
    """
    x = getattr(layer, "source", None)
    if not isinstance(x, Tensor):
        return lo, hi
    builder = NetworkBuilder(
        layer.name, x.shape, scale=x.scale, zero_point=x.zero_point, input=x.name
    )
    layer.finish(builder, output, lo, hi)
    return builder.network().layers[-1].range


def _fault(node: Node, reason: str) -> Fault:
    title = f"{node.title} "
    return Fault(node, reason.removeprefix(title), whole=not reason.startswith(title))
