"""A float ONNX graph that grows node by node, and the registry of the variants made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Array = np.ndarray


@dataclass
class Draft:
    """A graph that grows node by node.

    Members
    -------
    shape : of the value made last, without the batch
    opset : operators keep constants in inputs or attributes by it
    """

    rng: np.random.Generator
    shape: tuple[int, ...] = (3, 10, 10)
    opset: int = 17
    named: bool = True
    batch: int | str = "N"
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    value: str = "x"

    def values(self, *shape: int, scale: float = 1.0) -> Array:
        return (self.rng.standard_normal(shape) * scale).astype(np.float32)

    def constant(self, array: Array) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def node(self, op: str, *more: Array | str | None, first: str | None = None, **attributes: Any):
        """One node on the value made last (or `first`), with constants behind it."""
        inputs = [first or self.value]
        inputs += [
            self.constant(each) if isinstance(each, np.ndarray | np.generic) else (each or "")
            for each in more
        ]
        self.value = f"v{len(self.nodes)}"
        name = f"{op}_{self.value}" if self.named else ""
        self.nodes.append(helper.make_node(op, inputs, [self.value], name, **attributes))
        return self

    def conv(self, channels: int = 8, side: int = 3, bias: bool = True, **attributes: Any):
        weight = self.values(
            channels, self.shape[0], side, side, scale=(2 / self.shape[0]) ** 0.5 / side
        )
        pads = attributes.setdefault("pads", [side // 2] * 4)
        step = attributes.get("strides", [1])[0]
        size = (self.shape[1] + pads[0] + pads[2] - side) // step + 1
        more = [weight, self.values(channels, scale=0.1)] if bias else [weight]
        self.node("Conv", *more, **attributes)
        self.shape = (channels, size, size)
        return self

    def relu(self):
        return self.node("Relu")

    def pool(self):
        self.node("GlobalAveragePool")
        self.shape = (self.shape[0], 1, 1)
        return self

    def flatten(self):
        self.node("Flatten")
        self.shape = (int(np.prod(self.shape)),)
        return self

    def gemm(self, outputs: int = 5, **attributes: Any):
        matrix = self.values(outputs, self.shape[0], scale=self.shape[0] ** -0.5)
        self.node("Gemm", matrix, self.values(outputs), transB=1, **attributes)
        self.shape = (outputs,)
        return self

    def norm(self, **attributes: Any):
        c = self.shape[0]
        return self.node(
            "BatchNormalization", 1 + self.values(c, scale=0.3), self.values(c, scale=0.3),
            self.values(c, scale=0.3), 0.5 + np.abs(self.values(c)), **attributes,
        )  # fmt: skip

    def tail(self):
        return self.pool().flatten().gemm()

    def model(self, ir: int = 10) -> onnx.ModelProto:
        """The network, its output the value made last."""
        used = {name for node in self.nodes for name in node.input}
        inner = [self.batch, *SHAPES[self.start]], [self.batch, *self.shape]
        first, last = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name, shape in zip(("x", self.value), inner, strict=True)
        )
        graph = helper.make_graph(
            self.nodes, "g",
            [first],
            [last],
            [numpy_helper.from_array(v, k) for k, v in self.constants.items() if k in used],
        )  # fmt: skip
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        made.ir_version = ir
        return made

    start: str = "map"

    def half(self):
        self.shape = (self.shape[0], self.shape[1] // 2, self.shape[2] // 2)
        return self


SHAPES: dict[str, tuple[int, ...]] = {"map": (3, 10, 10), "vector": (24,)}

Maker = Callable[[np.random.Generator], onnx.ModelProto]
VARIANTS: dict[str, Maker] = {}


def variant(function: Maker) -> Maker:
    VARIANTS[function.__name__] = function
    return function


def draft(rng: np.random.Generator, **settings: Any) -> Draft:
    return Draft(rng, **settings)


def pick(rng: np.random.Generator, *choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def external(model: onnx.ModelProto, path: Path) -> None:
    """Save with all weights in a file beside it."""
    # Saving takes the weights out of the model.
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.save(
        copy, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0
    )
