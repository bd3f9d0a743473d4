"""Float networks as integer networks before any calibration, to say what they will take.

Scales are placeholders and biases do not matter; weights are zero exactly where the file has zeros,
so that plans and cycles are those of the network once it is quantized.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steelyard.errors import UserError
from steelyard.importer.node import Node
from steelyard.importer.obstacles import surveyed
from steelyard.importer.schema import VIEWS
from steelyard.importer.survey import AFFINE, Survey, inner_of, unquantized
from steelyard.importer.values import (
    Activation,
    Codes,
    Constant,
    NetworkInput,
    Pending,
    QuantizedConstant,
)
from steelyard.importer.walk import Walk
from steelyard.network import Layer, Network, Tensor, compose_tables

if TYPE_CHECKING:
    import onnx

SCALE, ZERO_POINT = 1.0, -128
"""Of every activation, as behind a ReLU."""
WEIGHT_SCALE = np.float32(1 / 128)
LARGEST = 127
"""Code of a layer's largest weight."""


def placeholder_network(model: onnx.ModelProto, name: str) -> Network:
    """Integer network of the layers that a float network's quantization will give.

    Parameters
    ----------
    model : float ONNX model without obstacles, best in the form that the quantizer gives it
    name : of the network

    Raises
    ------
    UserError
        If a layer cannot be computed.
    """
    graph, shapes, _ = surveyed(model)
    return _Placeholders(graph, shapes, {}, quantized=False).network(name)


class _Placeholders(Survey):
    """Walk that quantizes every value where a layer reads it, all with the same scale."""

    def network(self, title: str) -> Network:
        """Network of all nodes.

        Raises
        ------
        UserError
            If a layer cannot be computed.
        """
        self._name = title
        readers: dict[str, list[Node]] = {}
        for node in self.graph.nodes:
            for name in node.inputs:
                readers.setdefault(name, []).append(node)
        for node in _breadth_first(self.graph.nodes):
            self._place(node)
            for output in node.outputs:
                value = self._values.get(output)
                goes_on = output in self._inner or self._goes_on(readers.get(output, []))
                if isinstance(inner_of(value), Pending) and not goes_on:
                    self._quantize(output)
        for output in self.graph.outputs:
            if isinstance(inner_of(self._values.get(output)), Pending):
                self._quantize(output)
        ends = [self._result(output) for output in self.graph.outputs]
        if self._builder is None:
            raise UserError(
                f"Network {title!r} has no layer that the accelerator computes; "
                "export the whole network."
            )
        return compose_tables(self._network(ends))

    def _goes_on(self, readers: Sequence[Node]) -> bool:
        """Whether a layer takes over what reads its result; what several read is computed once."""
        if len(readers) != 1:
            return False
        node = readers[0]
        moving = [
            name
            for name in node.inputs
            if name and not isinstance(self._values.get(name), Constant)
        ]
        return node.op in ("Clip", "Relu", *VIEWS) or (node.op in AFFINE and len(moving) == 1)

    def _place(self, node: Node) -> None:
        """Lowers a node whose inputs are quantized where it needs them so."""
        # A clamp or a view takes a layer's result as it is: that is the usual form here.
        values = [self._values.get(name) if name else None for name in node.inputs]
        raw = {index: value for index, value in enumerate(values) if unquantized(value)}
        reasons: list[UserError] = []
        for form in self._forms(node):
            for shown in ({**form, **raw}, form):
                self._shown = dict(shown)
                try:
                    self._lower(node)
                except UserError as error:
                    reasons.append(error)
                else:
                    return
                finally:
                    self._shown = {}
        if not self._affine(node):
            raise reasons[-1]

    def _quantize(self, name: str) -> None:
        value = self._values[name]
        if unquantized(value):
            self._values[name] = self._as_activation(value)

    def _finished(self, codes: Codes, pending: Pending) -> Tensor:
        return Walk._finished(self, codes, pending)

    def _move(
        self, source: Tensor, kind: type[Layer], name: str, output: str, fields: dict[str, Any]
    ) -> Tensor:
        return Walk._move(self, source, kind, name, output, fields)

    def _activation(self, value: Pending | NetworkInput) -> Activation:
        name = value.layer.name if isinstance(value, Pending) else value.name
        return self.dequantized(Codes(value, name, SCALE, ZERO_POINT, False, value.view))

    def _weights(self, value: Constant) -> QuantizedConstant:
        array = value.array.astype(np.float32)
        peak = float(np.abs(array).max(initial=0)) or 1.0
        codes = np.rint(array / peak * LARGEST)
        # A weight that is not zero takes its place in a group however small it is.
        codes += np.sign(array) * ((codes == 0) & (array != 0))
        zero = np.zeros((), np.int8)
        return QuantizedConstant(
            codes.astype(np.int8), np.asarray(WEIGHT_SCALE), zero, 0, real=True
        )


def _breadth_first(nodes: Sequence[Node]) -> list[Node]:
    """Nodes in the order that onnxruntime's quantizer gives them, by which memory is planned."""
    made = {name for node in nodes for name in node.outputs}
    missing = [sum(name in made for name in node.inputs) for node in nodes]
    readers: dict[str, list[int]] = {}
    for number, node in enumerate(nodes):
        for name in node.inputs:
            readers.setdefault(name, []).append(number)
    order = [number for number, count in enumerate(missing) if not count]
    for number in order:
        for name in nodes[number].outputs:
            for reader in readers.get(name, ()):
                missing[reader] -= 1
                if not missing[reader]:
                    order.append(reader)
    return [nodes[number] for number in order]
