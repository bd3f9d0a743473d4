"""Missing quantizers: what the importer asks for is added, and the rest stays as it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from qdq_graphs import Qdq, assert_agrees, images, runtime_output, scores, start
from steelyard import importer, quantize
from steelyard.errors import UserError


def float_output(g: Qdq, v: str) -> str:
    return g.conv(g.pair(g.op("Relu", g.conv(v)), 0.0517, -20), 4)


def float_output_behind_views(g: Qdq, v: str) -> str:
    return g.op("Flatten", g.op("Relu", g.op("GlobalAveragePool", v)))


def one_branch_of_an_add_in_float(g: Qdq, v: str) -> str:
    """As TensorRT wants it: only the branch that is no convolution's output has a pair."""
    short = g.pair(g.conv(v, pads=[1] * 4), 0.0917, 3)
    long = g.conv(g.pair(g.op("Relu", g.conv(v, pads=[1] * 4)), 0.0517, -20), 4, pads=[1] * 4)
    return g.pair(g.op("Relu", g.op("Add", long, short)), 0.0717, -60)


def pool_on_the_float_input(g: Qdq, v: str) -> str:
    """The input's pair, which the graph has for another reader, serves the pool too."""
    pooled = g.op("MaxPool", "x", kernel_shape=[2, 2])
    return g.pair(g.conv(g.pair(pooled, 0.0203, 5)), 0.0717, 1)


def pool_in_float(g: Qdq, v: str) -> str:
    pooled = g.op("AveragePool", g.op("Relu", g.conv(v)), kernel_shape=[2, 2], strides=[2, 2])
    return g.pair(pooled, 0.0517, -90)


def last_layer_in_float(g: Qdq, v: str) -> str:
    weight = np.random.default_rng(8).normal(size=(4, 243)).astype(np.float32)
    weight[2] = 0
    bias = g.constant(np.arange(4, dtype=np.float32))
    return g.op("Gemm", g.op("Flatten", v), g.constant(weight), bias, transB=1)


def two_readers_of_one_float_value(g: Qdq, v: str) -> str:
    y = g.conv(v, pads=[1] * 4)
    return g.op("Add", g.op("MaxPool", y, kernel_shape=[3, 3], pads=[1] * 4), y)


CASES: dict[Callable[[Qdq, str], str], int] = {
    float_output: 1,
    float_output_behind_views: 1,
    one_branch_of_an_add_in_float: 1,
    pool_on_the_float_input: 0,
    pool_in_float: 1,
    last_layer_in_float: 1,
    two_readers_of_one_float_value: 3,
}
"""Graphs that miss quantizers, and how many pairs each gets."""


def count(model: onnx.ModelProto) -> int:
    return sum(node.op_type == "QuantizeLinear" for node in model.graph.node)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_missing_quantizers_are_added(case: Callable[[Qdq, str], str]) -> None:
    graph, value = start()
    model = graph.model(case(graph, value))
    before = model.SerializeToString()
    with pytest.raises(importer.NotQuantized, match="; add the missing quantizers with 'steelyard"):
        importer.load(model)
    x = images((3, 9, 9), 200, seed=4)
    completed = quantize.complete(model, x)
    assert model.SerializeToString() == before
    assert count(completed) == count(model) + CASES[case]
    network = importer.load(completed)
    assert network.output == model.graph.output[0].name
    assert_agrees(completed, network, x)
    expected = runtime_output(model, x)
    step = network.tensor(network.output).scale
    error = np.abs(scores(network, x).reshape(expected.shape) - expected)
    # Pairs inside the network cost steps of their own.
    assert error.max() <= (0.51 if case is float_output else 3.5) * step


def test_last_layer_keeps_its_sums_to_half_a_step() -> None:
    graph, value = start()
    model = graph.model(float_output(graph, value))
    x = images((3, 9, 9), 64, seed=1)
    network = importer.load(quantize.complete(model, x))
    expected = runtime_output(model, x)
    step = network.tensor(network.output).scale
    assert np.abs(scores(network, x) - expected).max() <= 0.501 * step
    assert step <= np.ptp(expected) / 254


