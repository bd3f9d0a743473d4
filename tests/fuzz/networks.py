"""Fuzz of ONNX files, float and quantized: bytes changed, and edits of the graph written again.

Quantized files go to ``compile`` or ``quantize``, float ones to ``quantize``, both to ``check``.
Some keep a tensor in another file.
"""

import contextlib
import functools
import io
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from harness import Case, main
from onnx import (
    AttributeProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    helper,
    numpy_helper,
)

COUNT = 2000
CHECKED = 0.3
"""Share of the files that go to ``check``."""
SHAPE = (3, 8, 8)
ODD_INTEGERS = (0, 1, -1, 2, 3, 7, 64, 100_000, (1 << 31) - 1, 1 << 40, -(1 << 63), (1 << 63) - 1)
ODD_FLOATS = (0.0, -0.0, -1.0, 1e-45, 1.2e-38, 3e38, 1e30, float("inf"), float("nan"))
OPERATORS = (
    "Add", "AveragePool", "BatchNormalization", "Cast", "Clip", "Concat", "Constant",
    "ConstantOfShape", "Conv", "DequantizeLinear", "Div", "Dropout", "Expand", "Flatten", "Gather",
    "Gemm", "GlobalAveragePool", "Identity", "If", "Loop", "MatMul", "MaxPool", "Mul", "Pad",
    "QuantizeLinear", "Range", "ReduceMean", "Relu", "Reshape", "Scan", "Shape", "Slice", "Softmax",
    "Split", "Squeeze", "Sub", "Tile", "Transpose", "Unsqueeze", "Nothing",
    "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Max", "Neg", "PRelu", "Pow", "Sigmoid",
    "Sqrt",
)  # fmt: skip


