"""Types and zero points of QuantizeLinear and DequantizeLinear, read as each opset defines them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from qdq_graphs import Qdq, assert_agrees, assert_within_a_step, images
from steelyard import importer
from steelyard.errors import UserError
from steelyard.network import Conv, Slice


def pair_of(
    g: Qdq, value: str, scale: float, zero: Any, *, given: str = "both", clip: Any = None, **options
) -> str:
    """Pair with the zero point at both nodes, one or neither, and a Clip on the codes."""
    steps, point = g.constant(np.float32(scale)), g.constant(zero)
    points = ([point] if given in names else [] for names in (("both", "q"), ("both", "dq")))
    first, second = points
    codes = g.op("QuantizeLinear", value, steps, *first, **options)
    if clip is not None:
        codes = g.op("Clip", codes, *(g.constant(zero.dtype.type(end)) for end in clip))
    return g.op("DequantizeLinear", codes, steps, *second)


@pytest.mark.parametrize("opset", [21, 23, 25])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_output_dtype_is_the_type_of_codes_without_zero_point(opset: int, dtype: type) -> None:
    graph = Qdq(3, 9, 9, opset=opset)
    kind = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8}[dtype]
    zero = np.array(0, dtype)
    value = pair_of(graph, "x", 0.0303, zero, given="neither", output_dtype=int(kind))
    value = pair_of(graph, graph.conv(value), 0.07, zero, given="neither", output_dtype=int(kind))
    model = graph.model(value)
    network = importer.load(model)
    expected = 0 if dtype is np.int8 else -128
    assert network.tensor(network.input).zero_point == expected
    assert_agrees(model, network, images((3, 9, 9), 20, seed=4))


@pytest.mark.parametrize("opset", [13, 19, 21])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_dequantizer_without_zero_point_takes_the_codes_type(opset: int, dtype: type) -> None:
    graph = Qdq(3, 9, 9, opset=opset)
    value = pair_of(graph, "x", 0.0303, np.array(0, dtype), given="q")
    model = graph.model(pair_of(graph, graph.conv(value), 0.07, np.array(0, dtype), given="q"))
    assert_agrees(model, importer.load(model), images((3, 9, 9), 20, seed=4))


@pytest.mark.parametrize("opset", [10, 13, 17, 21])
def test_quantizer_without_zero_point_gives_unsigned_codes(opset: int) -> None:
    graph = Qdq(3, 9, 9, opset=opset)
    value = pair_of(graph, "x", 0.0303, np.uint8(0), given="neither")
    model = graph.model(pair_of(graph, graph.op("Relu", value), 0.02, np.uint8(0), given="dq"))
    network = importer.load(model)
    assert network.tensor(network.input).zero_point == -128
    assert_agrees(model, network, images((3, 9, 9), 20, seed=4))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_codes_are_pooled_and_reshaped_as_real_values_are(dtype: type) -> None:
    graph = Qdq(3, 9, 9)
    parameters = (graph.constant(np.float32(0.03)), graph.constant(dtype(7)))
    codes = graph.op("QuantizeLinear", "x", *parameters)
    for _ in range(2):
        codes = graph.op("MaxPool", codes, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    codes = graph.op(
        "Flatten", graph.op("Clip", codes, *map(graph.constant, (dtype(2), dtype(60))))
    )
    model = graph.model(graph.op("DequantizeLinear", codes, *parameters))
    network = importer.load(model)
    assert [layer.kind for layer in network.layers] == ["max_pool", "max_pool"]
    assert network.output_view == (243,)
    assert_within_a_step(model, network, images((3, 9, 9), 20, seed=4))


def test_quantizers_of_onnxruntimes_own_domain_are_the_same() -> None:
    graph = Qdq(3, 9, 9)
    graph.domain = "com.microsoft"
    weight = np.random.default_rng(1).integers(-127, 128, (4, 3, 3, 3), np.int8)
    scales = np.linspace(0.005, 0.01, 4, dtype=np.float32)
    stored = [graph.constant(each) for each in (weight, scales, np.zeros(4, np.int8))]
    kernel = graph.op("DequantizeLinear", *stored, axis=0, domain="com.microsoft")
    value = graph.pair("x", 0.0303, 130, np.uint8)
    model = graph.model(graph.pair(graph.op("Conv", value, kernel), 0.07, 5))
    assert {node.domain for node in model.graph.node} == {"", "com.microsoft"}
    assert_agrees(model, importer.load(model), images((3, 9, 9), 20, seed=4))


def test_unsigned_weights_around_128_are_the_same_as_signed_ones() -> None:
    networks = []
    signed = np.random.default_rng(1).integers(-127, 128, (4, 3, 3, 3), np.int16)
    for dtype, zero in ((np.int8, 0), (np.uint8, 128)):
        graph = Qdq(3, 9, 9)
        arrays = ((signed + zero).astype(dtype), np.float32(0.01), np.array(zero, dtype))
        kernel = graph.op("DequantizeLinear", *map(graph.constant, arrays))
        value = graph.op("Conv", graph.pair("x", 0.0303, 3), kernel)
        model = graph.model(graph.pair(value, 0.07, 5))
        networks.append(importer.load(model))
        assert_agrees(model, networks[-1], images((3, 9, 9), 20, seed=4))
    first, second = (network.layers[0] for network in networks)
    assert isinstance(first, Conv) and isinstance(second, Conv)
    np.testing.assert_array_equal(first.weight, second.weight)


@pytest.mark.parametrize("zeros", [[0, 90, 130, 255], [5, 5, 5, 5]])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_weights_around_any_zero_point_are_signed_codes(dtype: type, zeros: list[int]) -> None:
    signed = np.random.default_rng(1).integers(-60, 60, (4, 3, 3, 3), np.int16)
    limits = np.iinfo(dtype)
    points = np.array(zeros).reshape(4, 1, 1, 1) + limits.min
    codes = np.clip(signed + points, limits.min, limits.max).astype(dtype)
    graph = Qdq(3, 9, 9)
    steps = np.linspace(0.005, 0.01, 4, dtype=np.float32)
    stored = [graph.constant(each) for each in (codes, steps, points.reshape(-1).astype(dtype))]
    kernel = graph.op("DequantizeLinear", *stored, axis=0)
    model = graph.model(graph.pair(graph.op("Conv", graph.pair("x", 0.0303, 3), kernel), 0.07, 5))
    network = importer.load(model)
    layer = network.layers[0]
    assert isinstance(layer, Conv)
    np.testing.assert_array_equal(layer.weight, codes.astype(np.int16) - points)
    assert_agrees(model, network, images((3, 9, 9), 20, seed=4))


@pytest.mark.parametrize("case", ["-128", "around 130", "around 0 and 255 to 254"])
def test_weights_of_nine_bits_read_every_channel_twice(case: str) -> None:
    draw = np.random.default_rng(1)
    dtype = np.int8 if case == "-128" else np.uint8
    limits = np.iinfo(dtype)
    zeros = {"-128": [0], "around 130": [130], "around 0 and 255 to 254": [0, 255, 3, 77]}[case]
    zeros = np.resize(np.array(zeros, dtype), 4)
    kernels, others, matrix = (
        draw.integers(limits.min, limits.max + 1, shape).astype(dtype)
        for shape in ((4, 3, 3, 3), (4, 3, 3, 3), (4, 196))
    )
    for each in (kernels, others, matrix):
        each[0].flat[3] = limits.min
        if dtype is np.uint8:
            # The most that two weights of eight bits add up to.
            each[zeros == 0] = np.minimum(each[zeros == 0], 254)
            each[zeros == 255] = np.maximum(each[zeros == 255], 1)
    graph = Qdq(3, 9, 9)
    value = graph.pair("x", 0.0303, 3)

    def weight(codes: np.ndarray) -> str:
        steps = np.linspace(0.0005, 0.001, 4, dtype=np.float32)
        return graph.op("DequantizeLinear", *map(graph.constant, (codes, steps, zeros)), axis=0)

    # A second reader of the same input shares its copy.
    first, second = (
        graph.pair(graph.op("Conv", value, weight(each)), 0.037, 5) for each in (kernels, others)
    )
    y = graph.op("Flatten", graph.pair(graph.op("Add", first, second), 0.0307))
    model = graph.model(graph.pair(graph.op("Gemm", y, weight(matrix), transB=1), 0.05))
    network = importer.load(model)
    kinds = [layer.kind for layer in network.layers]
    twice = ["concat", "shuffle"]
    assert kinds == [*twice, "conv", "conv", "add", *twice, "fc"]
    layer = network.layers[2]
    assert isinstance(layer, Conv)
    pairs = layer.weight.astype(np.int16).reshape(4, 3, 2, 3, 3).sum(axis=2)
    np.testing.assert_array_equal(pairs, kernels - zeros.astype(np.int16).reshape(4, 1, 1, 1))
    assert_agrees(model, network, images((3, 9, 9), 60, seed=4), 0.998)


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_weights_of_nine_bits_stay_so_where_they_are_spread(op: str) -> None:
    """Dilations and phases move weights of -128 as they are."""
    graph = Qdq(4, 9, 9)
    weight = np.random.default_rng(2).integers(-128, 127, (4, 2, 3, 3)).astype(np.int8)
    weight[0] = -128
    options = {"dilations": [2, 2]} if op == "Conv" else {"strides": [2, 2]}
    stored = (weight, np.float32(0.002), np.int8(0))
    kernel = graph.op("DequantizeLinear", *map(graph.constant, stored))
    y = graph.op(op, graph.pair("x", 0.0303, 3), kernel, group=2, **options)
    model = graph.model(graph.pair(y, 0.0371, 5))
    assert_within_a_step(model, importer.load(model), images((4, 9, 9), 20, seed=4))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_cast_of_codes_to_another_type_is_refused(dtype: type) -> None:
    kinds = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8}
    other = {np.int8: np.uint8, np.uint8: np.int8}[dtype]
    for to in (dtype, other):
        graph = Qdq(3, 9, 9)
        parameters = (graph.constant(np.float32(0.03)), graph.constant(dtype(7)))
        codes = graph.op("QuantizeLinear", "x", *parameters)
        codes = graph.op("Cast", codes, to=int(kinds[to]))
        model = graph.model(graph.op("DequantizeLinear", codes, *parameters))
        if to is dtype:
            # The slice gives the output its name.
            assert [type(each) for each in importer.load(model).layers] == [Slice]
        else:
            with pytest.raises(UserError, match=r"Cast node .* makes u?int8 of its input, allowed"):
                importer.load(model)


def test_long_name_of_onnx_s_domain_means_the_same() -> None:
    graph = Qdq(3, 9, 9)
    model = graph.model(graph.pair(graph.conv(graph.pair("x", 0.03)), 0.07))
    expected = importer.load(model)
    model.opset_import[0].domain = "ai.onnx"
    for node in model.graph.node:
        node.domain = "ai.onnx"
    found = importer.load(model)
    for one, other in zip(found.layers, expected.layers, strict=True):
        assert isinstance(one, Conv) and isinstance(other, Conv)
        np.testing.assert_array_equal(one.weight, other.weight)
        np.testing.assert_array_equal(one.multiplier, other.multiplier)


def test_types_of_a_pair_that_differ_are_refused() -> None:
    graph = Qdq(3, 9, 9)
    scale = graph.constant(np.float32(0.03))
    codes = graph.op("QuantizeLinear", "x", scale, graph.constant(np.int8(0)))
    model = graph.model(graph.op("DequantizeLinear", codes, scale, graph.constant(np.uint8(0))))
    with pytest.raises(UserError, match="has a zero point of uint8 for codes of int8, allowed is"):
        importer.load(model)


def test_sparse_constants_are_refused_by_name() -> None:
    graph = Qdq(3, 9, 9)
    model = graph.model(graph.pair(graph.pair("x", 0.03), 0.07))
    values = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    places = helper.make_tensor("places", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4]))
    with pytest.raises(UserError, match="stores constant 'w' as a sparse tensor, allowed are dens"):
        importer.load(model)


@pytest.mark.parametrize(("key", "value"), [("block_size", 2), ("output_dtype", 3)])
def test_what_onnxruntimes_own_quantizers_do_not_know_is_refused(key: str, value: int) -> None:
    graph = Qdq(3, 9, 9)
    parameters = (graph.constant(np.float32(0.03)), graph.constant(np.int8(0)))
    options = {key: value, "domain": "com.microsoft"}
    codes = graph.op("QuantizeLinear", "x", *parameters, **options)
    model = graph.model(graph.op("DequantizeLinear", codes, *parameters))
    with pytest.raises(UserError, match=f"has the attribute '{key}', which opset 17 does not kno"):
        importer.load(model)


CLIPS: dict[str, tuple[Any, tuple[int, int]]] = {
    "narrow": (np.int8(0), (-127, 127)),
    "six bits": (np.int8(-3), (-32, 31)),
    "unsigned": (np.uint8(130), (100, 180)),
    "four bits behind a ReLU": (np.uint8(0), (0, 15)),
}


@pytest.mark.parametrize("case", CLIPS)
def test_clip_on_codes_narrows_the_tensor(case: str) -> None:
    zero, ends = CLIPS[case]
    graph = Qdq(3, 9, 9)
    value = pair_of(graph, "x", 0.0303, zero, clip=ends)
    value = pair_of(graph, graph.op("Relu", graph.conv(value)), 0.07, zero, clip=ends)
    model = graph.model(value)
    network = importer.load(model)
    offset = 128 if zero.dtype == np.uint8 else 0
    last = network.layers[-1]
    assert (last.lo, last.hi) == (max(ends[0], int(zero)) - offset, ends[1] - offset)
    # The host gives all 256 codes, so the clamp of the input is a layer of its own.
    assert [layer.kind for layer in network.layers] == ["avg_pool", "conv"]
    assert_within_a_step(model, network, images((3, 9, 9), 20, seed=4))
