"""Networks cut in two: what the accelerator computes, and the part behind it that the host does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    network : gives the values, and those of the outputs that do not depend on them
    host : takes the values and gives the other outputs
    values : where the parts meet
    outputs : names of all outputs, in the file's order
    operators : of the host's part in order, without those that compute constants
    """

    network: onnx.ModelProto
    host: onnx.ModelProto
    values: tuple[str, ...]
    outputs: tuple[str, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True)
class _Division:
    """Nodes by their number in the file.

    Members
    -------
    values : that the host's part reads
    behind : nodes of the host's part
    before : nodes that make the values, and the outputs that are not the host's
    direct : those outputs
    """

    values: tuple[str, ...]
    behind: frozenset[int]
    before: frozenset[int]
    direct: tuple[str, ...]


class _Wiring:
    """Which node makes and reads what; names of constants are known to depend on no input."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.stored = {item.name for item in graph.initializer}
        self.makers = {
            name: number for number, node in enumerate(graph.node) for name in node.output if name
        }
        self.inputs = [item.name for item in graph.input if item.name not in self.stored]
        self.outputs = [item.name for item in graph.output]
        self._readers: dict[str, list[int]] = {}
        for number, node in enumerate(graph.node):
            # A file may list one name a hundred thousand times.
            for name in dict.fromkeys(node.input):
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

    def needed(self, names: Iterable[str]) -> frozenset[int]:
        """Nodes that make values, back to the network's inputs."""
        queue = list(names)
        found: set[int] = set()
        while queue:
            number = self.makers.get(queue.pop())
            if number is None or number in found:
                continue
            found.add(number)
            queue += filter(None, dict.fromkeys(self.graph.node[number].input))
        return frozenset(found)

    def read(self, numbers: Iterable[int]) -> list[str]:
        """Values that nodes read and do not make, without constants."""
        chosen = sorted(numbers)
        made = {name for number in chosen for name in self.graph.node[number].output}
        names = (name for number in chosen for name in self.graph.node[number].input)
        return [name for name in dict.fromkeys(names) if name in self.moving - made]

    def divide(self, names: Sequence[str]) -> _Division:
        """Parts of the network before and behind places.

        Raises
        ------
        UserError
            If a name is none, nothing is behind it, or what is behind it reads the network's input.
        """
        used = self.needed(self.outputs)
        hosts: set[int] = set()
        for name in names:
            found = self._behind(name) & used
            if not found:
                raise self._nothing(name)
            hosts |= found
        values = self.read(hosts)
        for number in sorted(hosts):
            node = self.graph.node[number]
            given = [name for name in node.input if name in self.inputs]
            if given:
                raise UserError(
                    f"The network cannot be cut at {', '.join(map(repr, names))}, because "
                    f"{node.op_type} node {_title(node)!r} behind it reads the network's input "
                    f"{given[0]!r}; name a value or node behind that one."
                )
        fixed = {
            name
            for number in hosts
            for name in self.graph.node[number].input
            if name and name not in self.moving
        }
        made = {name for number in hosts for name in self.graph.node[number].output}
        direct = [name for name in self.outputs if name not in made]
        return _Division(
            tuple(values),
            frozenset(hosts) | self.needed(fixed),
            self.needed([*direct, *values]),
            tuple(direct),
        )

    def _behind(self, name: str) -> frozenset[int]:
        """Nodes of the host, if the network is cut at a name.

        Raises
        ------
        UserError
            If no node, computed value or single operator has the name.
        """
        number = self.node_of(name)
        if number is not None:
            values = [each for each in self.graph.node[number].output if each]
            first = [number]
        else:
            values, first = [name], []
        reached = self.reached(values)
        behind = (each for value in reached for each in self._readers.get(value, ()))
        return frozenset((*first, *behind))

    def node_of(self, name: str) -> int | None:
        """Number of the node that a name stands for; None for a value.

        Raises
        ------
        UserError
            If it stands for neither.
        """
        nodes = list(enumerate(self.graph.node))
        named = [number for number, node in nodes if node.name == name != ""]
        if not named and name in self.moving:
            return None
        kinds = [number for number, node in nodes if node.op_type.lower() == name.lower()]
        found = named or (kinds if len(kinds) == 1 else [])
        if not found:
            last = [node.name or node.output[0] for node in self.graph.node if node.output]
            raise UserError(
                f"The network has no node or computed value {name!r}, and not one node alone of "
                "that operator, to cut it at; name another, its last nodes are "
                f"{', '.join(map(repr, last[-SHOWN:]))}."
            )
        return found[0]

    def _nothing(self, name: str) -> UserError:
        """Why there is nothing for the host behind a name."""
        number = self.node_of(name)
        made = {name} if number is None else set(self.graph.node[number].output)
        if made.intersection(self.outputs):
            return UserError(
                f"The network cannot be cut at {name!r}, its output, behind which there is "
                "nothing; name a value before it, or leave --cut out."
            )
        return UserError(
            f"The network cannot be cut at {name!r}, which no output needs; name a value that an "
            "output depends on."
        )


