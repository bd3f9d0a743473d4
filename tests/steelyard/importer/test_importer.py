"""Importer against onnxruntime on the same QDQ graph, written by hand or drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from agreement.measure import assert_ties
from qdq_graphs import Qdq, assert_agrees, codes_of, images, start
from steelyard import importer
from steelyard.compare import agreements
from steelyard.network import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Interleave,
    MaxPool,
    Pad,
    Repeat,
    Shuffle,
    Slice,
)


def relu_alone(g: Qdq, v: str) -> str:
    return g.pair(g.op("Relu", g.pair(g.conv(v), 0.0517, 3)), 0.0411, -100)


def relu_before_quantize(g: Qdq, v: str) -> str:
    return g.pair(g.op("Relu", g.conv(v)), 0.0517, -20)


def clip_before_quantize(g: Qdq, v: str) -> str:
    low, high = g.constant(np.float32(-1)), g.constant(np.float32(2))
    return g.pair(g.op("Clip", g.conv(v), low, high), 0.0517, -20)


def pool_that_rescales(g: Qdq, v: str) -> str:
    y = g.pair(g.op("MaxPool", v, kernel_shape=[3, 3], strides=[2, 2]), 0.0137, -7)
    return g.pair(g.conv(y), 0.1013)


def pool_with_ceil_mode(g: Qdq, v: str) -> str:
    return g.pair(g.op("MaxPool", v, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), 0.0203, 5)


def pool_padded_with_zeros(g: Qdq, v: str) -> str:
    y = g.op("AveragePool", v, kernel_shape=[3, 3], pads=[1, 0, 1, 1], count_include_pad=1)
    return g.pair(y, 0.0153, 2)


def pool_that_counts_its_map(g: Qdq, v: str) -> str:
    """As torch's `count_include_pad=False`, behind a Pad node, whose zeros count."""
    y = g.op("Pad", v, g.constant(np.array([0, 0, 0, 1, 0, 0, 1, 0], np.int64)))
    y = g.op("AveragePool", y, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 2])
    y = g.pair(y, 0.0153, 2)
    return g.pair(g.op("AveragePool", y, kernel_shape=[3, 3], strides=[2, 3], ceil_mode=1), 0.02)


