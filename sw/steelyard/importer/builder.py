"""Walk over a parsed graph: every node is handed to its operator's handler."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from steelyard.errors import UserError
from steelyard.importer.errors import NotQuantized
from steelyard.importer.graph import Graph, Node, evaluate
from steelyard.importer.scales import real_to_code
from steelyard.importer.values import Activation, Constant, NetworkInput, Pending, Value
from steelyard.network import Layer, Network, Tensor

Handler = Callable[["Builder", Node], None]

HANDLERS: dict[str, Handler] = {}

HINTS = {
    "BatchNormalization": "export the model in evaluation mode so that it folds into a convolution",
    "Softmax": "leave it out and take the largest score on the host",
    "LogSoftmax": "leave it out and take the largest score on the host",
    "QLinearConv": "quantize into the QDQ format with 'steelyard quantize'",
    "QLinearMatMul": "quantize into the QDQ format with 'steelyard quantize'",
    "ConvInteger": "quantize into the QDQ format with 'steelyard quantize'",
    "Concat": "use a residual add instead",
}


def operator(*names: str) -> Callable[[Handler], Handler]:
    """Decorator that registers a handler for operator types."""

    def register(handler: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = handler
        return handler

    return register


class Builder:
    """Values seen so far, and the tensors and layers made of them.

    Parameters
    ----------
    graph : parsed graph in topological order
    name : name of the network
    """

    def __init__(self, graph: Graph, name: str) -> None:
        self._graph = graph
        self._name = name
        self._values: dict[str, Value] = {n: Constant(a) for n, a in graph.constants.items()}
        self._values[graph.input] = NetworkInput(graph.input, graph.input_shape)
        self._tensors: dict[str, Tensor] = {}
        self._layers: list[Layer] = []
        self._input: Tensor | None = None
        self._label = _output_label(graph)

    def build(self) -> Network:
        """Network of all nodes.

        Raises
        ------
        UserError
            If a node is not supported or the output is not quantized.
        """
        # The handlers register themselves and need `operator` from here.
        from steelyard.importer import ops_linear, ops_pool, ops_quantize, ops_shape  # noqa: F401

        for node in self._graph.nodes:
            self._lower(node)
        output = self._values.get(self._graph.output)
        if isinstance(output, Pending):
            raise NotQuantized(
                f"Network output {self._graph.output!r} is float, allowed is an output behind a "
                "QuantizeLinear and DequantizeLinear",
                self._graph.output,
            )
        if not isinstance(output, Activation) or self._input is None:
            raise UserError(
                f"Network output {self._graph.output!r} is not computed from the input by "
                "quantized layers, as it must be; export the network so."
            )
        if any(output.padding):
            raise UserError(
                f"Network output {self._graph.output!r} is a Pad node's, which only convolutions "
                "and pooling may follow; remove the padding."
            )
        self._keep_used(output.tensor.name)
        return Network(
            self._name, self._input.name, output.tensor.name, self._tensors, tuple(self._layers)
        )

    def value(self, node: Node, index: int) -> Value | None:
        """What an input of a node stands for; None for an optional input that is absent."""
        if index >= len(node.inputs) or not node.inputs[index]:
            return None
        name = node.inputs[index]
        if name not in self._values:
            raise node.error(f"reads {name!r}, which no earlier node makes; sort the graph.")
        return self._values[name]

    def activation(self, node: Node, index: int = 0) -> Activation:
        """Dequantized activation at an input of a node.

        Raises
        ------
        UserError
            If it is constant or has no QuantizeLinear and DequantizeLinear before the node.
        """
        value = self.value(node, index)
        if isinstance(value, Pending | NetworkInput):
            raise NotQuantized(
                f"{node.title} takes {node.inputs[index]!r}, which is not quantized, as input "
                f"{index}, allowed is an activation behind a QuantizeLinear and DequantizeLinear",
                node.inputs[index],
                node.outputs[0],
                index,
            )
        if not isinstance(value, Activation) or not value.real:
            what = "integer codes" if isinstance(value, Activation) else "a constant"
            raise node.error(
                f"takes {what} as input {index}, allowed is an activation behind a QuantizeLinear "
                "and DequantizeLinear; export the network so."
            )
        return value

    def constant(self, node: Node, index: int) -> np.ndarray | None:
        """Constant array at an input of a node, None if absent.

        Raises
        ------
        UserError
            If it is computed from the network's input.
        """
        value = self.value(node, index)
        if value is None:
            return None
        if not isinstance(value, Constant):
            raise node.error(
                f"computes input {index} from data, allowed is a constant; "
                "export the network with fixed sizes."
            )
        return value.array

    def bind(self, node: Node, value: Value) -> None:
        """Let the first output of a node stand for a value."""
        self._values[node.outputs[0]] = value

    def quantize(self, node: Node, name: str, pending: Pending, scale: float, zero: int) -> Tensor:
        """Tensor of a pending layer's output, with the layer appended."""
        name = self._label.get(name, name)
        output = Tensor(self._unused(name), pending.draft.shape, scale, zero)
        lo, hi = (real_to_code(v, scale, zero) for v in (pending.low, pending.high))
        tensors, layers = pending.draft.finish(output, lo, hi)
        if any(layer.name == done.name for layer in layers for done in self._layers):
            raise node.error(
                "is the second to quantize one result with another scale, one is allowed; "
                "quantize the network with 'steelyard quantize'."
            )
        self._tensors.update((tensor.name, tensor) for tensor in tensors)
        self._layers.extend(layers)
        return output

    def quantize_input(self, node: Node, source: NetworkInput, scale: float, zero: int) -> Tensor:
        """Tensor of the network's input; a second QuantizeLinear must agree with the first."""
        shape = source.view if len(source.view) == 3 else (source.view[0], 1, 1)
        tensor = Tensor(source.name, (shape[0], shape[1], shape[2]), scale, zero)
        if self._input not in (None, tensor):
            raise node.error(
                "quantizes the network's input a second time with another scale, one is allowed; "
                "quantize the network with 'steelyard quantize'."
            )
        self._input = tensor
        self._tensors[tensor.name] = tensor
        return tensor

    def _lower(self, node: Node) -> None:
        if self._fold(node):
            return
        handler = HANDLERS.get(node.op)
        if handler is None:
            hint = HINTS.get(node.op, "replace the operator or leave it to the host")
            raise node.error(
                f"is not supported, allowed are {', '.join(sorted(HANDLERS))}; {hint}."
            )
        handler(self, node)

    def _fold(self, node: Node) -> bool:
        """Compute a node whose inputs are plain constants; exporters build shapes and pads so."""
        if node.op in ("QuantizeLinear", "DequantizeLinear"):
            return False
        values = [self._values.get(name) if name else None for name in node.inputs]
        if not all(v is None or isinstance(v, Constant) for v in values) or any(
            name and name not in self._values for name in node.inputs
        ):
            return False
        arrays = [v.array if isinstance(v, Constant) else None for v in values]
        for name, array in zip(
            node.outputs, evaluate(node, arrays, self._graph.opset), strict=True
        ):
            self._values[name] = Constant(np.asarray(array))
        return True

    def _unused(self, name: str) -> str:
        count = 1
        candidate = name
        while candidate in self._tensors or candidate == self._graph.input:
            count += 1
            candidate = f"{name}/{count}"
        return candidate

    def _keep_used(self, output: str) -> None:
        """Drop layers that the output does not depend on."""
        needed = {output}
        kept: list[Layer] = []
        for layer in reversed(self._layers):
            if layer.output in needed:
                needed.update(layer.inputs)
                kept.append(layer)
        self._layers = kept[::-1]
        needed.add(self._graph.input)
        self._tensors = {n: t for n, t in self._tensors.items() if n in needed}


def _output_label(graph: Graph) -> dict[str, str]:
    """The network output's own name for the value that is quantized into it."""
    makers = {node.outputs[0]: node for node in graph.nodes}
    last = makers.get(graph.output)
    quantized = makers.get(last.inputs[0]) if last and last.op == "DequantizeLinear" else None
    if quantized is None or quantized.op != "QuantizeLinear":
        return {}
    return {quantized.inputs[0]: graph.output}
