"""Graphs whose meaning lies in the small print: broadcast constants, batches, shared results."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from qdq_graphs import Qdq, assert_within_a_step, images, runtime_output, scores, start
from steelyard import importer
from steelyard.errors import UserError
from steelyard.network import AvgPool, Conv

WEIGHT = np.random.default_rng(9).integers(-127, 128, (4, 3, 3, 3), np.int8)
MATRIX = np.random.default_rng(9).integers(-127, 128, (6, 243), np.int8)
RAMP = np.linspace(-2, 2, 6, dtype=np.float32)


def convolved(op: str, bias: np.ndarray, swap: bool = False) -> Callable[[Qdq, str], str]:
    def build(g: Qdq, v: str) -> str:
        inputs = (g.op("Conv", v, g.weight(WEIGHT)), g.constant(bias))
        return g.pair(g.op(op, *(inputs[::-1] if swap else inputs)), 0.117, 1)

    return build


def multiplied(bias: np.ndarray, how: str = "Gemm") -> Callable[[Qdq, str], str]:
    def build(g: Qdq, v: str) -> str:
        flat, kernel, summand = g.op("Flatten", v), g.weight(MATRIX, 0.0031), g.constant(bias)
        if how == "Gemm":
            y = g.op("Gemm", flat, kernel, summand, transB=1)
        else:
            y = g.op("Add", g.op("Gemm", flat, kernel, transB=1), summand)
        return g.pair(y, 0.217, 1)

    return build


def quantized_constant(zero: int, dtype: type) -> Callable[[Qdq, str], str]:
    """As onnxruntime quantizes the constants of Add and Mul: with a zero point of their own."""

    def build(g: Qdq, v: str) -> str:
        def constant(codes: list[int]) -> str:
            array = np.array(codes, dtype).reshape(-1, 1, 1)
            parameters = (g.constant(np.float32(0.01)), g.constant(np.array(zero, dtype)))
            return g.op("DequantizeLinear", g.constant(array), *parameters)

        y = g.op("Add", g.op("Conv", v, g.weight(WEIGHT)), constant([3, 60, 99, 120]))
        return g.pair(g.op("Mul", g.pair(y, 0.117, 1), constant([127])), 0.22, 2)

    return build


def clamped_then_scaled(g: Qdq, v: str) -> str:
    low, high = g.constant(np.float32(-1)), g.constant(np.float32(2))
    y = g.op("Clip", g.op("Conv", v, g.weight(WEIGHT)), low, high)
    return g.pair(g.op("Div", y, g.constant(np.float32(0.4))), 0.117, 1)


def pooled_then_scaled(g: Qdq, v: str) -> str:
    y = g.op("AveragePool", v, kernel_shape=[3, 3])
    return g.pair(g.op("Mul", g.constant(np.full(1, 2.5, np.float32)), y), 0.037, 1)


RIGHT: dict[str, Callable[[Qdq, str], str]] = {
    "bias of channels": convolved("Add", RAMP[:4].reshape(4, 1, 1)),
    "bias of channels with batch": convolved("Add", RAMP[:4].reshape(1, 4, 1, 1), swap=True),
    "scalar bias": convolved("Add", np.float32(0.7)),
    "bias of one element": convolved("Add", np.full((1, 1, 1), 0.7, np.float32)),
    "difference": convolved("Sub", RAMP[:4].reshape(4, 1, 1)),
    "wide bias": convolved("Add", RAMP[:4].reshape(4, 1, 1).astype(np.float32) * 40),
    "vector": multiplied(RAMP),
    "row": multiplied(RAMP.reshape(1, 6)),
    "one number": multiplied(np.full(1, 0.7, np.float32)),
    "scalar": multiplied(np.float32(0.7)),
    "added row": multiplied(RAMP.reshape(1, 6), "Add"),
    "factor of a clamped result": clamped_then_scaled,
    "factor of a mean": pooled_then_scaled,
    "constants with a zero point": quantized_constant(-11, np.int8),
    "constants of unsigned codes": quantized_constant(3, np.uint8),
}


@pytest.mark.parametrize("case", RIGHT)
def test_constants_broadcast_as_the_standard_says(case: str) -> None:
    graph, value = start()
    model = graph.model(RIGHT[case](graph, value))
    assert_within_a_step(model, importer.load(model), images((3, 9, 9), 20, seed=2))


WRONG: dict[str, tuple[Callable[[Qdq, str], str], str]] = {
    "bias of columns": (
        convolved("Add", np.linspace(-1, 1, 7, dtype=np.float32)),
        r"adds a constant of shape \(7,\) to sums of shape \('batch', 4, 7, 7\), allowed is one nu",
    ),
    "bias of every element": (
        convolved("Add", np.zeros((4, 7, 7), np.float32)),
        r"adds a constant of shape \(4, 7, 7\)",
    ),
    "bias of images": (
        convolved("Add", np.zeros((2, 1, 1, 1), np.float32)),
        r"adds a constant of shape \(2, 1, 1, 1\)",
    ),
    "column": (multiplied(np.zeros((6, 1), np.float32)), r"adds a constant of shape \(6, 1\)"),
    "wrong number": (multiplied(RAMP[:5]), r"adds a constant of shape \(5,\)"),
    "NaN": (multiplied(RAMP * np.nan), "has a bias that is NaN or infinite"),
    "integer text": (
        lambda g, v: g.op("Mul", v, g.constant(np.array(True))),
        "takes a constant of bool, allowed are float numbers",
    ),
    "number of more axes": (
        lambda g, v: g.op("Mul", v, g.constant(np.full((1,) * 5, 0.5, np.float32))),
        r"multiplies by a constant of shape \(1, 1, 1, 1, 1\) from 0.5 to 0.5",
    ),
    "squeezed batch": (
        lambda g, v: g.op(
            "Squeeze", g.pair(g.op("GlobalMaxPool", v), 0.02), g.constant(np.array([0, 2]))
        ),
        r"has axes \[0, 2\], allowed are different axes behind the batch",
    ),
    "axis of the batch": (
        lambda g, v: g.op("Unsqueeze", v, g.constant(np.array([0]))),
        r"has axes \[0\], allowed are different axes behind the batch",
    ),
    "axis twice": (
        lambda g, v: g.op("Unsqueeze", v, g.constant(np.array([2, 2]))),
        r"has axes \[2, 2\], allowed are different axes",
    ),
    "two open sizes": (
        lambda g, v: g.op("Reshape", v, g.constant(np.array([1, -1, -1, 243]))),
        r"turns .* into \(1, -1, -1, 243\), allowed are shapes of the same elements",
    ),
    "text for axes": (
        lambda g, v: g.op("Unsqueeze", v, g.constant(np.array([2.0]))),
        r"has float64 of shape \(1,\) as input 1, allowed is a list of integers",
    ),
    "quotient": (
        lambda g, v: g.op("Div", g.pair(g.op("MaxPool", v, kernel_shape=[1, 1]), 0.02), v),
        "divides one activation by another, allowed is a constant divisor or dividend",
    ),
    "product of rows": (
        lambda g, v: g.op("Mul", v, g.pair(g.op("ReduceMean", v, axes=[2]), 0.02)),
        r"multiplies tensors of shapes \('batch', 3, 9, 9\) and \('batch', 3, 1, 9\), allowed are",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_other_constants_are_refused_by_name(case: str) -> None:
    build, sentence = WRONG[case]
    graph, value = start()
    with pytest.raises(UserError, match=sentence):
        importer.load(graph.model(build(graph, value)))


def test_bias_of_columns_is_not_taken_for_one_of_channels() -> None:
    """Four columns and four channels: the constant lies along the columns, as numpy broadcasts."""
    graph = Qdq(3, 6, 6)
    value = graph.pair("x", 0.0203, 5)
    model = graph.model(convolved("Add", RAMP[:4])(graph, value))
    with pytest.raises(UserError, match=r"adds a constant of shape \(4,\) to sums of shape"):
        importer.load(model)


@pytest.mark.parametrize("scale", [0.05, 0.09])
def test_a_result_may_be_quantized_twice(scale: float) -> None:
    """With equal scales it is one layer, with others a second one."""
    graph, value = start()
    y = graph.op("Relu", graph.op("Conv", value, graph.weight(WEIGHT), pads=[1] * 4))
    one, other = graph.pair(y, 0.05, -3), graph.pair(y, scale, -3)
    model = graph.model(graph.pair(graph.op("Add", one, other), 0.11, 2))
    network = importer.load(model)
    kinds = [layer.kind for layer in network.layers]
    assert kinds == ["conv", "add"] if scale == 0.05 else ["conv", "conv", "add"]
    assert len({layer.name for layer in network.layers}) == len(kinds)
    assert_within_a_step(model, network, images((3, 9, 9), 20, seed=2))


@pytest.mark.parametrize("batch", [1, 4])
def test_fixed_batch_may_stand_in_shapes(batch: int) -> None:
    graph, value = start()
    sizes = graph.constant(np.array([batch, 243]))
    y = graph.op("Gemm", graph.op("Reshape", value, sizes), graph.weight(MATRIX, 0.003), transB=1)
    model = graph.model(graph.pair(y, 0.3, 1))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    network = importer.load(model)
    assert network.output_view == (6,)
    assert_within_a_step(model, network, images((3, 9, 9), batch, seed=2))
    sizes = graph.constant(np.array([1, 243 * batch]))
    if batch > 1:
        mixed = graph.model(graph.op("Reshape", value, sizes))
        mixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
        with pytest.raises(UserError, match=r"turns .* into \(1, 972\), allowed are shapes of the"):
            importer.load(mixed)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_numbers_of_other_precision_are_read_as_they_are(dtype: type) -> None:
    graph, value = start()
    y = graph.op("Conv", value, graph.weight(WEIGHT))
    total = graph.op("Add", y, graph.constant(RAMP[:4].reshape(4, 1, 1)))
    model = graph.model(graph.pair(total, 0.125, 1))
    x = images((3, 9, 9), 20, seed=2)
    expected = runtime_output(model, x)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            array = onnx.numpy_helper.to_array(tensor)
            exact = np.array_equal(array.astype(dtype), array)
            if exact or array.ndim == 3:
                tensor.CopyFrom(onnx.numpy_helper.from_array(array.astype(dtype), tensor.name))
    network = importer.load(model)
    step = network.tensor(network.output).scale
    assert np.abs(scores(network, x) - expected).max() <= 1.01 * step


def test_dead_nodes_are_not_looked_at() -> None:
    graph, value = start()
    graph.op("Softmax", graph.conv(value))
    graph.op("Nothing", "nobody")
    network = importer.load(graph.model(graph.pair(graph.conv(value), 0.1)))
    assert [type(layer) for layer in network.layers] == [Conv]


def test_input_that_is_also_an_output_of_the_clamp_keeps_its_codes() -> None:
    """A clamp of the input's codes is a layer of its own; another reader sees all codes."""
    graph = Qdq(3, 9, 9)
    parameters = (graph.constant(np.float32(0.02)), graph.constant(np.int8(0)))
    codes = graph.op("QuantizeLinear", "x", *parameters)
    ends = (graph.constant(np.int8(-20)), graph.constant(np.int8(20)))
    clamped = graph.op("DequantizeLinear", graph.op("Clip", codes, *ends), *parameters)
    whole = graph.op("DequantizeLinear", codes, *parameters)
    model = graph.model(graph.pair(graph.op("Add", clamped, whole), 0.03))
    network = importer.load(model)
    assert [type(layer).__name__ for layer in network.layers] == ["AvgPool", "Add"]
    first = network.layers[0]
    assert isinstance(first, AvgPool) and (first.lo, first.hi) == (-20, 20)
    assert_within_a_step(model, network, images((3, 9, 9), 20, seed=2))