def cut(model: onnx.ModelProto, names: str | Sequence[str]) -> Cut:
    """Network without the parts behind places, and these parts, which are the host's.

    Parameters
    ----------
    model : ONNX model, float or quantized
    names : one or several; each a node, which is then the host's and all that depends on it; or
        else a value, of which all that reads it is the host's; or else the operator of one node
        alone, which is as if that were named

    Raises
    ------
    UserError
        If there is no such name, or the network does not fall in two there.
    """
    from onnx import TensorProto, helper

    wiring = _Wiring(model.graph)
    parts = wiring.divide(cut_names(names))
    outputs = {item.name: item for item in model.graph.output}
    kinds = _typed(model)
    if not kinds.keys() >= set(parts.values):
        kinds = _typed(inferred(model)) | kinds
    middle = [
        kinds.get(name) or helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in parts.values
    ]
    given = [item for name, item in outputs.items() if name in parts.direct]
    inner = [item for item in middle if item.name not in parts.direct]
    network = _part(model, parts.before, list(model.graph.input), given + inner)
    ends = [item for name, item in outputs.items() if name not in parts.direct]
    host = _part(model, parts.behind, middle, ends)
    shown = [
        model.graph.node[number].op_type
        for number in sorted(parts.behind)
        if any(name in wiring.moving for name in model.graph.node[number].input)
    ]
    operators = tuple(dict.fromkeys(shown))
    return Cut(network, host, parts.values, tuple(wiring.outputs), operators)


def _typed(model: onnx.ModelProto) -> dict[str, onnx.ValueInfoProto]:
    values = (*model.graph.value_info, *model.graph.output)
    return {item.name: item for item in values if item.type.tensor_type.elem_type}


def cut_names(cut: str | Sequence[str] | None) -> tuple[str, ...]:
    """Names of the places to cut a network at, of one, several or none."""
    return (cut,) if isinstance(cut, str) else tuple(cut or ())


def joined(network: onnx.ModelProto, parts: Cut) -> onnx.ModelProto:
    """The two parts as one network again, the first of them quantized meanwhile.

    Parameters
    ----------
    network : the first part, of the same opset as the second; its outputs have kept their names
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
    outputs = {item.name: item for item in (*network.graph.output, *host.output)}
    del graph.output[:]
    graph.output.extend(outputs[name] for name in parts.outputs)
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
        # The node's name, where it leads to this node, else a value that it reads.
        read = (each for each in node.input if each in wiring.moving)
        for name in filter(None, dict.fromkeys((node.name, *read))):
            try:
                parts = wiring.divide([name])
            except UserError:
                continue
            behind = [model.graph.node[each].op_type for each in parts.behind]
            if number in parts.behind and not any(op in WEIGHTED for op in behind):
                divisions[output] = name, parts
                break
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