def pool_before_quantize(g: Qdq, v: str) -> str:
    """TensorRT's and Brevitas' networks quantize what layers read, behind the pooling."""
    y = g.op("MaxPool", g.op("Relu", g.conv(v)), kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    return g.pair(g.op("MaxPool", y, kernel_shape=[2, 2]), 0.0517, -100)


def pool_of_what_others_read(g: Qdq, v: str) -> str:
    y = g.conv(v)
    pooled = g.op("MaxPool", y, kernel_shape=[3, 3], pads=[1] * 4)
    same, other = g.pair(y, 0.0907, 3), g.pair(pooled, 0.0907, 3)
    rest = g.pair(g.op("Clip", pooled, g.constant(np.float32(-1))), 0.0807, 9)
    return g.pair(g.op("Add", g.pair(g.op("Add", same, other), 0.15), rest), 0.2)


def pooled_parts(g: Qdq, v: str) -> str:
    """Branches that are pooled and joined before they are quantized."""
    y = g.op("Relu", g.conv(v))
    a = g.op("MaxPool", y, kernel_shape=[3, 3])
    b = g.op("MaxPool", g.op("Clip", y, "", g.constant(np.float32(0.7))), kernel_shape=[3, 3])
    return g.pair(g.op("Concat", a, b, axis=1), 0.0507, -128)


def pool_of_maximum(g: Qdq, v: str) -> str:
    return g.pair(g.op("GlobalMaxPool", v), 0.0203, 5)


def pairs_in_a_row(g: Qdq, v: str) -> str:
    return g.pair(g.pair(g.pair(v, 0.0203, 5), 0.0307, -4), 0.0253, 1)


def same_padding(g: Qdq, v: str) -> str:
    return g.pair(g.conv(v, auto_pad="SAME_UPPER", strides=[2, 2]), 0.0717, 1)


def pad_then_convolve(g: Qdq, v: str) -> str:
    y = g.op("Pad", v, g.constant(np.array([0, 0, 1, 0, 0, 0, 2, 1])))
    return g.pair(g.conv(g.pair(y, 0.0203, 5)), 0.0717, 1)


def bias_by_add(g: Qdq, v: str) -> str:
    bias = g.constant(np.linspace(-2, 2, 4, dtype=np.float32).reshape(4, 1, 1))
    return g.pair(g.op("Add", g.conv(v), bias), 0.317, 1)


def bias_at_another_scale(g: Qdq, v: str) -> str:
    weight = np.random.default_rng(6).integers(-127, 128, (4, 3, 3, 3), np.int8)
    bias = g.weight(np.array([500, -900, 0, 3], np.int32), 5 * 0.0203 * 0.00971)
    return g.pair(g.op("Conv", v, g.weight(weight), bias), 0.0717, 1)


def unsigned_activations(g: Qdq, v: str) -> str:
    return g.pair(g.op("Relu", g.conv(v)), 0.0517, 0, np.uint8)


def float_weights_behind_quantize(g: Qdq, v: str) -> str:
    weight = np.random.default_rng(8).normal(size=(4, 3, 1, 1)).astype(np.float32)
    return g.pair(g.op("Conv", v, g.pair(g.constant(weight), 0.0207)), 0.0517, 1)


def matrix_product(g: Qdq, v: str) -> str:
    weight = np.random.default_rng(9).integers(-127, 128, (243, 6), np.int8)
    shape = g.constant(np.array([0, -1]))
    return g.pair(g.op("MatMul", g.op("Reshape", v, shape), g.weight(weight, 0.00307, 1)), 0.217, 1)


def depthwise(g: Qdq, v: str) -> str:
    return g.pair(g.conv(v, 1, 6, group=3), 0.0717, 1)


def depthwise_of_one_scale(g: Qdq, v: str) -> str:
    codes = np.random.default_rng(6).integers(-127, 128, (3, 1, 5, 5), np.int8)
    stored = [g.constant(each) for each in (codes, np.float32(0.0093), np.int8(0))]
    y = g.op("Conv", v, g.op("DequantizeLinear", *stored), group=3, pads=[2] * 4)
    return g.pair(y, 0.0717, 1)


def joined_with_equal_codes(g: Qdq, v: str) -> str:
    y = g.pair(g.conv(v, pads=[1] * 4), 0.0203, 5)
    return g.pair(g.op("Concat", v, y, v, axis=-3), 0.0203, 5)


def joined_with_other_codes(g: Qdq, v: str) -> str:
    y = g.pair(g.conv(v, pads=[1] * 4), 0.0517, -3)
    joined = g.pair(g.op("Concat", v, y, y, axis=1), 0.0471, 7)
    return g.pair(g.conv(joined, 11), 0.131, 2)


def joined_sums(g: Qdq, v: str) -> str:
    """Without quantizers in front; a clamp on one side and one behind."""
    y = g.op("Relu", g.conv(v, pads=[1] * 4))
    joined = g.op("Concat", g.conv(v, pads=[1] * 4), y, v, axis=1)
    return g.pair(g.op("Clip", joined, g.constant(np.float32(-1.1))), 0.0517, -20)


def joined_codes(g: Qdq, v: str) -> str:
    codes = g.op("Concat", codes_of(g, g.conv(v), 0.07), codes_of(g, g.conv(v), 0.07), axis=1)
    return g.op("DequantizeLinear", codes, g.constant(np.float32(0.07)), g.constant(np.int8(3)))


def joined_vectors(g: Qdq, v: str) -> str:
    pool = g.pair(g.op("GlobalMaxPool", v), 0.0203, 5)
    mean = g.pair(g.op("GlobalAveragePool", v), 0.0103, 5)
    joined = g.op("Concat", g.op("Flatten", mean), g.op("Flatten", pool), axis=1)
    codes = np.random.default_rng(9).integers(-127, 128, (6, 6), np.int8)
    return g.pair(g.op("MatMul", g.pair(joined, 0.0203, 5), g.weight(codes, 0.00307, 1)), 0.017, 1)


def padded_maximum(g: Qdq, v: str) -> str:
    y = g.op("Pad", v, g.constant(np.array([0, 0, 1, 2, 0, 0, 0, 1])))
    return g.pair(g.op("MaxPool", y, kernel_shape=[2, 2]), 0.0203, 5)


def padded_sum(g: Qdq, v: str) -> str:
    y = g.op("Pad", v, g.constant(np.array([0, 0, 9, 2, 0, 0, 0, 15])))
    return g.pair(g.op("Add", y, g.pair(y, 0.031, -4)), 0.0411, 5)


def padded_result(g: Qdq, v: str) -> str:
    y = g.op("Relu", g.op("Pad", g.pair(g.conv(v), 0.1), g.constant(np.array([0, 0, 1, 0] * 2))))
    return g.op("Pad", g.pair(y, 0.05, -128), g.constant(np.array([0, 0, 0, 3] * 2)))


def padded_codes_without_zero(g: Qdq, v: str) -> str:
    parameters = (g.constant(np.float32(0.0203)), g.constant(np.int8(5)))
    y = g.op("Pad", v, g.constant(np.array([0, 0, 1, 0] * 2)))
    codes = g.op("Clip", g.op("QuantizeLinear", y, *parameters), g.constant(np.int8(9)))
    return g.op("DequantizeLinear", codes, *parameters)


def padded_codes_flattened(g: Qdq, v: str) -> str:
    parameters = (g.constant(np.float32(0.0203)), g.constant(np.int8(5)))
    y = g.op("Pad", v, g.constant(np.array([0, 0, 1, 0] * 2)))
    codes = g.op("Flatten", g.op("QuantizeLinear", y, *parameters))
    return g.op("DequantizeLinear", codes, *parameters)


def wide_stride(g: Qdq, v: str) -> str:
    return g.pair(
        g.conv(g.pair(g.conv(v, strides=[3, 3], pads=[1] * 4), 0.1), 4, strides=[4, 4]), 1
    )


def large_kernel(g: Qdq, v: str) -> str:
    codes = np.random.default_rng(6).integers(-127, 128, (4, 3, 11, 10), np.int8)
    y = g.op("Conv", v, g.weight(codes, 0.00171), pads=[5, 4, 4, 5], strides=[2, 2])
    return g.pair(y, 0.0717, 1)


def padding_of_a_whole_kernel(g: Qdq, v: str) -> str:
    return g.pair(g.conv(v, pads=[3, 1, 0, 8]), 0.0717, 1)


def dilated(g: Qdq, v: str) -> str:
    y = g.pair(g.conv(v, dilations=[2, 3], pads=[2, 3, 2, 3]), 0.0717, 1)
    return g.pair(g.conv(y, 4, dilations=[4, 4], pads=[4] * 4), 0.1717, 1)


def dilated_depthwise(g: Qdq, v: str) -> str:
    return g.pair(g.conv(v, 1, 6, group=3, dilations=[2, 2], strides=[2, 2]), 0.0717, 1)


def large_average(g: Qdq, v: str) -> str:
    attributes = {"kernel_shape": [9, 8], "pads": [4, 0, 3, 2], "count_include_pad": 1}
    return g.pair(g.op("AveragePool", v, **attributes), 0.0053, 2)


def cut_and_padded(g: Qdq, v: str) -> str:
    y = g.op("Pad", g.op("Pad", v, g.constant(np.array([0, 0, 2, 0] * 2))),
             g.constant(np.array([0, 0, -3, -1, 0, 0, -1, 2])))  # fmt: skip
    return g.pair(g.conv(y), 0.0717, 1)


def part_of_a_vector(g: Qdq, v: str) -> str:
    vector = g.op("Flatten", g.pair(g.op("GlobalMaxPool", v), 0.0203, 5))
    numbers = (g.constant(np.array([n])) for n in (1, 3, 1))
    codes = np.random.default_rng(9).integers(-127, 128, (2, 6), np.int8)
    weight = g.weight(codes, 0.00307, 1)
    return g.pair(g.op("MatMul", g.op("Slice", vector, *numbers), weight), 0.017, 1)


def transposed(g: Qdq, v: str, before: list[int], order: list[int], after: list[int]) -> str:
    y = g.op("Reshape", v, g.constant(np.array(before)))
    y = g.op("Transpose", y, perm=order)
    return g.op("Reshape", y, g.constant(np.array(after)))


def shuffled_sums(g: Qdq, v: str) -> str:
    """Without quantizers between, clamped behind."""
    y = transposed(g, g.conv(v, outputs=12), [0, 4, 3, 7, 7], [0, 2, 1, 3, 4], [0, 12, 7, 7])
    return g.pair(g.op("Relu", y), 0.0717, 1)


def shuffled_vector(g: Qdq, v: str) -> str:
    y = g.pair(g.op("GlobalMaxPool", g.pair(g.conv(v, outputs=6), 0.1)), 0.1)
    return g.pair(transposed(g, y, [0, 2, 3, 1], [0, 2, 1, 3], [0, 6]), 0.1)


def axis_of_one_moved(g: Qdq, v: str) -> str:
    y = g.pair(g.op("GlobalMaxPool", v), 0.0203, 5)
    return g.pair(g.op("Flatten", g.op("Transpose", y, perm=[0, 2, 3, 1])), 0.0203, 5)


def pixels_shuffled_by_hand(g: Qdq, v: str) -> str:
    y = g.pair(g.conv(v, outputs=12), 0.0717, 1)
    inside = transposed(g, y, [0, 2, 2, 3, 7, 7], [0, 1, 4, 2, 5, 3], [0, 2, 14, 21])
    outside = transposed(g, y, [0, 2, 3, 2, 7, 7], [0, 3, 4, 1, 5, 2], [0, 2, 14, 21])
    return g.pair(g.op("Concat", inside, outside, axis=1), 0.0717, 1)


def enlarged_codes(g: Qdq, v: str) -> str:
    codes = codes_of(g, g.conv(v), 0.07)
    scales = g.constant(np.array([1, 1, 2, 1], np.float32))
    codes = g.op("Resize", codes, "", scales, mode="nearest", nearest_mode="floor",
                 coordinate_transformation_mode="asymmetric")  # fmt: skip
    return g.op("DequantizeLinear", codes, g.constant(np.float32(0.07)), g.constant(np.int8(3)))


def mean_of_flattened_maps(g: Qdq, v: str) -> str:
    y = g.op("Reshape", v, g.constant(np.array([0, 3, 81])))
    return g.pair(g.op("ReduceMean", y, axes=[-1], keepdims=0), 0.0103, 5)


def mean_of_rows(g: Qdq, v: str) -> str:
    y = g.pair(g.op("ReduceMean", v, axes=[3], keepdims=1), 0.0103, 5)
    return g.pair(g.op("Flatten", g.op("ReduceMean", y, axes=[2], keepdims=0)), 0.0083, 5)


def wide_weights_apart(g: Qdq, v: str) -> str:
    """Weights to -128, with dilations and in a transposed convolution."""
    codes = np.random.default_rng(6).choice(np.array([-128, -127, 3, 127], np.int8), (3, 3, 3, 3))
    y = g.pair(g.op("Conv", v, g.weight(codes), dilations=[2, 1]), 0.0717, 1)
    y = g.op("ConvTranspose", y, g.weight(codes, axis=1), strides=[2, 1])
    return g.pair(y, 0.1717, 1)


def dead_layer(g: Qdq, v: str) -> str:
    g.pair(g.conv(v), 0.1013)
    return g.pair(g.conv(v), 0.07)


BY_HAND: dict[Callable[[Qdq, str], str], list[type]] = {
    relu_alone: [Conv, AvgPool],
    relu_before_quantize: [Conv],
    clip_before_quantize: [Conv],
    pool_that_rescales: [MaxPool, AvgPool, Conv],
    pool_with_ceil_mode: [MaxPool],
    pool_padded_with_zeros: [AvgPool],
    pool_before_quantize: [Conv, MaxPool, MaxPool],
    pool_of_what_others_read: [Conv, MaxPool, Conv, MaxPool, Add, Add],
    pooled_parts: [Conv, MaxPool, Conv, MaxPool, Concat],
    pool_of_maximum: [MaxPool],
    pairs_in_a_row: [AvgPool, AvgPool],
    same_padding: [Conv],
    pad_then_convolve: [Conv],
    bias_by_add: [Conv],
    bias_at_another_scale: [Conv],
    unsigned_activations: [Conv],
    float_weights_behind_quantize: [Conv],
    matrix_product: [Conv],
    wide_weights_apart: [*[Concat, Shuffle, Conv] * 2, Interleave, Pad],
    mean_of_flattened_maps: [AvgPool],
    mean_of_rows: [AvgPool, AvgPool],
    shuffled_sums: [Conv, Shuffle],
    shuffled_vector: [Conv, MaxPool, Shuffle],
    axis_of_one_moved: [MaxPool],
    pixels_shuffled_by_hand: [Conv, *[Interleave] * 4, Concat],
    enlarged_codes: [Conv, Repeat],
    part_of_a_vector: [MaxPool, Slice, Conv],
    joined_with_equal_codes: [Conv, Concat],
    joined_with_other_codes: [Conv, AvgPool, AvgPool, Concat, Conv],
    joined_sums: [Conv, Conv, AvgPool, Concat],
    joined_codes: [Conv, Conv, Concat],
    joined_vectors: [MaxPool, AvgPool, AvgPool, Concat, Conv],
    wide_stride: [Conv, Conv],
    large_kernel: [Pad, Conv],
    padding_of_a_whole_kernel: [Pad, Conv],
    dilated: [Conv, Pad, Conv],
    dilated_depthwise: [Conv],
    large_average: [Pad, AvgPool],
    cut_and_padded: [Pad, Pad, Conv],
    padded_maximum: [Pad, MaxPool],
    padded_sum: [AvgPool, Pad, Pad, Add],
    padded_result: [Conv, Pad, AvgPool, Pad],
    padded_codes_without_zero: [Pad, AvgPool],
    padded_codes_flattened: [Pad],
    depthwise: [Conv],
    depthwise_of_one_scale: [Conv],
    dead_layer: [Conv],
}


@pytest.mark.parametrize("case", BY_HAND, ids=lambda case: case.__name__)
def test_graph_by_hand_agrees_with_onnxruntime(case: Callable[[Qdq, str], str]) -> None:
    graph, value = start()
    model = graph.model(case(graph, value))
    network = importer.load(model)
    assert [type(layer) for layer in network.layers] == BY_HAND[case]
    assert_agrees(model, network, images((3, 9, 9), 40, seed=4))


@pytest.mark.parametrize("mode", ["edge", "reflect", "wrap"])
@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 3, 2, 0), (2, 0, 0, 0)])
def test_padding_with_pixels_of_the_map_agrees_with_onnxruntime(
    mode: str, pads: tuple[int, ...]
) -> None:
    graph, value = start()
    top, left, bottom, right = pads
    amounts = graph.constant(np.array([0, 0, top, left, 0, 0, bottom, right], np.int64))
    padded = graph.op("Pad", value, amounts, mode=mode)
    model = graph.model(graph.pair(graph.conv(padded, pads=[1] * 4), 0.1))
    assert_agrees(model, importer.load(model), images((3, 9, 9), 20, seed=4))


