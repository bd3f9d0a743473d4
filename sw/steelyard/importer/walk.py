"""Walk over a parsed graph: every node is handed to its operator's handler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from steelyard.contract.limits import MAX_PADDING
from steelyard.errors import UserError
from steelyard.importer.errors import NotQuantized
from steelyard.importer.folding import Folder
from steelyard.importer.graph import Graph
from steelyard.importer.labels import output_labels
from steelyard.importer.naming import unused
from steelyard.importer.node import Node
from steelyard.importer.outputs import Output, network_of
from steelyard.importer.registry import HINTS, OPERATORS
from steelyard.importer.seen import Seen
from steelyard.importer.turning import ELEMENTWISE, again, straight_input, straightened
from steelyard.importer.unscaled import Move, UnscaledAvgPool
from steelyard.importer.values import (
    Activation,
    Codes,
    Constant,
    LaterMaxPool,
    NetworkInput,
    Pending,
    Turned,
    Value,
    ends_of,
)
from steelyard.network import Layer, Network, NetworkBuilder, Pad, Shape, Tensor


class Walk(Seen):
    """Values seen so far, and the tensors and layers made of them.

    Parameters
    ----------
    graph : parsed graph in topological order
    name : name of the network
    """

    def __init__(self, graph: Graph, name: str) -> None:
        super().__init__(graph)
        self._name = name
        self._input_is_read = False
        self._input_last = False
        self._quantized: dict[tuple[object, ...], Tensor] = {}
        self._padded: dict[tuple[object, ...], Tensor] = {}
        self._label = output_labels(graph)
        self._folder = Folder(graph.opset, sum(each.size for each in graph.constants.values()))

    def build(self) -> Network:
        """Network of all nodes.

        Raises
        ------
        UserError
            If a node is not supported or an output is not quantized.
        """
        for node in self.graph.nodes:
            self._lower(node)
        return self._network([self._result(name) for name in self.graph.outputs])

    def _network(self, results: Sequence[Activation | Turned]) -> Network:
        """Network of all layers so far, whose outputs are called as in the graph."""
        assert self._builder is not None  # An activation is of a network.
        ends = [
            Output(name, inner.tensor.name, result.view, isinstance(result, Turned))
            for name, result in zip(self.graph.outputs, results, strict=True)
            if isinstance(
                inner := result.value if isinstance(result, Turned) else result, Activation
            )
        ]
        return network_of(self._builder, ends, self.graph.input_shape, input_last=self._input_last)

    def _result(self, name: str) -> Activation | Turned:
        """What an output of the network is, once all nodes are lowered.

        Raises
        ------
        UserError
            If it is no quantized activation, or padding waits.
        """
        found = self._values.get(name)
        output = found.value if isinstance(found, Turned) else found
        if isinstance(output, Codes):
            output = self.dequantized(output)
        if isinstance(output, Pending):
            raise NotQuantized(
                f"Network output {name!r} is float, allowed is an output behind a QuantizeLinear "
                "and DequantizeLinear",
                name,
            )
        if not isinstance(output, Activation):
            raise UserError(
                f"Network output {name!r} is not computed from the input by quantized layers, as "
                "it must be; export the network so."
            )
        output = self.unpadded(output)
        return replace(found, value=output) if isinstance(found, Turned) else output

    def activation(self, node: Node, index: int = 0, value: Value | None = None) -> Activation:
        """Dequantized activation at an input of a node.

        Parameters
        ----------
        value : in place of what stands at the input

        Raises
        ------
        UserError
            If it is constant or has no QuantizeLinear and DequantizeLinear before the node.
        """
        value = value or self.value(node, index)
        if isinstance(value, Pending | NetworkInput):
            raise NotQuantized(
                f"{node.title} takes {node.inputs[index]!r}, which is not quantized, as input "
                f"{index}, allowed is an activation behind a QuantizeLinear and DequantizeLinear",
                node.inputs[index],
                node.outputs[0],
                index,
            )
        if isinstance(value, Turned):
            raise node.error(
                f"takes a map with channels last as input {index}, as a Transpose before it makes "
                "it, allowed is channels first; export the network with channels first."
            )
        if not isinstance(value, Activation):
            what = "integer codes" if isinstance(value, Codes) else "a constant"
            raise node.error(
                f"takes {what} as input {index}, allowed is an activation behind a QuantizeLinear "
                "and DequantizeLinear; export the network so."
            )
        if value.tensor is self._input:
            self._input_is_read = True
        return value

    def plane(
        self, node: Node, index: int = 0, value: Activation | None = None
    ) -> tuple[Activation, tuple[int, int, int]]:
        """Activation at an input of a node, and its channels, height and width without padding.

        Parameters
        ----------
        value : in place of what stands at the input

        Raises
        ------
        UserError
            As :meth:`activation`, or if the tensor has been flattened.
        """
        was_read = self._input_is_read
        value = value or self.activation(node, index)
        tensor = value.tensor
        self._input_is_read |= tensor is self._input
        # While nothing has read the input, the network can take it in another shape.
        unread = tensor is self._input and not was_read
        if value.view != tensor.shape and unread and len(value.view) == 3:
            channels, height, width = value.view
            tensor = self._begin((channels, height, width), tensor.scale, tensor.zero_point)
            value = replace(value, tensor=tensor)
        if value.view != tensor.shape:
            raise node.error(
                f"takes a tensor of shape {('batch', *value.view)}, allowed is the unflattened "
                f"{('batch', *tensor.shape)}; place flatten and reshape right before the "
                "fully connected layers."
            )
        return value, tensor.shape

    def straight_input(self, value: Value | None, shape: Shape) -> Value | None:
        """The network's input with channels first, if that has channels last from now on.

        Parameters
        ----------
        value : None is given unless this is the input that nothing has read yet, or its codes
        shape : channels, height and width
        """
        if value is None or self._input_is_read or self._input_last:
            return None
        name, tensor = self.graph.input, self._input
        if straight_input(value, name, tensor, shape) is None:
            return None
        if tensor is not None:
            tensor = self._begin(shape, tensor.scale, tensor.zero_point)
        self._input_last = True
        for key, each in self._values.items():
            straight = straight_input(each, name, tensor, shape)
            if straight is not None and isinstance(each, NetworkInput | Activation | Codes):
                self._values[key] = Turned(straight, each.view)
        return straight_input(value, name, tensor, shape)

    def range_of(self, tensor: Tensor) -> tuple[int, int]:
        """Lowest and highest code that a tensor can hold, as far as its own layer tells."""
        made = self._builder.layers if self._builder else ()
        return next((each.range for each in made if each.output == tensor.name), (-128, 127))

    def dequantized(self, codes: Codes) -> Activation:
        """Activation of codes: finishes the pending layer, or requantizes a quantized tensor.

        Raises
        ------
        UserError
            If the input is quantized twice in different ways, or the scales do not fit.
        """
        source = codes.source
        if isinstance(source, NetworkInput):
            source = Activation(self._quantize_input(codes, source), source.view)
        parameters = (codes.scale, codes.zero_point)
        if isinstance(source, Activation):
            tensor = source.tensor
            full = (codes.lo, codes.hi) == (-128, 127)
            if (tensor.scale, tensor.zero_point) != parameters or not full:
                if not codes.lo <= codes.zero_point <= codes.hi:
                    # The clamp changes padded zeros too.
                    codes = self.unpadded_codes(replace(codes, source=source))
                    assert isinstance(codes.source, Activation)
                    source, tensor = codes.source, codes.source.tensor
                layer = UnscaledAvgPool(f"{codes.name}/requantize", tensor.shape, tensor)
                if any(source.padding):
                    # The name is that of the padded map.
                    codes = replace(codes, name=f"{codes.name}/unpadded")
                tensor = self._finished(codes, Pending(layer, source.view))
            return Activation(tensor, codes.view, source.padding)
        return Activation(self._finished(codes, source), codes.view)

    def moved(self, node: Node, source: Tensor, *moves: Move, output: int = 0) -> Tensor:
        """Tensor that layers which only move codes make of another, one after the other.

        Parameters
        ----------
        moves : class of each layer and its fields
        output : which of the node's outputs they make

        Raises
        ------
        UserError
            If a layer cannot be; begins with the node.
        """
        name = node.outputs[output]
        for number, (kind, fields) in enumerate(moves, start=1):
            step = "" if number == len(moves) else f"/step {number}"
            which = f"/{output}" if output else ""
            try:
                source = self._move(
                    source, kind, f"{node.name}{which}{step}", f"{name}{step}", fields
                )
            except UserError as error:
                reason = str(error).partition(": ")[2].rstrip(".")
                raise node.error(f"cannot run: {reason}; change the layer so that it is.") from None
        return source

    def append(
        self, kind: type[Layer], inputs: tuple[Tensor, ...], output: Tensor, fields: dict[str, Any]
    ) -> None:
        """Append a layer that is called after its output, of tensors that are there."""
        assert self._builder is not None  # Its inputs are tensors of it.
        names = (each.name for each in inputs)
        codes: dict[str, Any] = {"scale": output.scale, "zero_point": output.zero_point}
        name = self._unused_layer(output.name)
        self._builder.append(kind, *names, name=name, output=output.name, **codes, **fields)

    def unpadded(self, value: Activation) -> Activation:
        """Activation whose padding, if any waits, has become a layer.

        Raises
        ------
        UserError
            If it is padded by more than is sensible.
        """
        tensor, padding = value.tensor, value.padding
        if not any(padding):
            return value
        if max(padding) > MAX_PADDING:
            raise UserError(
                f"Tensor {tensor.name!r} is padded by {padding}, allowed are up to "
                f"{MAX_PADDING} rows or columns on a side; use less padding."
            )
        key = (tensor.name, padding)
        if key not in self._padded:
            name = f"{tensor.name}/padded"
            self._padded[key] = self._move(tensor, Pad, name, name, {"padding": padding})
        padded = self._padded[key]
        return Activation(padded, padded.shape)

    def unpadded_codes(self, codes: Codes) -> Codes:
        """The same of what has been quantized."""
        source = codes.source
        if not isinstance(source, Activation) or not any(source.padding):
            return codes
        source = self.unpadded(source)
        return replace(codes, source=source, view=source.view)

    def _move(
        self, source: Tensor, kind: type[Layer], name: str, output: str, fields: dict[str, Any]
    ) -> Tensor:
        assert self._builder is not None  # Its source is a tensor of it.
        made = self._builder.append(
            kind,
            source.name,
            name=self._unused_layer(name),
            output=self._unused(output),
            **fields,
        )
        return self._builder.tensors[made]

    def _finished(self, codes: Codes, pending: Pending) -> Tensor:
        """Tensor of a pending layer's output, with the layer appended unless it is there."""
        key = (codes.name, codes.scale, codes.zero_point, codes.lo, codes.hi)
        if key not in self._quantized:
            name = self._unused(self._label.get(codes.name, codes.name))
            output = Tensor(name, pending.layer.shape, codes.scale, codes.zero_point)
            lo, hi = ends_of(codes, pending)
            found = pending.layer
            if isinstance(found, LaterMaxPool):
                # Another reader of what is pooled may share its layer.
                before = replace(codes, name=found.value, lo=-128, hi=127)
                found = found.on(self._finished(before, found.source))
            layer = found.renamed(self._unused_layer(found.name))
            assert self._builder is not None  # Whatever waits reads a quantized tensor.
            layer.finish(self._builder, output, lo, hi)
            self._quantized[key] = output
        return self._quantized[key]

    def _quantize_input(self, codes: Codes, source: NetworkInput) -> Tensor:
        """Tensor of the network's input; a second QuantizeLinear must agree with the first."""
        parameters = (codes.scale, codes.zero_point)
        tensor = self._input
        if tensor is None:
            view = source.view if len(source.view) == 3 else (source.view[0], 1, 1)
            tensor = self._begin((view[0], view[1], view[2]), *parameters)
        if (tensor.scale, tensor.zero_point) != parameters:
            raise UserError(
                f"Network input {self.graph.input!r} is quantized with two scales, one is allowed; "
                "use one QuantizeLinear for it."
            )
        return tensor

    def _begin(self, shape: Shape, scale: float, zero_point: int) -> Tensor:
        """Network of no layers with an input of this shape; returns the input."""
        name = self.graph.input
        self._builder = NetworkBuilder(
            self._name, shape, scale=scale, zero_point=zero_point, input=name
        )
        return self._builder.tensors[name]

    def _lower(self, node: Node) -> None:
        if self._fold(node):
            return
        found = OPERATORS.get(node.op)
        if found is None:
            hint = HINTS.get(node.op, "replace the operator or leave it to the host")
            raise node.error(
                f"is not supported, allowed are {', '.join(sorted(OPERATORS))}; {hint}."
            )
        given = {
            index: self.value(node, index)
            for index, name in enumerate(node.inputs)
            if name in self._values
        }
        turned = {i: each for i, each in given.items() if isinstance(each, Turned)}
        if not turned or node.op not in ELEMENTWISE:
            found.handler(self, node)
            return
        others = {i: each for i, each in given.items() if i not in turned}
        self._straight = straightened(node, turned, others)
        try:
            found.handler(self, node)
        finally:
            self._straight = {}
        view = next(iter(turned.values())).view
        for name in node.outputs:
            self._values[name] = again(self._values[name], view)

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
        for name, array in zip(node.outputs, self._folder.evaluate(node, arrays), strict=False):
            self._values[name] = Constant(array)
        return True

    def _unused(self, name: str) -> str:
        return unused(name, (*self._tensors, self.graph.input))

    def _unused_layer(self, name: str) -> str:
        """The name, with a number where a layer has it that quantizes the same result otherwise."""
        return unused(name, (each.name for each in self._builder.layers) if self._builder else ())
