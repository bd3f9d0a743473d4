"""Which channels of a graph come and go together, and which cannot go.

Every channel of a value is an atom. Convolutions make new ones; what works channel by channel hands
them on; additions tie two together. What is not known here holds its channels in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steelyard.quantize import attribute

if TYPE_CHECKING:
    import onnx

Ids = NDArray[np.intp]

POINTWISE = {
    "Identity", "Dropout", "Relu", "LeakyRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid",
    "HardSwish", "Elu", "Selu", "Softplus", "Gelu", "Mish", "Erf", "Exp", "Sqrt", "Abs", "Neg",
    "Cast", "Softsign", "Celu", "ThresholdedRelu",
}  # fmt: skip
"""Operators that compute each element of one input on its own."""
PASSING = POINTWISE | {"MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"}
"""Operators whose channels are those of their input."""
TYING = {"Add", "Sub", "Mul", "Div", "Sum", "Max", "Min", "Mean", "Pow", "PRelu"}
WEIGHTED = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


class Atoms:
    """Atoms of every value of a graph.

    Parameters
    ----------
    model : float graph, every node named, constants as initializers
    constants : by name
    shapes : of every value, as one run has them
    fixed : names of layers whose channels stay, inputs and outputs

    Members
    -------
    of : atoms of a value's channels, or of the features of a vector
    reasons : why layers keep all their channels, by the name of the node that holds them
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        constants: Mapping[str, NDArray[Any]],
        shapes: Mapping[str, tuple[int, ...]],
        fixed: Mapping[str, str],
    ) -> None:
        self._constants, self._shapes = constants, shapes
        self._parent: list[int] = []
        self._held: set[int] = set()
        self.of: dict[str, Ids] = {}
        self.reasons: dict[str, str] = {}
        for item in model.graph.input:
            self.of[item.name] = self._new(item.name)
            self._hold(self.of[item.name])
        for node in model.graph.node:
            ids = self._follow(node)
            known = [name for name in node.input if name in self.of]
            if ids is None or node.name in fixed:
                self.reasons[node.name] = fixed.get(node.name, f"{node.op_type} is not followed")
                for name in known:
                    self._hold(self.of[name])
            for place, name in enumerate(node.output):
                if not name:
                    continue
                self.of[name] = self._new(name) if ids is None else ids[place]
                if ids is None or node.name in fixed:
                    self._hold(self.of[name])
        for item in model.graph.output:
            self._hold(self.of[item.name])
        self.of = {name: self.roots(ids) for name, ids in self.of.items()}

    @property
    def held(self) -> set[int]:
        """Atoms that cannot go."""
        return {self._find(each) for each in self._held}

    def roots(self, ids: Ids) -> Ids:
        """One number for all atoms that are tied together."""
        return np.array([self._find(int(each)) for each in ids], np.intp)

    def _find(self, atom: int) -> int:
        while self._parent[atom] != atom:
            self._parent[atom] = self._parent[self._parent[atom]]
            atom = self._parent[atom]
        return atom

    def _tie(self, one: Ids, other: Ids) -> None:
        for a, b in zip(one, other, strict=True):
            self._parent[self._find(int(a))] = self._find(int(b))

    def _hold(self, ids: Ids) -> None:
        self._held.update(int(each) for each in ids)

    def _new(self, name: str) -> Ids:
        shape = self._shapes.get(name, ())
        return self._fresh(shape[1] if len(shape) > 1 else 1)

    def _fresh(self, count: int) -> Ids:
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def _follow(self, node: onnx.NodeProto) -> list[Ids] | None:
        """Atoms of a node's outputs, None for a node that is not followed."""
        rule = _RULES.get(node.op_type)
        if node.op_type in PASSING:
            rule = _pass
        elif node.op_type in TYING:
            rule = _tied
        return None if rule is None else rule(self, node)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a value or constant."""
        found = self._constants.get(name)
        return self._shapes.get(name, ()) if found is None else found.shape

    def constant(self, name: str) -> NDArray[Any] | None:
        """Array of a constant, None for others."""
        return self._constants.get(name)

    def tie(self, one: Ids, other: Ids) -> None:
        """Let channels come and go together."""
        self._tie(one, other)

    def fresh(self, count: int) -> Ids:
        """New atoms."""
        return self._fresh(count)


def _pass(atoms: Atoms, node: onnx.NodeProto) -> list[Ids] | None:
    if any(name and name not in atoms.of and atoms.constant(name) is None for name in node.input):
        return None
    return [atoms.of[node.input[0]]] * len(node.output)


def _weighted(atoms: Atoms, node: onnx.NodeProto) -> list[Ids] | None:
    weight = atoms.constant(node.input[1])
    shape = atoms.shape(node.input[0])
    if weight is None or node.input[0] not in atoms.of or len(shape) not in (2, 4):
        return None
    if any(name and atoms.constant(name) is None for name in node.input[1:]):
        return None
    group = int(attribute(node, "group", 1))
    if node.op_type == "Conv" and group > 1:
        given = atoms.of[node.input[0]]
        if group != len(given) or weight.shape[1] != 1:
            return None
        return [np.repeat(given, weight.shape[0] // group)]
    if group > 1 or attribute(node, "transA", 0) or weight.ndim != len(shape):
        return None
    return [atoms.fresh(atoms.shape(node.output[0])[1])]


def _normalized(atoms: Atoms, node: onnx.NodeProto) -> list[Ids] | None:
    if any(atoms.constant(name) is None for name in node.input[1:5]):
        return None
    return [atoms.of[node.input[0]]] * len(node.output)


def _tied(atoms: Atoms, node: onnx.NodeProto) -> list[Ids] | None:
    """Values channel by channel, constants of one element or one a channel."""
    shape = atoms.shape(node.output[0])
    found: Ids | None = None
    for name in node.input:
        if name in atoms.of:
            own = atoms.shape(name)
            if len(own) != len(shape) or own[1] != shape[1]:
                return None
            if found is not None:
                atoms.tie(found, atoms.of[name])
            found = atoms.of[name]
        elif channel_axis(atoms.shape(name), len(shape)) is False:
            return None
    return None if found is None else [found]


def channel_axis(shape: tuple[int, ...], rank: int) -> int | bool | None:
    """Axis of a constant that meets the channels of a value of a rank; None if it is one element.

    False if it differs in another axis.
    """
    if math.prod(shape) == 1:
        return None
    axis = 1 - rank + len(shape)
    return axis if axis >= 0 and shape[axis] == math.prod(shape) else False


def _joined(atoms: Atoms, node: onnx.NodeProto) -> list[Ids] | None:
    rank = len(atoms.shape(node.output[0]))
    if attribute(node, "axis", 1) % rank != 1 or any(n not in atoms.of for n in node.input):
        return None
    return [np.concatenate([atoms.of[name] for name in node.input])]


def slice_of(atoms: Atoms, node: onnx.NodeProto) -> slice | None:
    """Channels that a Slice takes; all where it cuts other axes; None where that is not known."""
    given = [atoms.constant(name) if name else None for name in node.input[1:]]
    rank = len(atoms.shape(node.input[0]))
    if len(given) < 2 or given[0] is None or given[1] is None:
        return None
    axes = range(len(given[0])) if len(given) < 3 or given[2] is None else given[2].tolist()
    steps = [1] * len(given[0]) if len(given) < 4 or given[3] is None else given[3].tolist()
    taken = slice(None)
    for axis, start, end, step in zip(axes, given[0], given[1], steps, strict=True):
        if axis % rank == 0 or (axis % rank == 1 and step != 1):
            return None
        if axis % rank == 1:
            taken = slice(int(start), int(end))
    return taken


def _sliced(atoms: Atoms, node: onnx.NodeProto) -> list[Ids] | None:
    taken = slice_of(atoms, node)
    return None if taken is None else [atoms.of[node.input[0]][taken]]


def _split(atoms: Atoms, node: onnx.NodeProto) -> list[Ids] | None:
    rank = len(atoms.shape(node.input[0]))
    if attribute(node, "axis", 0) % rank != 1:
        return None
    sizes = [atoms.shape(name)[1] for name in node.output]
    return np.split(atoms.of[node.input[0]], np.cumsum(sizes)[:-1])


def _spatial(atoms: Atoms, node: onnx.NodeProto) -> list[Ids] | None:
    """What leaves the number of channels as it is and works on height and width."""
    before, after = atoms.shape(node.input[0]), atoms.shape(node.output[0])
    if node.op_type == "Pad":
        pads = atoms.constant(node.input[1]) if len(node.input) > 1 else None
        if pads is None or len(node.input) > 3 or len(pads) != 2 * len(before):
            return None
        if pads[1] or pads[1 + len(before)]:
            return None
    if node.op_type == "Resize" and any(
        name and atoms.constant(name) is None for name in node.input[1:]
    ):
        return None
    if before[1] != after[1] or before[0] != after[0]:
        return None
    return [atoms.of[node.input[0]]]


def _flattened(atoms: Atoms, node: onnx.NodeProto) -> list[Ids] | None:
    """A map as a vector, or one that keeps its channels."""
    before, after = atoms.shape(node.input[0]), atoms.shape(node.output[0])
    ids = atoms.of.get(node.input[0])
    if ids is None or len(before) < 2 or len(after) < 2 or before[0] != after[0]:
        return None
    if before == after or (after[1] == before[1] and math.prod(after) == after[0] * after[1]):
        return [ids]
    if len(after) == 2 and after[1] == math.prod(before[1:]):
        return [np.repeat(ids, math.prod(before[2:]))]
    return None


def _reduced(atoms: Atoms, node: onnx.NodeProto) -> list[Ids] | None:
    before, after = atoms.shape(node.input[0]), atoms.shape(node.output[0])
    if len(before) != 4 or after[:2] != before[:2] or math.prod(after[2:]) != 1:
        return None
    return [atoms.of[node.input[0]]]


_RULES: dict[str, Callable[[Atoms, Any], list[Ids] | None]] = {
    **dict.fromkeys(WEIGHTED, _weighted),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), _flattened),
    **dict.fromkeys(("Pad", "Resize"), _spatial),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceSum"), _reduced),
    "BatchNormalization": _normalized,
    "Concat": _joined,
    "Slice": _sliced,
    "Split": _split,
}