@pytest.mark.parametrize("rule", ["half_pixel", "pytorch_half_pixel", "asymmetric"])
@pytest.mark.parametrize("factors", [(2, 2), (3, 1), (1, 4), (2, 5)])
def test_bilinear_upsampling_agrees_with_onnxruntime(rule: str, factors: tuple[int, int]) -> None:
    graph, value = start()
    scales = graph.constant(np.array([1, 1, *factors], np.float32))
    y = graph.op("Resize", value, "", scales, mode="linear", coordinate_transformation_mode=rule)
    model = graph.model(graph.pair(y, 0.0237, 3))
    network = importer.load(model)
    assert any(layer.kind == "conv" for layer in network.layers)
    x = images((3, 9, 9), 40, seed=4)
    assert_ties(agreements(model, network, x))


def test_every_other_pixel_agrees_with_onnxruntime() -> None:
    """As detectors put four phases of their input beside each other."""
    graph, value = start()
    parts = [
        graph.op(
            "Slice",
            value,
            *(graph.constant(np.array(n, np.int64)) for n in (begin, (9, 8), (2, 3), (2, 3))),
        )
        for begin in ((0, 0), (1, 0))
    ]
    rows = [graph.op("Slice", parts[0], *(graph.constant(np.array([n])) for n in (0, 4, 2)))]
    model = graph.model(graph.pair(graph.op("Concat", *rows, parts[1], axis=1), 0.0203, 5))
    network = importer.load(model)
    assert network.tensor(network.output).shape == (6, 4, 3)
    assert_agrees(model, network, images((3, 9, 9), 20, seed=4))


