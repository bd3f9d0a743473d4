"""Float ONNX files as exporters write them: one small network, many habits, a seed.

Each variant changes the way in which a network is written (or the network itself), never its
meaning by accident: its scores are those of onnxruntime on the very file.
"""

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


# Names, constants and inputs


@variant
def unnamed_nodes(rng):
    return draft(rng, named=False).conv().relu().conv().tail().model()


@variant
def equal_node_names(rng):
    made = draft(rng).conv().relu().conv().tail().model()
    for node in made.graph.node:
        node.name = "node"
    return made


@variant
def constant_nodes(rng):
    made = draft(rng).conv().relu().tail().model()
    for item in list(made.graph.initializer):
        made.graph.node.insert(0, helper.make_node("Constant", [], [item.name], value=item))
    del made.graph.initializer[:]
    return made


@variant
def initializers_listed_as_inputs(rng):
    made = draft(rng).conv().norm().relu().tail().model()
    for item in made.graph.initializer:
        made.graph.input.append(
            helper.make_tensor_value_info(item.name, item.data_type, list(item.dims))
        )
    return made


@variant
def old_format_with_listed_inputs(rng):
    made = initializers_listed_as_inputs(rng)
    made.ir_version = 3
    made.opset_import[0].version = pick(rng, 9, 10, 11, 12)
    return made


@variant
def old_opset(rng):
    return draft(rng, opset=pick(rng, 9, 10, 11, 12)).conv().norm().relu().tail().model()


@variant
def new_opset(rng):
    return draft(rng, opset=pick(rng, 18, 19, 20, 21, 22, 23)).conv().norm().relu().tail().model()


@variant
def clip_attributes_of_old_opset(rng):
    made = draft(rng, opset=pick(rng, 9, 10))
    return made.conv().node("Clip", min=0.0, max=float(rng.uniform(0.3, 6))).tail().model()


@variant
def identities_and_dropout(rng):
    return draft(rng).node("Identity").conv().node("Dropout").relu().node("Identity").tail().model()


# Types


def typed(made: onnx.ModelProto, kind: int, dtype: type) -> onnx.ModelProto:
    for item in made.graph.initializer:
        array = numpy_helper.to_array(item)
        if np.issubdtype(array.dtype, np.floating):
            item.CopyFrom(numpy_helper.from_array(array.astype(dtype), item.name))
    for value in (*made.graph.input, *made.graph.output):
        value.type.tensor_type.elem_type = kind
    return made


@variant
def half_precision(rng):
    return typed(draft(rng).conv().relu().tail().model(), TensorProto.FLOAT16, np.float16)


@variant
def double_precision(rng):
    return typed(draft(rng).conv().relu().tail().model(), TensorProto.DOUBLE, np.float64)


@variant
def half_precision_inside(rng):
    made = draft(rng)
    made.node("Cast", to=TensorProto.FLOAT16).conv()
    made.relu().pool().flatten().gemm()
    made.node("Cast", to=TensorProto.FLOAT)
    made = made.model()
    for item in made.graph.initializer:
        array = numpy_helper.to_array(item).astype(np.float16)
        item.CopyFrom(numpy_helper.from_array(array, item.name))
    return made


# Batch


@variant
def fixed_batch(rng):
    return draft(rng, batch=pick(rng, 1, 2, 3, 8)).conv().relu().tail().model()


@variant
def fixed_batch_in_a_reshape(rng):
    batch = pick(rng, 1, 2, 4)
    made = draft(rng, batch=batch).conv().relu()
    made.node("Reshape", np.array([batch, -1], np.int64))
    made.shape = (int(np.prod(made.shape)),)
    return made.gemm().model()


@variant
def open_batch_with_a_reshape_of_one(rng):
    made = draft(rng).conv().relu().node("Reshape", np.array([1, -1], np.int64))
    made.shape = (int(np.prod(made.shape)),)
    return made.gemm().model()


@variant
def reshape_by_the_shape(rng):
    made = draft(rng).conv().relu()
    source = made.value
    made.node("Shape").node("Gather", np.int64(0)).node("Unsqueeze", np.array([0], np.int64))
    made.node("Concat", np.array([-1], np.int64), axis=0)
    made.node("Reshape", made.value, first=source)
    made.shape = (int(np.prod(made.shape)),)
    return made.gemm().model()


# Biases and factors


@variant
def bias_row(rng):
    made = draft(rng).conv().relu().pool().flatten()
    matrix, shape = made.values(8, 5, scale=0.4), pick(rng, (1, 5), (5,), (1,), (1, 1), ())
    made.node("MatMul", matrix).node("Add", made.values(*shape))
    made.shape = (5,)
    return made.model()


@variant
def bias_row_of_a_gemm(rng):
    made = draft(rng).conv().relu().pool().flatten()
    matrix, shape = made.values(8, 5, scale=0.4), pick(rng, (1, 5), (5,), (1,), (1, 1))
    made.node("Gemm", matrix, made.values(*shape))
    made.shape = (5,)
    return made.model()