@pytest.mark.parametrize("batch", [1, 3])
def test_model_of_a_fixed_batch_is_measured(batch: int) -> None:
    graph, value = start()
    model = graph.model(float_output(graph, value))
    x = images((3, 9, 9), 10, seed=1)
    expected = importer.load(quantize.complete(model, x))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    found = importer.load(quantize.complete(model, x))
    assert found.tensor(found.output) == expected.tensor(expected.output)


def test_half_precision_is_completed_in_half_precision() -> None:
    graph = Qdq(3, 9, 9, opset=21)
    scale, zero = graph.constant(np.float16(0.02)), graph.constant(np.int8(3))
    codes = graph.op("QuantizeLinear", "x", scale, zero)
    weight = graph.constant(np.linspace(-1, 1, 108, dtype=np.float16).reshape(4, 3, 3, 3))
    y = graph.op("Conv", graph.op("DequantizeLinear", codes, scale, zero), weight)
    model = graph.model(y)
    for item in (model.graph.input[0], model.graph.output[0]):
        item.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    x = images((3, 9, 9), 20, seed=1)
    completed = quantize.complete(model, x)
    network = importer.load(completed)
    expected = runtime_output(completed, x.astype(np.float16))
    assert expected.dtype == np.float16
    step = network.tensor(network.output).scale
    assert np.abs(scores(network, x) - expected).max() <= 1.1 * step


def test_dead_nodes_are_left_alone() -> None:
    graph, value = start()
    model = graph.model(float_output(graph, value))
    x = images((3, 9, 9), 2, seed=0)
    expected = importer.load(quantize.complete(model, x))
    for op in ("QuantizeLinear", "DequantizeLinear", "Nothing"):
        model.graph.node.add(op_type=op, output=[f"dead {op}"])
    found = importer.load(quantize.complete(model, x))
    assert found.tensor(found.output) == expected.tensor(expected.output)


def test_opset_that_onnxruntime_does_not_run_is_refused() -> None:
    graph = Qdq(3, 9, 9, opset=28)
    model = graph.model(float_output(graph, graph.pair("x", 0.02)))
    with pytest.raises(UserError, match="cannot be run by onnxruntime .*; export the network aga"):
        quantize.complete(model, images((3, 9, 9), 2, seed=0))


def test_complete_graph_is_sent_to_compile() -> None:
    graph, value = start()
    model = graph.model(graph.pair(graph.conv(value), 0.1))
    with pytest.raises(UserError, match="misses no quantizer; give it to 'steelyard compile'"):
        quantize.complete(model, images((3, 9, 9), 2, seed=0))
    assert importer.load(model).layers


def dead(g: Qdq, v: str) -> str:
    high = g.constant(np.float32(0))
    return g.op("MaxPool", g.op("Clip", g.conv(v), high, high), kernel_shape=[2, 2])


REFUSED: dict[str, tuple[Callable[[Qdq, str], str], object, str]] = {
    "operator": (
        lambda g, v: g.op("Softmax", g.pair(g.conv(v), 0.1)),
        images((3, 9, 9), 2, 0),
        "Softmax node .* is not supported",
    ),
    "dead value": (
        dead,
        images((3, 9, 9), 2, 0),
        r"Value 'maxpool\d+.out' runs from 0 to 0 on the calibration images, which gives no scale;",
    ),
    "shape": (
        float_output,
        images((3, 9, 8), 2, 0)[:, :, :2, :2],
        r"Calibration images of shape \(2, 3, 2, 2\) do not run through the network",
    ),
    "type": (float_output, np.zeros((2, 3, 9, 9), np.uint8), "images are uint8 of shape"),
    "ragged list": (float_output, [[1.0], [1.0, 2.0]], "are a list of which numpy makes no array"),
    "NaN": (float_output, np.full((2, 3, 9, 9), np.nan), "hold NaN or infinite values"),
    "no image": (float_output, np.zeros((0, 3, 9, 9)), "with n at least 1"),
    "infinite weight": (
        lambda g, v: g.op("Conv", v, g.constant(np.full((4, 3, 1, 1), np.inf, np.float32))),
        images((3, 9, 9), 2, 0),
        "Weight 'constant.' holds NaN or infinite values",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_completed_is_refused(case: str) -> None:
    build, given, sentence = REFUSED[case]
    graph, value = start()
    with pytest.raises(UserError, match=sentence) as caught:
        quantize.complete(graph.model(build(graph, value)), given)
    assert "\n" not in str(caught.value)