class Maker:
    """A graph of the operators that networks have, float or with a pair behind each."""

    def __init__(self, quantized: bool) -> None:
        self.quantized = quantized
        self.random = np.random.default_rng(1)
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [f"{name}.y"], name, **attributes))
        return f"{name}.y"

    def constant(self, array: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(array), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def pair(self, value: str, output: str = "") -> str:
        if not self.quantized:
            return value
        parameters = (self.constant(np.float32(0.05)), self.constant(np.int8(3)))
        codes = self.op("QuantizeLinear", value, *parameters)
        return self.op("DequantizeLinear", codes, *parameters)

    def weight(self, *shape: int) -> str:
        if not self.quantized:
            return self.constant(self.random.standard_normal(shape).astype(np.float32))
        codes = self.random.integers(-127, 128, shape, np.int8)
        scale = self.constant(np.full(shape[0], 0.01, np.float32))
        zeros = self.constant(np.zeros(shape[0], np.int8))
        return self.op("DequantizeLinear", self.constant(codes), scale, zeros, axis=0)

    def model(self, opset: int) -> ModelProto:
        x = self.pair("x")
        bias = self.constant(np.zeros(4, np.float32))
        conv = self.op("Conv", x, self.weight(4, 3, 3, 3), bias, pads=[1] * 4)
        low, high = self.constant(np.float32(0)), self.constant(np.float32(6))
        stem = self.pair(self.op("Clip", conv, low, high))
        side = self.pair(self.op("Conv", stem, self.weight(4, 4, 1, 1)))
        total = self.pair(self.op("Relu", self.op("Add", stem, side)))
        pool = self.op("MaxPool", total, kernel_shape=[2, 2], strides=[2, 2])
        mean = self.pair(self.op("GlobalAveragePool", self.pair(pool)))
        sizes = self.op("Shape", mean)
        first = self.op("Gather", sizes, self.constant(np.array([0])))
        rest = self.op("Constant", value_ints=[-1])
        flat = self.op("Reshape", mean, self.op("Concat", first, rest, axis=0))
        y = self.pair(self.op("Gemm", flat, self.weight(5, 4), transB=1))
        graph = helper.make_graph(
            self.nodes,
            "fuzzed",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", *SHAPE))],
            [helper.make_tensor_value_info(y, TensorProto.FLOAT, ("n", 5))],
            self.constants,
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10
        )


@functools.cache
def model(quantized: bool, opset: int) -> ModelProto:
    """Model that is fuzzed; both kinds run as they are."""
    return Maker(quantized).model(opset)


Edit = Callable[[ModelProto, random.Random], None]
"""Change of a model in place."""


def attribute(model: ModelProto, draw: random.Random) -> None:
    """An attribute of odd value or type, or one more, or one less."""
    node = draw.choice(model.graph.node)
    change = draw.random()
    if node.attribute and change < 0.2:
        del node.attribute[draw.randrange(len(node.attribute))]
    elif node.attribute and change < 0.6:
        each = draw.choice(node.attribute)
        if each.ints and draw.random() < 0.7:
            each.ints[draw.randrange(len(each.ints))] = draw.choice(ODD_INTEGERS)
        elif draw.random() < 0.3:
            each.type = draw.choice(list(AttributeProto.AttributeType.values()))
        elif each.HasField("s"):
            each.s = draw.choice((b"\xff\xfe", b"", b"SAME", b"reflect"))
        else:
            each.i, each.f = draw.choice(ODD_INTEGERS), draw.choice(ODD_FLOATS)
            del each.ints[draw.randrange(len(each.ints) + 1) :]
    else:
        key = draw.choice(("axis", "axes", "to", "group", "perm", "block_size", "pads", "alpha"))
        value = draw.choice((draw.choice(ODD_INTEGERS), [1, 1], 0.5, "x", draw.choice(ODD_FLOATS)))
        node.attribute.append(helper.make_attribute(key, value))


def wires(model: ModelProto, draw: random.Random) -> None:
    """Inputs and outputs of a node renamed, removed, doubled or exchanged."""
    graph = model.graph
    node = draw.choice(graph.node)
    names = [name for each in graph.node for name in (*each.input, *each.output)]
    side = node.input if draw.random() < 0.7 else node.output
    change = draw.randrange(5)
    if change == 0 and side:
        del side[draw.randrange(len(side)) :]
    elif change == 1 and side:
        side[draw.randrange(len(side))] = draw.choice((*names, "", "nobody", "x"))
    elif change == 2:
        side.append(draw.choice((*names, "", "more")))
    elif change == 3:
        side.extend(side)
    else:
        swapped = list(reversed(side))
        del side[:]
        side.extend(swapped)


def nodes(model: ModelProto, draw: random.Random) -> None:
    """Nodes removed, doubled, moved or of another operator."""
    graph = model.graph
    place = draw.randrange(len(graph.node))
    change = draw.randrange(5)
    if change == 0:
        del graph.node[place]
    elif change == 1:
        graph.node.add().CopyFrom(graph.node[place])
    elif change == 2:
        moved = NodeProto()
        moved.CopyFrom(graph.node[place])
        del graph.node[place]
        graph.node.insert(draw.randrange(len(graph.node) + 1), moved)
    elif change == 3:
        graph.node[place].op_type = draw.choice(OPERATORS)
    else:
        graph.node[place].domain = draw.choice(("com.microsoft", "ai.onnx", "ai.onnx.ml", "x"))


def constant(model: ModelProto, draw: random.Random) -> None:
    """A stored tensor with other dimensions, type, content or name, or in another file."""
    graph = model.graph
    tensor = draw.choice(graph.initializer)
    change = draw.randrange(7)
    if change == 0:
        tensor.dims[:] = [draw.choice(ODD_INTEGERS) for _ in range(draw.randrange(4))]
    elif change == 1:
        tensor.data_type = draw.choice(list(TensorProto.DataType.values()))
    elif change == 2:
        tensor.raw_data = tensor.raw_data[: draw.randrange(len(tensor.raw_data) + 1)]
    elif change == 3:
        tensor.name = draw.choice([each.name for each in graph.initializer] + ["", "x"])
    elif change == 4:
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (
            ("location", draw.choice(("w.bin", "../w.bin", "/etc/passwd", "none", ""))),
            ("offset", str(draw.choice((*ODD_INTEGERS, "x")))),
            ("length", str(draw.choice((*ODD_INTEGERS, "x")))),
        ):
            if draw.random() < 0.8:
                tensor.external_data.add(key=key, value=value)
    elif change == 5:
        del graph.initializer[draw.randrange(len(graph.initializer))]
    else:
        values = numpy_helper.to_array(tensor).copy()
        odd = ODD_FLOATS if values.dtype.kind == "f" else (0, 1, -1, -128, 127)
        if values.size:
            with np.errstate(over="ignore"):
                values.reshape(-1)[draw.randrange(values.size)] = draw.choice(odd)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def scale(model: ModelProto, draw: random.Random) -> None:
    """A scale (or any float number) at an end of float32, or of another type."""
    floats = [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT]
    tensor = draw.choice(floats)
    values = numpy_helper.to_array(tensor).copy()
    values[...] = draw.choice(ODD_FLOATS)
    dtype = draw.choice((np.float32, np.float32, np.float16, np.float64, np.int32))
    with np.errstate(all="ignore"):
        tensor.CopyFrom(numpy_helper.from_array(values.astype(dtype), tensor.name))


def shapes(model: ModelProto, draw: random.Random) -> None:
    """Input or output of another shape, type or number."""
    graph = model.graph
    info = draw.choice((graph.input, graph.output))
    change = draw.randrange(5)
    if change == 0:
        del info[:]
    elif change == 1:
        info.add().CopyFrom(info[0])
        info[-1].name = draw.choice(("more", info[0].name, "c0"))
    elif change == 2:
        info[0].type.tensor_type.elem_type = draw.choice(list(TensorProto.DataType.values()))
    elif change == 3:
        dims = info[0].type.tensor_type.shape.dim
        dims[draw.randrange(len(dims))].dim_value = draw.choice(ODD_INTEGERS)
    else:
        dims = info[0].type.tensor_type.shape.dim
        del dims[draw.randrange(len(dims))]


def growth(model: ModelProto, draw: random.Random) -> None:
    """A constant shape that is computed from large numbers or a subgraph."""
    graph = model.graph
    target = next(node for node in graph.node if node.op_type == "Reshape")
    large = draw.choice(([1 << 28], [1 << 16, 1 << 16], [1 << 62, 4], [-5], [5], [0]))
    graph.initializer.append(numpy_helper.from_array(np.array(large), "large"))
    one = numpy_helper.from_array(np.ones(1, np.int64), "one")
    graph.initializer.append(one)
    if "g" in [name for node in graph.node for name in node.output]:
        return
    kind = draw.choice(("ConstantOfShape", "Expand", "Tile", "Range", "Loop", "Chain", "If"))
    if kind == "Range":
        zero = numpy_helper.from_array(np.int64(0), "zero")
        end = numpy_helper.from_array(np.int64(draw.choice((1 << 33, 1 << 62, -3))), "end")
        step = numpy_helper.from_array(np.int64(draw.choice((1, 0, -1))), "step")
        graph.initializer.extend([zero, end, step])
        made = [helper.make_node("Range", ["zero", "end", "step"], ["g"])]
    elif kind in ("Loop", "If"):
        made = [_subgraph(kind)]
        graph.initializer.append(numpy_helper.from_array(np.array(True), "go"))
    elif kind == "Chain":
        made = [
            helper.make_node("Concat", ["one" if i == 0 else f"g{i}"] * 8, [f"g{i + 1}"], axis=0)
            for i in range(draw.choice((4, 9, 12)))
        ]
        made.append(helper.make_node("ReduceProd", [made[-1].output[0]], ["g"]))
    elif kind == "ConstantOfShape":
        made = [helper.make_node(kind, ["large"], ["g"])]
    else:
        made = [helper.make_node(kind, ["one", "large"], ["g"])]
    for node in reversed(made):
        graph.node.insert(0, node)
    target.input[1] = "g"


def _subgraph(kind: str) -> NodeProto:
    """A Loop without end, or an If, of constants."""
    kinds = [("i", TensorProto.INT64), ("keep", TensorProto.BOOL), ("v", TensorProto.INT64)]
    values = [helper.make_tensor_value_info(name, each, None) for name, each in kinds]
    results = [
        helper.make_tensor_value_info(name, each, None)
        for name, each in (("keep2", TensorProto.BOOL), ("v2", TensorProto.INT64))
    ]
    body = [helper.make_node("Identity", [a], [b]) for a, b in (("keep", "keep2"), ("v", "v2"))]
    if kind == "Loop":
        graph = helper.make_graph(body, "body", values, results)
        return helper.make_node("Loop", ["", "go", "one"], ["g"], body=graph)
    branch: GraphProto = helper.make_graph(
        [helper.make_node("Identity", ["one"], ["v2"])], "branch", [], results[1:]
    )
    return helper.make_node("If", ["go"], ["g"], then_branch=branch, else_branch=branch)


def versions(model: ModelProto, draw: random.Random) -> None:
    """Other opsets or version of the format."""
    if draw.random() < 0.3:
        model.ir_version = draw.choice(ODD_INTEGERS)
    elif draw.random() < 0.3:
        del model.opset_import[:]
    else:
        model.opset_import[0].version = draw.choice((*range(1, 30), *ODD_INTEGERS))


EDITS: tuple[Edit, ...] = (
    attribute, attribute, wires, wires, nodes, nodes, constant, constant, scale, shapes, growth,
    versions,
)  # fmt: skip


def cut(content: bytes, draw: random.Random) -> bytes:
    """Bytes changed or cut out."""
    raw = bytearray(content)
    if draw.random() < 0.3:
        start = draw.randrange(len(raw))
        del raw[start : start + draw.choice((1, 50, len(raw)))]
    else:
        for _ in range(draw.choice((1, 1, 4, 30))):
            raw[draw.randrange(len(raw))] = draw.randrange(256)
    return bytes(raw)


def values(model: ModelProto) -> list[str]:
    """Names to cut at."""
    names = [
        *(node.name for node in model.graph.node),
        *(o for n in model.graph.node for o in n.output),
    ]
    return [name for name in names if name.isprintable() and not name.startswith("-")] or ["none"]


def make(seed: int, number: int) -> Case:
    """Case of a seed and a number."""
    draw = random.Random(f"{seed} {number}")
    quantized = draw.random() < 0.7
    changed = ModelProto()
    changed.CopyFrom(model(quantized, draw.choice((13, 17, 21))))
    if draw.random() < 0.25:
        name, content = "bytes", cut(changed.SerializeToString(), draw)
    else:
        edits = [draw.choice(EDITS) for _ in range(draw.choice((1, 1, 1, 2, 4)))]
        for edit in edits:
            # What an earlier edit broke cannot always be edited again.
            with contextlib.suppress(Exception):
                edit(changed, draw)
        name, content = ", ".join(edit.__name__ for edit in edits), changed.SerializeToString()
    files = {"n.onnx": content, "w.bin": bytes(draw.choice((0, 4, 4000)))}
    if draw.random() < CHECKED:
        at = draw.choice(((), ("--cut", "Gemm"), ("--cut", draw.choice(values(changed)))))
        return Case(f"{name}; check", files, ("check", "n.onnx", *at))
    if quantized and draw.random() < 0.8:
        return Case(f"{name}; compile", files, ("compile", "n.onnx", "-o", "n.syp"))
    images = io.BytesIO()
    np.save(images, np.random.default_rng(0).standard_normal((4, *SHAPE)).astype(np.float32))
    files["x.npy"] = images.getvalue()
    use = ("quantize", "n.onnx", "--calibration", "x.npy", "-o", "q.onnx")
    return Case(f"{name}; quantize", files, use)


if __name__ == "__main__":
    imports = ["steelyard_cli.commands.compile", "steelyard_cli.commands.check", "steelyard.check",
               "onnxruntime", "onnx.reference", "onnxruntime.quantization"]  # fmt: skip
    sys.exit(main(make, COUNT, __doc__, imports))