@variant
def bias_first(rng):
    made = draft(rng).conv().relu().pool().flatten()
    product = made.node("MatMul", made.values(8, 5, scale=0.4)).value
    made.node("Add", product, first=made.constant(made.values(5)))
    made.shape = (5,)
    return made.model()


@variant
def gemm_without_bias(rng):
    made = draft(rng).conv().relu().pool().flatten()
    made.node("Gemm", made.values(8, 5, scale=0.4))
    made.shape = (5,)
    return made.model()


@variant
def alpha_and_beta(rng):
    made = draft(rng).conv().relu().pool().flatten()
    return made.gemm(alpha=float(rng.uniform(-2, 2)), beta=float(pick(rng, 0, 0.5, 2, -3))).model()


@variant
def conv_without_bias_and_add(rng):
    made = draft(rng).conv(bias=False)
    return made.node("Add", made.values(8, 1, 1)).relu().tail().model()


@variant
def factor_behind_a_relu(rng):
    made = draft(rng).conv().relu()
    shape = pick(rng, (), (1,), (8, 1, 1), (1, 8, 1, 1))
    return made.node(pick(rng, "Mul", "Div"), 0.5 + np.abs(made.values(*shape))).tail().model()


@variant
def negative_factor_behind_a_relu(rng):
    made = draft(rng).conv().relu()
    return made.node("Mul", -0.5 - np.abs(made.values(8, 1, 1))).conv(4).tail().model()


@variant
def summand_behind_a_relu(rng):
    made = draft(rng).conv().relu()
    return made.node(pick(rng, "Add", "Sub"), made.values(8, 1, 1)).conv(4).tail().model()


@variant
def constant_minus_value(rng):
    made = draft(rng).conv().relu()
    source = made.value
    made.node("Sub", source, first=made.constant(made.values(8, 1, 1)))
    return made.conv(4).tail().model()


@variant
def normalized_input(rng):
    made = draft(rng)
    made.node("Sub", made.values(3, 1, 1, scale=0.3))
    made.node(pick(rng, "Div", "Mul"), 0.5 + np.abs(made.values(1, 3, 1, 1)))
    return made.conv(side=pick(rng, 1, 3)).relu().tail().model()


@variant
def scaled_scores(rng):
    made = draft(rng).conv().relu().tail()
    return made.node("Mul", np.float32(rng.uniform(0.1, 3))).model()


@variant
def negated_scores(rng):
    return draft(rng).conv().relu().tail().node("Neg").model()


@variant
def factor_with_two_readers(rng):
    made = draft(rng).conv(8).relu()
    scaled = made.node("Mul", np.float32(rng.uniform(0.3, 2))).value
    made.conv(8).relu()
    return made.node("Add", scaled).relu().tail().model()


# Batch normalization


@variant
def norm_behind_conv(rng):
    return draft(rng).conv(bias=bool(rng.integers(2))).norm(epsilon=1e-3).relu().tail().model()


@variant
def norm_behind_linear(rng):
    made = draft(rng).conv().relu().pool().flatten().gemm(12).norm().relu().gemm(5)
    return made.model()


@variant
def norm_behind_matmul(rng):
    made = draft(rng).conv().relu().pool().flatten()
    made.node("MatMul", made.values(8, 6, scale=0.4))
    made.shape = (6,)
    return made.norm().relu().gemm(5).model()


@variant
def norm_first(rng):
    return draft(rng).norm().conv(side=pick(rng, 1, 3)).relu().tail().model()


