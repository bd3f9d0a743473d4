"""Networks cut in two: what the accelerator computes, and the part behind it that the host does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steelyard.errors import UserError
from steelyard.importer.inference import inferred

if TYPE_CHECKING:
    import onnx

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that are the accelerator's work: a part that has one is not offered to the host."""
SHOWN = 8
"""Names that a sentence lists."""


@dataclass(frozen=True)
class Cut:
    """A network in two parts.

    Members
    -------
    network : ends at the value
    host : takes the value and gives the network's outputs
    value : where the parts meet
    operators : of the host's part in order, without those that compute constants
    """

    network: onnx.ModelProto
    host: onnx.ModelProto
    value: str
    operators: tuple[str, ...]


@dataclass(frozen=True)
class _Division:
    """Nodes, by their number in the file, behind a value, and in front of it."""

    value: str
    behind: frozenset[int]
    before: frozenset[int]


class _Wiring:
    """Which node makes and reads what; names of constants are known to depend on no input."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.stored = {item.name for item in graph.initializer}
        self.makers = {
            name: number for number, node in enumerate(graph.node) for name in node.output if name
        }
        self.inputs = [item.name for item in graph.input if item.name not in self.stored]
        self._readers: dict[str, list[int]] = {}
        for number, node in enumerate(graph.node):
            for name in node.input:
                self._readers.setdefault(name, []).append(number)
        self.moving = self.reached(self.inputs)

    def reached(self, names: Iterable[str]) -> set[str]:
        """Values that depend on others, these among them."""
        found = set(names)
        queue = list(found)
        while queue:
            for number in self._readers.get(queue.pop(), ()):
                fresh = {name for name in self.graph.node[number].output if name} - found
                found |= fresh
                queue += fresh
        return found

    def needed(self, names: Iterable[str], end: str | None = None) -> frozenset[int]:
        """Nodes that make values, back to the network's inputs or to the value `end`."""
        queue = [name for name in names if name != end]
        found: set[int] = set()
        while queue:
            number = self.makers.get(queue.pop())
            if number is None or number in found:
                continue
            found.add(number)
            queue += [name for name in self.graph.node[number].input if name and name != end]
        return frozenset(found)

    def divide(self, value: str) -> _Division:
        """Parts of the network before and behind a value.

        Raises
        ------
        UserError
            If nothing is behind it, or what is behind it reads another value of the part before.
        """
        outputs = [item.name for item in self.graph.output]
        if value in self.inputs:
            raise UserError(
                f"The network cannot be cut at {value!r}, its input, for the accelerator would "
                "have nothing to do; name a value behind the first layer."
            )
        if outputs == [value]:
            raise UserError(
                f"The network cannot be cut at {value!r}, its output, behind which there is "
                "nothing; name a value before it, or leave --cut out."
            )
        if len(outputs) != 1:
            raise UserError(
                f"The network cannot be cut at {value!r}, because it has {len(outputs)} outputs "
                f"({', '.join(map(repr, outputs))}) and the host's part gives one; export the "
                "network with one output."
            )
        if not any(value in self.graph.node[number].input for number in self.needed(outputs)):
            raise UserError(
                f"The network cannot be cut at {value!r}, which its output does not need; name a "
                "value that the output depends on."
            )
        behind = self.needed(outputs, value)
        after = self.reached([value])
        for number in sorted(behind):
            node = self.graph.node[number]
            aside = [name for name in node.input if name in self.moving and name not in after]
            if aside and not after.isdisjoint(node.input):
                raise UserError(
                    f"The network cannot be cut at {value!r}, because {node.op_type} node "
                    f"{_title(node)!r} behind it also reads {aside[0]!r}; cut where "
                    "one value alone goes on."
                )
        return _Division(value, behind, self.needed([value]))

    def value_of(self, name: str) -> str:
        """Value at which a name cuts: itself, or what the node of that name or operator reads.

        Raises
        ------
        UserError
            If no node, computed value or single operator has the name, or the node reads several
            values.
        """
        named = [node for node in self.graph.node if node.name == name]
        if not named and name in self.moving:
            return name
        kinds = [node for node in self.graph.node if node.op_type.lower() == name.lower()]
        found = named or (kinds if len(kinds) == 1 else [])
        if not found:
            last = [node.name or node.output[0] for node in self.graph.node if node.output]
            raise UserError(
                f"The network has no node or computed value {name!r}, and not one node alone of "
                "that operator, to cut it at; name another, its last nodes are "
                f"{', '.join(map(repr, last[-SHOWN:]))}."
            )
        node = found[0]
        read = [each for each in dict.fromkeys(node.input) if each in self.moving]
        if len(read) != 1:
            values = ", ".join(map(repr, read)) or "none"
            raise UserError(
                f"{node.op_type} node {_title(node)!r} reads {len(read)} computed "
                f"values ({values}), and the network is cut at one; name the value to cut it at."
            )
        return read[0]