def test_an_average_that_counts_its_map_is_a_sum_of_averages() -> None:
    graph, value = start()
    model = graph.model(pool_that_counts_its_map(graph, value))
    network = importer.load(model)
    assert {type(layer) for layer in network.layers} == {Add, AvgPool, Pad}
    assert_agrees(model, network, images((3, 9, 9), 40, seed=4))
    # At the edges windows hold fewer pixels, and in the corners fewest.
    pools = [each.kernel for each in network.layers if isinstance(each, AvgPool)]
    assert {(3, 3), (3, 2), (2, 3), (2, 2)} < set(pools)


def test_clamps_are_codes_of_their_real_bounds() -> None:
    graph, value = start()
    layer = importer.load(graph.model(clip_before_quantize(graph, value))).layers[0]
    assert (layer.lo, layer.hi) == (-39, 19)


def test_network_takes_the_name_of_its_file(tmp_path: Any) -> None:
    graph, value = start()
    path = tmp_path / "shoes.int8.onnx"
    onnx.save(graph.model(graph.pair(graph.conv(value), 0.1)), path)
    assert importer.load(path).name == "shoes"


@pytest.mark.parametrize("seed", range(12))
def test_random_transposed_convolution_agrees_with_onnxruntime(seed: int) -> None:
    """Strides to 4, kernels to 9, dilations, groups, padding and output padding, unequal sides."""
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 1, 2]))
    strides, kernel = rng.integers(1, 5, 2), rng.integers(1, 10, 2)
    dilations = np.where(kernel < 4, rng.integers(1, 4, 2), 1)
    reach = (kernel - 1) * dilations
    before, after = (np.minimum(rng.integers(0, reach + 1), 3) for _ in range(2))
    more = [int(rng.integers(0, step)) for step in strides]
    graph = Qdq(4, 5, 6)
    value = graph.pair("x", 0.0203, 5)
    codes = rng.integers(-127, 128, (4, 3, *kernel), np.int8)
    bias = graph.constant(rng.standard_normal(3 * groups).astype(np.float32))
    value = graph.op(
        "ConvTranspose", value, graph.weight(codes, rng.uniform(0.002, 0.01, 3), 1), bias,
        strides=strides.tolist(), dilations=dilations.tolist(), group=groups, output_padding=more,
        pads=[*before.tolist(), *after.tolist()],
    )  # fmt: skip
    model = graph.model(graph.pair(graph.op("Relu", value), 0.0471, -100))
    assert_agrees(model, importer.load(model), images((4, 5, 6), 30, seed))
