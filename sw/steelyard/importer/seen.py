"""Values of a graph that have been seen so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from steelyard.importer.graph import Graph
from steelyard.importer.node import Node
from steelyard.importer.values import Activation, Constant, NetworkInput, Value
from steelyard.network import NetworkBuilder, Tensor


class Seen:
    """What names of a graph stand for, and the network of them.

    Parameters
    ----------
    graph : parsed graph in topological order
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._values: dict[str, Value] = {n: Constant(a) for n, a in graph.constants.items()}
        self._values[graph.input] = NetworkInput(graph.input, graph.input_shape)
        self._builder: NetworkBuilder | None = None  # From the input's quantizer on.
        self._straight: dict[int, Value] = {}  # In place of a node's inputs with channels last.

    @property
    def _tensors(self) -> Mapping[str, Tensor]:
        return {} if self._builder is None else self._builder.tensors

    @property
    def _input(self) -> Tensor | None:
        """Tensor of the network's input, None before its quantizer."""
        return self._tensors.get(self.graph.input)

    def value(self, node: Node, index: int) -> Value | None:
        """What an input of a node stands for; None for an optional input that is absent."""
        if index >= len(node.inputs) or not node.inputs[index]:
            return None
        name = node.inputs[index]
        if name not in self._values:
            raise node.error(
                f"reads {name!r}, a second output of another node, which is not made; "
                "allowed are first outputs, so leave the node out."
            )
        value = self._straight.get(index, self._values[name])
        if isinstance(value, Activation):
            # The input's shape may have become another since.
            return replace(value, tensor=self._tensors.get(value.tensor.name, value.tensor))
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

    def integers(self, node: Node, index: int) -> list[int] | None:
        """Constant integers at an input of a node, None if absent.

        Raises
        ------
        UserError
            If it is no constant, or not of integers.
        """
        array = self.constant(node, index)
        if array is None:
            return None
        if array.dtype.kind not in "iu" or array.ndim > 1:
            raise node.error(
                f"has {array.dtype} of shape {array.shape} as input {index}, allowed is a list of "
                "integers; export the network again."
            )
        return [int(each) for each in array.reshape(-1)]

    def bind(self, node: Node, value: Value, output: int = 0) -> None:
        """Let an output of a node, by default the first, stand for a value."""
        self._values[node.outputs[output]] = value