MALFORMED: dict[str, tuple[Callable[[onnx.ModelProto], object], str]] = {
    "name made twice": (
        lambda m: m.graph.node.add().CopyFrom(m.graph.node[0]),
        "Value 'quantizelinear0.out' of the ONNX graph is made twice, the second time by node",
    ),
    "constant stored twice": (
        lambda m: m.graph.initializer.add().CopyFrom(m.graph.initializer[0]),
        "has constant 'constant0' stored twice, allowed is each under its own name",
    ),
    "constant without a name": (
        lambda m: m.graph.initializer.add(data_type=1, float_data=[1.0]),
        "has constant '' stored without a name",
    ),
    "constant without its data": (
        lambda m: m.graph.initializer[0].ClearField("raw_data"),
        "Constant 'constant0' of ONNX graph 'by_hand' cannot be read",
    ),
    "value that nothing makes": (
        lambda m: m.graph.node[-1].input.__setitem__(0, "nobody"),
        "DequantizeLinear node .* reads 'nobody', which nothing makes",
    ),
    "output that nothing makes": (
        lambda m: setattr(m.graph.output[0], "name", "nobody"),
        "Network output 'nobody' is made by no node",
    ),
    "node without outputs": (
        lambda m: m.graph.node[-1].ClearField("output"),
        "Network output .* is made by no node",
    ),
    "too few inputs": (
        lambda m: m.graph.node[-1].input.__delitem__(slice(1, None)),
        "has 1 inputs, opset 17 allows 2 to 3",
    ),
    "attribute twice": (
        lambda m: m.graph.node[0].attribute.extend([helper.make_attribute("axis", 1)] * 2),
        "has the attribute 'axis', twice; export the network again without it",
    ),
    "attribute of another type": (
        lambda m: m.graph.node[0].attribute.append(helper.make_attribute("axis", "x")),
        "has the attribute 'axis' of type STRING, the standard wants INT",
    ),
    "integer input": (
        lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", TensorProto.UINT8),
        "Network input 'x' is of type UINT8, allowed is float32 with a QuantizeLinear behind it",
    ),
    "negative batch": (
        lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", -2),
        "The batch of network input 'x' is -2, allowed are 1 to 65535 or a dynamic axis",
    ),
    "two inputs": (
        lambda m: m.graph.input.add(name="more"),
        r"has 2 inputs \('x', 'more'\), one is allowed",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_graphs_are_refused_by_name(case: str) -> None:
    change, sentence = MALFORMED[case]
    graph, value = start()
    model = graph.model(graph.pair(graph.conv(value), 0.1))
    change(model)
    with pytest.raises(UserError, match=sentence) as caught:
        importer.load(model)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
