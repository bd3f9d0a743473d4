"""Values of a float graph that need no quantizer: a table or a layer takes over what reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from steelyard.importer.graph import Graph

Operation = tuple[str, Sequence[str], Sequence[str]]
"""Operator, inputs and outputs of a node."""

CLAMPS = ("Clip", "Relu")
SLOPES = ("LeakyRelu", "PRelu")
JOINING = ("Add", "Div", "Max", "Min", "Mul", "Pow", "Sub")
"""Operators of two values, or of one and a number."""
AFFINE = ("Add", "Div", "Mul", "Neg", "Sub")
TABLES = (
    *SLOPES, "Abs", "Ceil", "Celu", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid",
    "HardSwish", "Log", "Mish", "Neg", "Reciprocal", "Round", "Selu", "Sigmoid", "Sign",
    "Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu",
)  # fmt: skip
"""Operators of one value that are tables of its codes."""
LAYERS = ("Conv", "Gemm")
ROUNDS = 32
"""Most searches for functions: each value that others read too begins new ones."""


class Functions:
    """What of a float graph is computed of one value, element by element.

    Parameters
    ----------
    nodes : of the graph, in order
    size : elements of a constant by its name, None for other values
    constant : its array
    outputs : names of what the network gives

    Members
    -------
    roots : by name, the value that a value is a function of; not there where it is none
    inner : values that only functions of the same value read, and sums that only a slope reads
    """

    def __init__(
        self,
        nodes: Iterable[Operation],
        size: Callable[[str], int | None],
        constant: Callable[[str], np.ndarray | None],
        outputs: Iterable[str],
    ) -> None:
        self._nodes = list(nodes)
        self._size = size
        self._constant = constant
        readers: dict[str, list[Operation]] = {}
        for node in self._nodes:
            for name in node[1]:
                readers.setdefault(name, []).append(node)
        self._sloped = self._behind_layers(readers, set(outputs))
        lasting = set(outputs)
        inner: set[str] = set()
        for _ in range(ROUNDS):
            self.roots = self._found(lasting)
            inner = self.roots.keys() - lasting
            mixed = {
                name
                for name in inner
                if any(
                    self.roots.get(each[2][0]) != self.roots[name] for each in readers.get(name, ())
                )
            }
            if not mixed:
                break
            lasting |= mixed
        else:
            inner = set()
        self.inner = frozenset(inner | self._sloped.keys())

    def is_table(self, name: str) -> bool:
        """Whether a value is, or goes into, a function that is more than factors and summands."""
        root = self.roots.get(name)
        return root is not None and any(
            self.roots.get(outputs[0]) == root
            and (op not in (*AFFINE, *CLAMPS) or len(self._moving(inputs)) > 1)
            for op, inputs, outputs in self._nodes
            if outputs
        )

    def _behind_layers(
        self, readers: Mapping[str, Sequence[Operation]], outputs: set[str]
    ) -> dict[str, str]:
        """Sums that a layer scales by sign, because only a slope reads them: by name its result."""
        found: dict[str, str] = {}
        for op, _, made in self._nodes:
            behind = readers.get(made[0], ()) if made and made[0] not in outputs else ()
            if op in LAYERS and len(behind) == 1 and behind[0][0] in SLOPES:
                slopes = self._constant(behind[0][1][1]) if behind[0][0] == "PRelu" else None
                if slopes is None or np.all(slopes >= 0):
                    found[made[0]] = behind[0][2][0]
        return found

    def _found(self, lasting: set[str]) -> dict[str, str]:
        roots: dict[str, str] = {}
        for op, inputs, outputs in self._nodes:
            moving = self._moving(inputs)
            if not moving or len(outputs) != 1 or outputs[0] in self._sloped.values():
                continue
            froms = {name if name in lasting else roots.get(name, name) for name in moving}
            if len(froms) == 1 and self._is_function(op, inputs, moving, froms):
                (roots[outputs[0]],) = froms
        return roots

    def _is_function(
        self, op: str, inputs: Sequence[str], moving: Sequence[str], froms: set[str]
    ) -> bool:
        if any(self._size(name) not in (None, 1) for name in inputs if name):
            return False
        plain = froms == set(moving)
        if op in CLAMPS:
            return not plain  # of a layer's result, which the layer clamps
        if op == "Add" and len(moving) == 2 and plain:
            return False  # an addition as any other
        return op in TABLES or (op in JOINING and len(inputs) == 2)

    def _moving(self, inputs: Sequence[str]) -> list[str]:
        return [name for name in inputs if name and self._size(name) is None]


def inner_values(graph: Graph) -> frozenset[str]:
    """Values of a float graph that need no quantizer; `Functions.inner` of it."""
    nodes = ((node.op, node.inputs, node.outputs) for node in graph.nodes)
    sizes = {name: array.size for name, array in graph.constants.items()}
    return Functions(nodes, sizes.get, graph.constants.get, graph.outputs).inner
