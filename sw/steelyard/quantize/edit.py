"""ONNX graph that passes change: who makes and who reads a value, constants as arrays."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steelyard.importer.inner import Functions

if TYPE_CHECKING:
    import onnx

Shape = tuple[int | None, ...]


class Edit:
    """A model's graph with the look-ups that rewriting needs; `finish` writes it back.

    Parameters
    ----------
    model : ONNX model whose constants are initializers
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._functions: Functions | None = None
        self.nodes: list[onnx.NodeProto] = [_copy(node) for node in model.graph.node]
        self._constants = {item.name: item for item in model.graph.initializer}
        self._fresh: set[str] = set()
        self._outputs = {item.name for item in model.graph.output}
        self._inputs = {item.name for item in model.graph.input}
        graph = model.graph
        self._shapes = {
            item.name: _shape(item)
            for item in (*graph.input, *graph.value_info, *graph.output)
            if item.type.tensor_type.HasField("shape")
        }
        self.refresh()

    def producer(self, name: str) -> onnx.NodeProto | None:
        """Node that makes a value; None for inputs and constants."""
        return self._producers.get(name)

    def only_reader(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads a value; None if several do or the network gives it out."""
        found = self._readers.get(name, [])
        return found[0] if len(found) == 1 and name not in self._outputs else None

    def is_read(self, name: str) -> bool:
        """Whether a node reads a value or the network gives it out."""
        return name in self._readers or name in self._outputs

    def reads_alone(self, node: onnx.NodeProto, name: str) -> bool:
        """Whether only this node reads a value, and the network does not give it out."""
        return self.only_reader(name) is node

    def constant(self, name: str) -> NDArray[Any] | None:
        """Array of an initializer, None for any other value."""
        from onnx import numpy_helper

        item = self._constants.get(name)
        return None if item is None else numpy_helper.to_array(item)

    def shape(self, name: str) -> Shape | None:
        """Shape of a value as far as it is known; None if not even its rank is."""
        item = self._constants.get(name)
        return tuple(item.dims) if item is not None else self._shapes.get(name)

    def add_constant(self, hint: str, values: NDArray[Any]) -> str:
        """Name of a new initializer: `hint`, or one like it that is free."""
        from onnx import numpy_helper

        name = self.free_name(hint)
        self._fresh.add(name)
        self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def keep_constant(self, item: onnx.TensorProto) -> None:
        """Take an initializer over from another graph under its own name."""
        self._fresh.add(item.name)
        self._constants[item.name] = item

    def free_name(self, hint: str) -> str:
        """Name that no value of the graph has yet."""
        count, name = 1, hint
        while name in self._taken or name in self._constants:
            count += 1
            name = f"{hint}_{count}"
        return name

    def replace(self, node: onnx.NodeProto, *new: onnx.NodeProto) -> None:
        """Put nodes in the place of one."""
        place = next(index for index, each in enumerate(self.nodes) if each is node)
        self.nodes[place : place + 1] = new
        # What is new has the value's old shape: no pass here changes the shape of a name.
        self.refresh()

    def rename_input(self, old: str, new: str) -> None:
        """Let every node that reads one value read another."""
        for node in self.nodes:
            node.input[:] = [new if name == old else name for name in node.input]
        self.refresh()

    def is_output(self, name: str) -> bool:
        """Whether the network gives a value out."""
        return name in self._outputs

    def functions(self) -> Functions:
        """What is computed of one value, element by element."""
        if self._functions is None:
            sizes = {name: math.prod(item.dims) for name, item in self._constants.items()}
            nodes = ((node.op_type, node.input, node.output) for node in self.nodes)
            self._functions = Functions(nodes, sizes.get, self.constant, self._outputs)
        return self._functions

    def bypass(self, node: onnx.NodeProto) -> None:
        """Remove a node that alone reads its first input; the maker of that makes its output now.

        The output keeps its name, so that the network's output is called as before.
        """
        maker = self._producers[node.input[0]]
        place = list(maker.output).index(node.input[0])
        maker.output[place] = node.output[0]
        self.nodes = [each for each in self.nodes if each is not node]
        self.refresh()

    def finish(self) -> None:
        """Write nodes and the constants that are still read into the model."""
        graph = self._model.graph
        kept = {name for name in self._constants if name in self._readers or name in self._outputs}
        del graph.node[:]
        graph.node.extend(self.nodes)
        # What stays is left where it is: weights are nearly all of a file.
        for index in reversed(range(len(graph.initializer))):
            if graph.initializer[index].name not in kept - self._fresh:
                del graph.initializer[index]
        graph.initializer.extend(
            item for name, item in self._constants.items() if name in kept & self._fresh
        )

    def refresh(self) -> None:
        """Look everything up again, after a node was changed in place."""
        self._functions = None
        self._producers = {name: node for node in self.nodes for name in node.output if name}
        readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in node.input:
                if name:
                    readers[name].append(node)
        self._readers = dict(readers)
        self._taken = self._producers.keys() | self._readers.keys() | self._inputs


def attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """Value of a node's attribute, or its default."""
    from onnx import helper

    for item in node.attribute:
        if item.name == name:
            value = helper.get_attribute_value(item)
            return value.decode() if isinstance(value, bytes) else value
    return default


def _shape(item: onnx.ValueInfoProto) -> Shape:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else None
        for dim in item.type.tensor_type.shape.dim
    )


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