@variant
def norm_before_relu_and_conv(rng):
    return (
        draft(rng)
        .conv()
        .node("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        .norm()
        .relu()
        ._half()
        .conv(4)
        .tail()
        .model()
    )


@variant
def norm_behind_an_add(rng):
    made = draft(rng).conv().relu()
    source = made.value
    made.conv().node("Add", source).norm().relu()
    return made.tail().model()


def _half(self):
    self.shape = (self.shape[0], self.shape[1] // 2, self.shape[2] // 2)
    return self


Draft._half = _half


# Clamps


@variant
def dead_relu(rng):
    made = draft(rng).conv().relu()
    source = made.value
    made.node(
        "Conv",
        -np.abs(made.values(8, 8, 3, 3, scale=0.1)),
        np.full(8, -1, np.float32),
        pads=[1] * 4,
    )
    return made.relu().node("Add", source).tail().model()


@variant
def dead_relu_at_the_end(rng):
    made = draft(rng).conv().relu().pool().flatten()
    made.node("Gemm", -np.abs(made.values(8, 5)), np.full(5, -0.5, np.float32)).relu()
    made.shape = (5,)
    return made.model()


@variant
def clip_on_one_side_of_zero(rng):
    low = float(pick(rng, 0.25, 1.0, -2.0))
    made = draft(rng).conv()
    return (
        made.node("Clip", np.float32(low), np.float32(low + rng.uniform(0.5, 1.5)))
        .conv(4)
        .tail()
        .model()
    )


@variant
def clip_never_reached(rng):
    made = draft(rng).conv()
    return made.node("Clip", np.float32(-100), np.float32(100)).conv(4).tail().model()


@variant
def clip_of_one_bound(rng):
    made = draft(rng).conv()
    bounds = pick(rng, (np.float32(0.1), None), (None, np.float32(0.2)))
    return made.node("Clip", *bounds).conv(4).tail().model()


@variant
def relu_and_clip(rng):
    return draft(rng).conv().relu().node("Clip", None, np.float32(0.8)).tail().model()


@variant
def relu_of_the_scores(rng):
    return draft(rng).conv().relu().tail().relu().model()


@variant
def relu_with_two_readers(rng):
    made = draft(rng).conv()
    source = made.value
    made.relu().conv()
    return made.node("Add", source).relu().tail().model()


# What the network begins and ends with


@variant
def pool_first(rng):
    op = pick(rng, "AveragePool", "MaxPool")
    return (
        draft(rng)
        .node(op, kernel_shape=[2, 2], strides=[2, 2])
        ._half()
        .conv()
        .relu()
        .tail()
        .model()
    )


@variant
def relu_first(rng):
    return draft(rng).relu().conv().relu().tail().model()


@variant
def flatten_first(rng):
    return draft(rng).flatten().gemm(7).relu().gemm(5).model()


@variant
def vector_network(rng):
    made = draft(rng, shape=(24,), start="vector")
    return made.gemm(16).relu().gemm(5).model()


@variant
def vector_network_with_a_factor(rng):
    made = draft(rng, shape=(24,), start="vector")
    made.node("Mul", 0.5 + np.abs(made.values(24))).relu()
    return made.node("Mul", -1 - np.abs(made.values(24))).relu().gemm(5).model()


@variant
def map_as_output(rng):
    return draft(rng).conv().relu().conv(4).model()


@variant
def pool_as_output(rng):
    return draft(rng).conv().relu().pool().model()


@variant
def mean_of_the_map(rng):
    made = draft(rng, opset=pick(rng, 13, 17, 18)).conv().relu()
    axes, keep = pick(rng, [2, 3], [-1, -2]), int(rng.integers(2))
    if made.opset < 18:
        made.node("ReduceMean", axes=axes, keepdims=keep)
    else:
        made.node("ReduceMean", np.array(axes, np.int64), keepdims=keep)
    made.shape = (8,)
    return (made.flatten() if keep else made).gemm().model()


@variant
def global_max(rng):
    made = draft(rng).conv().relu().node("GlobalMaxPool")
    made.shape = (8, 1, 1)
    return made.flatten().gemm().model()


@variant
def explicit_pad(rng):
    made = draft(rng).node("Pad", np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64))
    made.shape = (3, 12, 12)
    return made.conv(pads=[0] * 4).relu().tail().model()


@variant
def automatic_padding(rng):
    made = draft(rng)
    weight = made.values(8, 3, 3, 3, scale=0.3)
    made.node("Conv", weight, auto_pad=pick(rng, "SAME_UPPER", "SAME_LOWER", "VALID"))
    made.shape = (8, 0, 0)
    return made.relu().tail().model()


@variant
def residual(rng):
    made = draft(rng).conv().relu()
    source = made.value
    made.conv().relu().conv().node("Add", source).relu()
    return made.tail().model()


@variant
def shared_weights(rng):
    made = draft(rng).conv(3).relu()
    made.node("Conv", made.constant(made.values(3, 3, 3, 3, scale=0.3)), pads=[1] * 4)
    made.norm().relu()
    made.node(
        "Conv", next(n.input[1] for n in reversed(made.nodes) if n.op_type == "Conv"), pads=[1] * 4
    )
    return made.norm().relu().tail().model()


@variant
def pruned_weights(rng):
    made = draft(rng).conv().norm().relu().conv(12).norm().relu().tail()
    for name, array in made.constants.items():
        if array.ndim == 4:
            made.constants[name] = array * (rng.random(array.shape) < 0.25)
    made.constants = {
        k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in made.constants.items()
    }
    return made.model()


@variant
def weights_of_very_different_size(rng):
    made = draft(rng).conv().relu().conv(4)
    for name, array in made.constants.items():
        if array.ndim == 4:
            size = (10.0 ** rng.uniform(-3, 1, (len(array), 1, 1, 1))).astype(np.float32)
            made.constants[name] = array * size
    return made.relu().tail().model()


def external(model: onnx.ModelProto, path: Path) -> None:
    """Save with all weights in a file beside it."""
    # Saving takes the weights out of the model.
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.save(
        copy, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0
    )