def cut(model: onnx.ModelProto, name: str) -> Cut:
    """Network without the part behind a value, and that part.

    Parameters
    ----------
    model : ONNX model, float or quantized
    name : a node, which is the first of the host's; or else a value, at which the network ends; or
        else the operator of one node alone, which is as if that were named

    Raises
    ------
    UserError
        If there is no such name, or the network does not fall in two there.
    """
    from onnx import TensorProto, helper

    wiring = _Wiring(model.graph)
    parts = wiring.divide(wiring.value_of(name))
    kinds = {item.name: item for item in (*model.graph.value_info, *model.graph.output)}
    if parts.value not in kinds:
        kinds |= {item.name: item for item in inferred(model).graph.value_info}
    middle = kinds.get(parts.value) or helper.make_tensor_value_info(
        parts.value, TensorProto.FLOAT, None
    )
    network = _part(model, parts.before, list(model.graph.input), [middle])
    host = _part(model, parts.behind, [middle], list(model.graph.output))
    shown = [
        model.graph.node[number].op_type
        for number in sorted(parts.behind)
        if any(name in wiring.moving for name in model.graph.node[number].input)
    ]
    return Cut(network, host, parts.value, tuple(dict.fromkeys(shown)))


def joined(network: onnx.ModelProto, parts: Cut) -> onnx.ModelProto:
    """The two parts as one network again, the first of them quantized meanwhile.

    Parameters
    ----------
    network : the first part, of the same opset as the second; its output has kept its name
    """
    made = type(network)()
    made.CopyFrom(network)
    graph, host = made.graph, parts.host.graph
    taken = {name for node in graph.node for name in node.output} | {
        item.name for item in graph.initializer
    }
    own = {name for node in host.node for name in node.output if name}
    own |= {item.name for item in host.initializer}
    ends = {item.name for item in host.output}
    names = {name: _unused(name, taken) if name not in ends else name for name in sorted(own)}
    for item in host.initializer:
        graph.initializer.add().CopyFrom(item)
        graph.initializer[-1].name = names[item.name]
    for node in host.node:
        copy = graph.node.add()
        copy.CopyFrom(node)
        for ports in (copy.input, copy.output):
            ports[:] = [names.get(name, name) for name in ports]
    del graph.output[:]
    graph.output.extend(host.output)
    del graph.value_info[:]
    domains = {item.domain for item in made.opset_import}
    made.opset_import.extend(item for item in parts.host.opset_import if item.domain not in domains)
    return made


def offers(model: onnx.ModelProto, culprits: Iterable[str]) -> dict[str, str]:
    """Where to cut a network so that the host computes nodes at its end, by their first output.

    Parameters
    ----------
    culprits : first outputs of the nodes that the accelerator cannot compute

    Returns
    -------
    dict
        Names for :func:`cut`, of nodes that have no layer with weights behind them; a node that
        another one's cut gives to the host too has that one's.
    """
    wiring = _Wiring(model.graph)
    divisions: dict[str, tuple[str, _Division]] = {}
    for output in culprits:
        number = wiring.makers.get(output)
        if number is None:
            continue
        node = model.graph.node[number]
        read = [each for each in dict.fromkeys(node.input) if each in wiring.moving]
        if len(read) != 1:
            continue
        try:
            # The node's name, where it leads to this very cut.
            name = node.name if node.name and wiring.value_of(node.name) == read[0] else read[0]
            parts = wiring.divide(wiring.value_of(name))
        except UserError:
            continue
        behind = [model.graph.node[each].op_type for each in parts.behind]
        if number in parts.behind and not any(op in WEIGHTED for op in behind):
            divisions[output] = name, parts
    found = {}
    for output in divisions:
        number = wiring.makers[output]
        holding = [each for each in divisions.values() if number in each[1].behind]
        found[output] = max(holding, key=lambda each: len(each[1].behind))[0]
    return found


def _part(
    model: onnx.ModelProto,
    numbers: Iterable[int],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
) -> onnx.ModelProto:
    """Model of some of the nodes, with the constants that they read."""
    part = type(model)()
    for field in ("ir_version", "producer_name", "domain", "model_version"):
        setattr(part, field, getattr(model, field))
    part.opset_import.extend(model.opset_import)
    part.functions.extend(model.functions)
    graph, source = part.graph, model.graph
    graph.name = source.name
    graph.node.extend(source.node[number] for number in sorted(numbers))
    read = {name for node in graph.node for name in node.input}
    read |= {item.name for item in outputs}
    graph.initializer.extend(item for item in source.initializer if item.name in read)
    stored = {item.name for item in source.initializer}
    graph.input.extend(i for i in inputs if i.name not in stored or i.name in read)
    graph.output.extend(outputs)
    return part


def _title(node: onnx.NodeProto) -> str:
    return node.name or next(filter(None, node.output), "")


def _unused(name: str, taken: set[str]) -> str:
    candidate, count = name, 1
    while candidate in taken:
        count += 1
        candidate = f"{name}/host{count}"
    return candidate
