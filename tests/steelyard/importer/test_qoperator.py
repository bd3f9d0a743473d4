"""The QOperator format: QLinearConv and its like, as onnxruntime's quantizer writes them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)

from qdq_graphs import Qdq, assert_agrees, images, runtime_codes
from steelyard import importer, quantize
from steelyard.errors import UserError
from steelyard.importer.graph import is_quantized
from steelyard.importer.obstacles import obstacles
from steelyard.network import Add
from structures.blocks import PooledResidual

MICROSOFT = "com.microsoft"


TYPES = ("QInt8 QInt8", "QUInt8 QInt8", "QUInt8 QUInt8")
"""Of activations and weights; onnxruntime takes unsigned weights with unsigned activations only."""


class Reader(CalibrationDataReader):
    def __init__(self, x: np.ndarray) -> None:
        self.left: Iterator[dict[str, np.ndarray]] = iter([{"input": x[i : i + 8]} for i in (0, 8)])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self.left, None)


@pytest.fixture(scope="module")
def float_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(5)
    path = tmp_path_factory.mktemp("float") / "float.onnx"
    quantize.export_onnx(PooledResidual(), images((3, 12, 12), 4, seed=0), path)
    return path


@pytest.mark.parametrize(
    ("format", "types", "per_channel", "symmetric"),
    list(product(("QOperator", "QDQ"), TYPES, (False, True), (False, True))),
)
def test_network_of_onnxruntimes_quantizer_agrees(
    format: str,
    types: str,
    per_channel: bool,
    symmetric: bool,
    float_model: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    quantize_static(
        float_model,
        tmp_path / "q.onnx",
        Reader(images((3, 12, 12), 16, seed=1)),
        quant_format=QuantFormat[format],
        activation_type=QuantType[types.split()[0]],
        weight_type=QuantType[types.split()[1]],
        per_channel=per_channel,
        extra_options={"ActivationSymmetric": symmetric},
    )
    model = onnx.load(tmp_path / "q.onnx")
    operators = {node.op_type for node in model.graph.node}
    if format == "QOperator":
        assert operators >= {"QLinearConv", "QLinearAdd", "QLinearAveragePool", "QGemm", "MaxPool"}
        assert is_quantized(model) and not obstacles(model)
    network = importer.load(tmp_path / "q.onnx")
    kinds = [layer.kind for layer in network.layers]
    assert [kind for kind in kinds if kind not in ("avg_pool", "concat", "shuffle")] == [
        "conv",
        "max_pool",
        "conv",
        "add",
        "fc",
    ]
    x = images((3, 12, 12), 60, seed=2)
    assert set(runtime_codes(model, x)) >= {network.input, network.output}
    assert_agrees(model, network, x)


class Codes(Qdq):
    """Graph of operators on codes."""

    def quantized(self, scale: float, zero: int, dtype: Any = np.int8) -> list[str]:
        return [self.constant(np.float32(scale)), self.constant(np.array(zero, dtype))]

    def start(self, dtype: Any) -> tuple[str, list[str]]:
        x = self.quantized(0.0203, 5, dtype)
        return self.op("QuantizeLinear", "x", *x), x

    def end(self, codes: str, parameters: list[str]) -> onnx.ModelProto:
        return self.model(self.op("DequantizeLinear", codes, *parameters))


Build = Callable[[Codes, str, list[str], Any], tuple[str, list[str]]]
RANDOM = np.random.default_rng(3)
KERNEL = RANDOM.integers(-127, 128, (4, 3, 3, 3), np.int8)
MATRIX = RANDOM.integers(-127, 128, (243, 6), np.int8)


def kernel(g: Codes, codes: np.ndarray, outputs: int, per_channel: bool = True) -> list[str]:
    scale = np.linspace(0.004, 0.01, outputs, dtype=np.float32) if per_channel else np.float32(0.01)
    zeros = np.zeros(np.shape(scale), np.int8)
    return [g.constant(each) for each in (codes, scale, zeros)]


def convolution(per_channel: bool, **attributes: Any) -> Build:
    def build(g: Codes, x: str, given: list[str], dtype: Any) -> tuple[str, list[str]]:
        y = g.quantized(0.17, -3 if dtype == np.int8 else 120, dtype)
        bias = g.constant(np.array([4000, -900, 0, 7], np.int32))
        stored = kernel(g, KERNEL, 4, per_channel)
        return g.op("QLinearConv", x, *given, *stored, *y, bias, **attributes), y

    return build


def product_of_matrices(g: Codes, x: str, given: list[str], dtype: Any) -> tuple[str, list[str]]:
    y = g.quantized(0.4, 7, dtype)
    return g.op("QLinearMatMul", g.op("Flatten", x), *given, *kernel(g, MATRIX, 6), *y), y


def gemm(transposed: bool, alpha: float, rounded: bool = True) -> Build:
    def build(g: Codes, x: str, given: list[str], dtype: Any) -> tuple[str, list[str]]:
        y = g.quantized(0.4, 7, dtype)
        stored = kernel(g, np.ascontiguousarray(MATRIX.T) if transposed else MATRIX, 6)
        bias = g.constant(RANDOM.integers(-9000, 9000, 6).astype(np.int32))
        inputs = [g.op("Flatten", x), *given, *stored, bias, *(y if rounded else [])]
        options = {"transB": int(transposed), "alpha": alpha}
        codes = g.op("QGemm", *inputs, domain=MICROSOFT, **options)
        return (codes if rounded else g.op("QuantizeLinear", codes, *y)), y

    return build


def unary(op: str, **attributes: Any) -> Build:
    def build(g: Codes, x: str, given: list[str], dtype: Any) -> tuple[str, list[str]]:
        y = g.quantized(0.0153, 11, dtype)
        return g.op(op, x, *given, *y, domain=MICROSOFT, **attributes), y

    return build


def sum_of_two(g: Codes, x: str, given: list[str], dtype: Any) -> tuple[str, list[str]]:
    side = g.quantized(0.031, 2, dtype)
    pooled = g.op(
        "QLinearAveragePool", x, *given, *side, domain=MICROSOFT,
        kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1,
    )  # fmt: skip
    y = g.quantized(0.043, 9, dtype)
    return g.op("QLinearAdd", x, *given, pooled, *side, *y, domain=MICROSOFT), y


def clamped_codes(g: Codes, x: str, given: list[str], dtype: Any) -> tuple[str, list[str]]:
    """Relu is a maximum of codes and 0, as exporters leave it where the zero point is 0."""
    y = g.quantized(0.17, 0, dtype)
    codes = g.op("QLinearConv", x, *given, *kernel(g, KERNEL, 4), *y)
    codes = g.op("Relu", codes) if dtype == np.int8 else codes
    codes = g.op("Clip", codes, g.constant(dtype(3)), g.constant(dtype(90)))
    return g.op("MaxPool", codes, kernel_shape=[2, 2], strides=[2, 2]), y


CASES: dict[str, tuple[Build, list[str]]] = {
    "convolution": (convolution(True, pads=[1] * 4), ["conv"]),
    "convolution of one scale": (convolution(False, strides=[2, 2]), ["conv"]),
    "matrix product": (product_of_matrices, ["fc"]),
    "gemm": (gemm(False, 1.0), ["fc"]),
    "transposed gemm with a factor": (gemm(True, 0.25), ["fc"]),
    "gemm with a float result": (gemm(True, 1.0, rounded=False), ["fc"]),
    "global mean": (unary("QLinearGlobalAveragePool", channels_last=0), ["avg_pool"]),
    "average pooling": (unary("QLinearAveragePool", kernel_shape=[3, 3]), ["avg_pool"]),
    "add": (sum_of_two, ["avg_pool", "add"]),
    "clamped and pooled codes": (clamped_codes, ["conv", "max_pool"]),
}


@pytest.mark.parametrize("opset", [14, 17, 21])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("case", CASES)
def test_operator_on_codes_agrees(case: str, dtype: Any, opset: int) -> None:
    build, kinds = CASES[case]
    g = Codes(3, 9, 9, opset=opset)
    model = g.end(*build(g, *g.start(dtype), dtype))
    network = importer.load(model)
    assert [layer.kind for layer in network.layers] == kinds
    assert network.output == model.graph.output[0].name
    # onnxruntime multiplies by a rounded float32 here, which decides on sums near a half step.
    assert_agrees(model, network, images((3, 9, 9), 40, seed=4), 0.998)


def test_tensors_and_layers_have_the_names_of_the_file() -> None:
    g = Codes(3, 9, 9)
    x, parameters = g.start(np.int8)
    codes, y = convolution(True)(g, x, parameters, np.int8)
    pooled, z = unary("QLinearAveragePool", kernel_shape=[3, 3])(g, codes, y, np.int8)
    network = importer.load(g.end(pooled, z))
    conv, pool = (node for node in g.nodes if node.op_type.startswith("QLinear"))
    assert [layer.name for layer in network.layers] == [conv.name, pool.name]
    assert network.layers[0].output == conv.output[0]


def test_codes_may_be_the_network_s_output() -> None:
    g = Codes(3, 9, 9)
    x, parameters = g.start(np.uint8)
    codes, _ = convolution(True)(g, x, parameters, np.uint8)
    model = g.model(codes)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    network = importer.load(model)
    assert network.output == codes
    assert (network.layers[0].output, network.tensor(codes).zero_point) == (codes, -8)


def test_absent_zero_point_of_an_input_is_zero() -> None:
    networks = []
    for given in (True, False):
        g = Codes(3, 9, 9)
        x = g.quantized(0.0203, 0)
        codes = g.op("QuantizeLinear", "x", *x)
        zero = x[1] if given else ""
        y = g.quantized(0.09, 3)
        inputs = (codes, x[0], zero, codes, x[0], zero, *y)
        networks.append(importer.load(g.end(g.op("QLinearAdd", *inputs, domain=MICROSOFT), y)))
    first, second = (network.layers[0] for network in networks)
    assert isinstance(first, Add) and first == second


def test_unfinished_model_is_completed(tmp_path: Path) -> None:
    g = Codes(3, 9, 9)
    x, parameters = g.start(np.int8)
    inputs = [g.op("Flatten", x), *parameters, *kernel(g, MATRIX, 6)]
    model = g.model(g.op("QGemm", *inputs, domain=MICROSOFT))
    with pytest.raises(importer.NotQuantized, match="Network output '.*' is float"):
        importer.load(model)
    completed = quantize.complete(model, images((3, 9, 9), 20, seed=1))
    assert [layer.kind for layer in importer.load(completed).layers] == ["fc"]


def without(position: int) -> Callable[[onnx.NodeProto], object]:
    return lambda node: node.input.__setitem__(position, "")


REFUSED: dict[str, tuple[Build, Callable[[onnx.NodeProto], object], str]] = {
    "no zero point of the result": (
        sum_of_two,
        without(7),
        r"QLinearAdd node 'qlinearadd\d+' has no input 7, allowed are all scales, and the zero",
    ),
    "no inputs": (
        unary("QLinearConcat", axis=1),
        lambda node: node.input.__delitem__(slice(2, None)),
        "QLinearConcat node .* has other inputs or outputs than it must",
    ),
    "channels last": (
        unary("QLinearGlobalAveragePool", channels_last=1),
        lambda node: None,
        r"QLinearGlobalAveragePool node .* has its channels last, allowed is the order \(batch, ch",
    ),
    "unknown attribute": (
        unary("QLinearGlobalAveragePool", color=1),
        lambda node: None,
        "GlobalAveragePool node 'qlinearglobal.*' has the attribute 'color', which opset 17 does",
    ),
    "operator of another domain": (
        unary("QLinearGlobalAveragePool"),
        lambda node: setattr(node, "domain", "com.other"),
        "com.other.QLinearGlobalAveragePool node .* is not supported",
    ),
    "operator that is not rewritten": (
        unary("QLinearWhere"),
        lambda node: None,
        "com.microsoft.QLinearWhere node .* is not supported",
    ),
    "pointwise function": (
        unary("QLinearSoftmax", axis=1, opset=13),
        lambda node: None,
        "Softmax node 'qlinearsoftmax.*' is not supported, .*; leave it out and take the largest",
    ),
    "integers without scales": (
        lambda g, x, given, dtype: (g.op("ConvInteger", x, g.constant(KERNEL)), given),
        lambda node: None,
        "ConvInteger node .* is not supported, .* with fixed scales",
    ),
    "scale of another tensor": (
        lambda g, x, given, dtype: unary("QLinearGlobalAveragePool")(
            g, x, g.quantized(0.5, 5), dtype
        ),
        lambda node: None,
        "DequantizeLinear node 'qlinearglobal.*/input 0' has scale 0.5 and zero point",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_rewritten_is_refused_by_name(case: str) -> None:
    build, change, sentence = REFUSED[case]
    g = Codes(3, 9, 9)
    x, parameters = g.start(np.int8)
    made = build(g, x, parameters, np.int8)
    change(g.nodes[-1])
    with pytest.raises(UserError, match=sentence) as caught:
        importer.load(g.end(*made))
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)


def test_names_that_are_taken_are_not_made_again() -> None:
    g = Codes(3, 9, 9)
    x, parameters = g.start(np.int8)
    codes, y = convolution(True)(g, x, parameters, np.int8)
    model = g.end(codes, y)
    first, second = model.graph.node[:2]
    first.output[0] = second.input[0] = f"{codes}/codes"
    renamed = {second.input[1]: f"{second.name}/input 0", second.input[4]: f"{second.name}/bias"}
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for tensor in model.graph.initializer:
        tensor.name = renamed.get(tensor.name, tensor.name)
    assert_agrees(model, importer.load(model), images((3, 9, 9), 40, seed=4), 0.998)
