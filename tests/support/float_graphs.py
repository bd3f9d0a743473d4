"""A float ONNX network of every kind of layer that pruning meets, made without torch."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHAPE = (3, 10, 8)


def network(seed: int = 0, batch: int | None = None) -> onnx.ModelProto:
    """Convolutions: first, with normalization, grouped, depthwise, strided; joined, flattened."""
    rng = np.random.default_rng(seed)
    nodes, constants = [], []

    def constant(name, *shape, about=0.0):
        values = about + rng.normal(size=shape) / np.sqrt(max(1, np.prod(shape[1:], dtype=int)))
        constants.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def conv(name, x, ic, oc, kernel=3, group=1, bias=True, **more):
        names = [x, constant(f"{name}.w", oc, ic // group, kernel, kernel)]
        if bias:
            names.append(constant(f"{name}.b", oc))
        nodes.append(helper.make_node("Conv", names, [f"{name}.y"], name, group=group, **more))
        nodes.append(helper.make_node("Relu", [f"{name}.y"], [f"{name}.r"], f"{name}.relu"))
        return f"{name}.r"

    pads = {"pads": [1, 1, 1, 1]}
    x = conv("first", "x", 3, 16, **pads)
    names = [x, constant("plain.w", 32, 16, 3, 3)]
    nodes.append(helper.make_node("Conv", names, ["plain.y"], "plain", auto_pad="SAME_UPPER",
                                  strides=[2, 2]))  # fmt: skip
    scale = [constant(f"norm.{n}", 32, about=about) for n, about in
             (("s", 1.0), ("b", 0.0), ("m", 0.0))]  # fmt: skip
    constants.append(numpy_helper.from_array(np.full(32, 0.5, np.float32), "norm.v"))
    nodes.append(helper.make_node("BatchNormalization", ["plain.y", *scale, "norm.v"], ["norm.y"]))
    nodes.append(helper.make_node("Relu", ["norm.y"], ["norm.r"]))
    grouped = conv("grouped", "norm.r", 32, 32, group=4, **pads)
    single = conv("depthwise", "norm.r", 32, 32, group=32, bias=False, **pads)
    nodes.append(helper.make_node("Concat", [grouped, single], ["joined"], axis=1))
    x = conv("wide", "joined", 64, 16, kernel=1)
    x = conv("dilated", x, 16, 6, dilations=[2, 2], pads=[2, 2, 2, 2])
    nodes.append(helper.make_node("Flatten", [x], ["flat"]))
    names = ["flat", constant("fc.w", 6 * 5 * 4, 20), constant("fc.b", 1, 20)]
    nodes.append(helper.make_node("Gemm", names, ["fc.y"], "fc", alpha=0.5, beta=2.0))
    nodes.append(helper.make_node("Relu", ["fc.y"], ["fc.r"]))
    nodes.append(helper.make_node("MatMul", ["fc.r", constant("last.w", 20, 5)], ["y"], "last"))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "net",
        [value("x", TensorProto.FLOAT, (batch or "n", *SHAPE))],
        [value("y", TensorProto.FLOAT, (batch or "n", 5))],
        constants,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def images(count: int = 40, seed: int = 1) -> np.ndarray:
    """Smooth random images, whose pixels depend on each other as those of pictures do."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, *SHAPE))
    return (values + np.roll(values, 1, 2) + np.roll(values, 1, 3)).astype(np.float32)
