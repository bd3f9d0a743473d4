"""Importer against onnxruntime on the same QDQ graph, and the sentences for graphs it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn
from torch.nn import functional as F

from qdq_graphs import Qdq, assert_agrees, images, start
from steelyard import importer, quantize
from steelyard.errors import UserError
from steelyard.importer.obstacles import obstacles
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


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 24, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, padding=1),
        )
        self.head = nn.Sequential(nn.Linear(24 * 4 * 3, 20), nn.ReLU(), nn.Linear(20, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        return self.head(y.view(y.size(0), -1))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.a = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16))
        self.c = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.short = nn.Conv2d(16, 32, 1, stride=2)
        self.fc = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = F.relu(x + self.b(self.a(x)))
        x = self.c(x) + self.short(x)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Mobile(nn.Module):
    """ReLU6, stride 2 behind an asymmetric pad, average pooling and a mean over the map."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, stride=2)
        self.b = nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.a(F.pad(x, (0, 1, 0, 1))))
        x = F.avg_pool2d(F.relu6(self.b(x)), 3, 2, padding=1)
        return self.fc(x.mean((2, 3)))


class Separable(nn.Module):
    """Depthwise and grouped convolutions with batch norms between."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1, groups=3),
            nn.ReLU6(),
            nn.Conv2d(12, 12, 3, stride=2, padding=1, groups=12, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU6(),
            nn.Conv2d(12, 16, 1),
            nn.Conv2d(16, 8, 3, groups=4),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Dense(nn.Module):
    """Branches that are joined, directly and behind each other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.a = nn.Conv2d(8, 6, 3, padding=1)
        self.b = nn.Conv2d(14, 6, 1)
        self.fc = nn.Linear(20, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = torch.cat([x, F.relu(self.a(x))], 1)
        x = torch.cat([x, self.b(x)], 1)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(F.relu(x), 1), 1))


class Parts(nn.Module):
    """Channels and rows that part and meet again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 9, 3, padding=1)
        self.a = nn.Conv2d(3, 4, 3)
        self.b = nn.Conv2d(4, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b, c = torch.split(F.relu(self.stem(x)), [3, 4, 2], 1)
        return torch.cat([self.b(b), c[:, :, 1:-1, 2:], self.a(a)[:, 1:3]], 1)


class Enlarged(nn.Module):
    """Both upsamplings of pixels, and a channel shuffle between grouped convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.a = nn.Conv2d(12, 12, 3, groups=3)
        self.pixels = nn.PixelShuffle(2)
        self.b = nn.Conv2d(3, 4, 3)
        self.up = nn.Upsample(scale_factor=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        groups = x.view(-1, 3, 4, *x.shape[2:])
        x = self.a(groups.transpose(1, 2).reshape(x.shape))
        return self.up(F.relu(self.b(self.pixels(x))))


class Hourglass(nn.Module):
    """Down, and up again by transposed convolutions with a batch norm between."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.last = nn.ConvTranspose2d(6, 4, 3, stride=3, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(F.relu(self.norm(self.up(F.relu(self.down(x))))))


class Perceptron(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, 5))


PARTS = [Conv, *[Slice] * 3, Pad, Conv, Conv, Slice, Pad, *[AvgPool] * 3, Concat]
ENLARGED = [Conv, Shuffle, Conv, Interleave, Interleave, Conv, Repeat, Repeat]
HOURGLASS = [Conv, Conv, Interleave, Interleave, Pad, Conv, Interleave, Interleave]
TRAINED_LIKE: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float, list[type]]] = {
    "plain": (Plain, (3, 16, 12), 1, [Conv, MaxPool, Conv, MaxPool, Conv, Conv]),
    "residual": (Residual, (3, 12, 12), 1, [Conv, Conv, Conv, Add, Conv, Conv, Add, AvgPool, Conv]),
    "relu6": (Mobile, (3, 16, 16), 9, [Conv, Conv, AvgPool, AvgPool, Conv]),
    "separable": (Separable, (3, 16, 12), 3, [Conv, Conv, Conv, Conv]),
    "dense": (Dense, (3, 10, 8), 2, [Conv, *[Conv, AvgPool, Concat] * 2, AvgPool, Conv]),
    "parts": (Parts, (3, 10, 8), 2, PARTS),
    "enlarged": (Enlarged, (3, 10, 8), 2, ENLARGED),
    "hourglass": (Hourglass, (3, 10, 8), 2, HOURGLASS),
    "perceptron": (Perceptron, (40,), 1, [Conv, Conv]),
}


@pytest.mark.parametrize("case", TRAINED_LIKE)
def test_network_from_torch_agrees_with_onnxruntime(case: str) -> None:
    build, shape, spread, kinds = TRAINED_LIKE[case]
    torch.manual_seed(7)
    model = build()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    content = quantize.quantize(model, np.float32(spread) * images(shape, 64, seed=1))
    network = importer.load(content)
    assert [type(layer) for layer in network.layers] == kinds
    assert network.input == "input"
    assert network.output == "output"
    x = np.float32(spread) * images(shape, 96, seed=2)
    assert_agrees(onnx.load_model_from_string(content), network, x)


def test_flattened_map_gives_a_weight_over_the_whole_map() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(4 * 3 * 5, 6))
    network = importer.load(quantize.quantize(model, images((2, 5, 7), 8, seed=0)))
    last = network.layers[-1]
    assert isinstance(last, Conv)
    assert last.fully_connected
    assert last.weight.shape == (6, 4, 3, 5)
    assert last.k is None
    assert network.tensor(last.inputs[0]).shape == (4, 3, 5)


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
    padding_of_a_whole_kernel: [Pad, Pad, Conv],
    dilated: [Conv, Pad, Conv],
    dilated_depthwise: [Conv],
    large_average: [Pad, AvgPool],
    cut_and_padded: [Pad, Pad, Conv],
    padded_maximum: [Pad, MaxPool],
    padded_sum: [AvgPool, *[Pad] * 6, Add],
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


def test_clamps_are_codes_of_their_real_bounds() -> None:
    graph, value = start()
    layer = importer.load(graph.model(clip_before_quantize(graph, value))).layers[0]
    assert (layer.lo, layer.hi) == (-39, 19)


def codes_of(g: Qdq, value: str, scale: float) -> str:
    return g.op("QuantizeLinear", value, g.constant(np.float32(scale)), g.constant(np.int8(3)))


def two_convolutions(g: Qdq, v: str, **attributes: Any) -> str:
    return g.pair(g.conv(v, **attributes), 0.1)


def uneven_pair(
    g: Qdq, v: str, scale: float, zero: int, second: float, point: int, dtype: type
) -> str:
    """Convolution whose DequantizeLinear takes the codes otherwise than they were made."""
    made = (g.constant(np.float32(scale)), g.constant(np.array(zero, dtype)))
    taken = (g.constant(np.float32(second)), g.constant(np.array(point, dtype)))
    codes = g.op("QuantizeLinear", g.conv(v), *made)
    return g.conv(g.op("DequantizeLinear", codes, *taken), 4)


REFUSED: dict[str, tuple[Callable[[Qdq, str], str], str]] = {
    "operator": (
        lambda g, v: g.pair(g.op("Sin", v), 0.1),
        r"Sin node 'sin\d+' is not supported, allowed are Add, .*; replace the operator or leave",
    ),
    "foreign operator": (
        lambda g, v: g.pair(g.op("Conv", v, domain="com.other"), 0.1),
        r"com.other.Conv node 'conv\d+' is not supported",
    ),
    "groups": (
        lambda g, v: g.pair(g.conv(v, 1, 4, group=3), 0.1),
        r"Conv node 'conv\d+' has a weight of 4 outputs for 1 channels in each of 3 groups where "
        r"its input has 3 channels; export the network again\.",
    ),
    "dilation": (
        lambda g, v: two_convolutions(g, v, dilations=[2, 200]),
        r"has a kernel of 3x3 with dilations \(2, 200\), which spans 5x401 pixels, allowed are si",
    ),
    "unequal strides": (
        lambda g, v: two_convolutions(g, v, strides=[1, 2]),
        r"has strides \(1, 2\), allowed is one stride for height and width",
    ),
    "kernel larger than the map": (
        lambda g, v: g.pair(g.op("MaxPool", v, kernel_shape=[11, 3]), 0.02, 5),
        r"has a kernel of 11x3 for a padded map of 9x9, allowed is a kernel up to the map",
    ),
    "padding that does not count": (
        lambda g, v: g.pair(
            g.op("AveragePool", v, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), 0.02, 5
        ),
        r"AveragePool node .* has pads \(1, 1, 1, 1\) that do not count \(count_include_pad = 0\)",
    ),
    "average with ceil_mode": (
        lambda g, v: g.pair(
            g.op("AveragePool", v, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), 0.02, 5
        ),
        r"has ceil_mode with windows beyond the map, .*; remove ceil_mode or pad the map\.",
    ),
    "NaN scale of weights": (
        lambda g, v: g.op("Conv", v, g.weight(np.ones((4, 3, 1, 1), np.int8), np.nan)),
        r"DequantizeLinear node .* has a scale that is not finite and positive \(NaN, .*train or",
    ),
    "NaN weights": (
        lambda g, v: g.pair(
            g.op("Conv", v, g.pair(g.constant(np.full((4, 3, 1, 1), np.nan, np.float32)), 0.1)), 0.1
        ),
        r"takes weights that are NaN or infinite, allowed are finite weights; train or load",
    ),
    "infinite bias": (
        lambda g, v: g.pair(
            g.op("Add", g.conv(v), g.constant(np.full((4, 1, 1), np.inf, np.float32))), 0.1
        ),
        r"Add node .* has a bias that is NaN or infinite",
    ),
    "zero scale of an activation": (
        lambda g, v: g.pair(g.conv(v), 0.0),
        r"has a scale that is not finite and positive",
    ),
    "weight of 255": (
        lambda g, v: g.pair(g.op("Conv", v, g.weight(np.full((4, 3, 1, 1), 255, np.uint8))), 0.1),
        r"has a weight whose codes run from 255 to 255 around their zero point, allowed are -254 ",
    ),
    "weight that is not quantized": (
        lambda g, v: g.pair(g.op("Conv", v, g.constant(np.ones((4, 3, 1, 1), np.float32))), 0.1),
        r"Conv node 'conv\d+' has a weight that is not quantized, allowed is int8; add",
    ),
    "one-dimensional weight": (
        lambda g, v: g.pair(g.op("Conv", v, g.weight(np.ones((4, 3, 3), np.int8))), 0.1),
        r"has a weight of 3 axes, allowed are 4",
    ),
    "channels that do not fit": (
        lambda g, v: g.pair(g.conv(v, channels=2), 0.1),
        r"has a weight of 4 outputs for 2 channels where its input has 3 channels; export the netw",
    ),
    "layer that is not quantized": (
        lambda g, v: g.pair(g.conv(g.op("Relu", g.conv(v)), 4), 0.1),
        r"Conv node .* takes 'relu\d+\.out', which is not quantized, as input 0, allowed is",
    ),
    "output that is not quantized": (
        lambda g, v: g.conv(v),
        r"Network output 'conv\d+\.out' is float, .*; add the missing quantizers with 'steelyard q",
    ),
    "reflection": (
        lambda g, v: g.pair(
            g.conv(g.op("Pad", v, g.constant(np.array([0, 0, 1, 1] * 2)), mode="reflect")), 0.1
        ),
        r"Pad node .* in mode 'reflect' with .*, allowed are zeros around height and width",
    ),
    "slice with gaps": (
        lambda g, v: g.pair(
            g.op("Slice", v, *(g.constant(np.array([n])) for n in (0, 9, 2, 2))), 0.02, 5
        ),
        r"Slice node .* has steps \[2\], allowed are parts without gaps \(1\); use a convolution",
    ),
    "slice of some images": (
        lambda g, v: g.pair(
            g.op("Slice", v, *(g.constant(np.array([n])) for n in (0, 9, 0))), 0.02, 5
        ),
        r"Slice node .* takes images 0 to 9 of a batch of any size, allowed are all images; give",
    ),
    "slice of a flattened map": (
        lambda g, v: g.pair(
            g.op("Slice", g.op("Flatten", v), *(g.constant(np.array([n])) for n in (0, 9, 1))), 0.02
        ),
        r"Slice node .* takes a tensor of shape \('batch', 243\), allowed is the unflattened",
    ),
    "transposed pixels": (
        lambda g, v: g.pair(g.op("Transpose", v, perm=[0, 2, 3, 1]), 0.02, 5),
        r"Transpose node .* reorders the axes of an activation, allowed is the order \(batch, chan",
    ),
    "smaller map": (
        lambda g, v: g.pair(
            g.op("Resize", v, "", g.constant(np.array([1, 1, 0.5, 1], np.float32)), mode="nearest"),
            0.02,
            5,
        ),
        r"Resize node .* resizes by \[1.0, 1.0, 0.5, 1.0\] along axes \[0, 1, 2, 3\], allowed are",
    ),
    "endless padding": (
        lambda g, v: g.pair(g.conv(v, pads=[1 << 40] * 4), 0.1),
        r"Tensor 'x' is padded by \(1099511627776, .*, allowed are up to 256 rows or columns on",
    ),
    "endless dilation": (
        lambda g, v: g.pair(
            g.op(
                "Conv",
                v,
                g.weight(np.ones((2000, 3, 3, 3), np.int8)),
                dilations=[120, 120],
                pads=[120] * 4,
            ),
            0.1,
        ),
        r"Conv node .* would become a convolution of 348486000 weights, allowed are 268435456; use",
    ),
    "endless stride": (
        lambda g, v: g.pair(
            g.op(
                "ConvTranspose",
                v,
                g.weight(np.ones((3, 2, 3, 3), np.int8), axis=1),
                strides=[1 << 40, 1 << 30],
            ),
            0.1,
        ),
        r"ConvTranspose node .* would become a convolution of \d+ weights, allowed are",
    ),
    "factor that is no number": (
        lambda g, v: g.pair(
            g.op(
                "Resize", v, "", g.constant(np.array([1, 1, np.nan, 1], np.float32)), mode="nearest"
            ),
            0.1,
        ),
        r"Resize node .* resizes by \[1.0, 1.0, nan, 1.0\] along axes",
    ),
    "factor without an end": (
        lambda g, v: g.pair(
            g.op(
                "Resize", v, "", g.constant(np.array([1, 1, 2, 1e30], np.float32)), mode="nearest"
            ),
            0.1,
        ),
        r"Resize node .* resizes by .* to sides of 65535; use nearest upsampling by a whole factor",
    ),
    "concatenation of a concatenation": (
        lambda g, v: g.pair(g.op("Concat", g.op("Concat", v, v, axis=1), v, axis=1), 0.1),
        r"Concat node .* takes 'concat\d+.out', which is not quantized, as input 0, allowed is",
    ),
    "concatenation of rows": (
        lambda g, v: g.pair(g.op("Concat", v, v, axis=2), 0.02, 5),
        r"Concat node .* joins along axis 2 of 4, allowed is the axis of channels \(1\); join al",
    ),
    "concatenation of other maps": (
        lambda g, v: g.pair(g.op("Concat", v, g.pair(g.conv(v), 0.1), axis=1), 0.02, 5),
        r"joins tensors of shapes \('batch', 3, 9, 9\), \('batch', 4, 7, 7\), allowed are shapes",
    ),
    "concatenation of other flattened maps": (
        lambda g, v: g.pair(
            g.op("Concat", g.op("Flatten", v), g.op("Flatten", g.pair(g.conv(v), 0.1)), axis=1), 1
        ),
        r"joins flattened maps of shapes .*, allowed are maps of one height and width; join the m",
    ),
    "concatenation of codes of other scales": (
        lambda g, v: g.op(
            "DequantizeLinear",
            g.op("Concat", codes_of(g, g.conv(v), 0.1), codes_of(g, g.conv(v), 0.2), axis=1),
            g.constant(np.float32(0.1)),
            g.constant(np.int8(3)),
        ),
        r"joins integer codes of different scales or zero points, allowed are equal ones; join",
    ),
    "shapes that differ": (
        lambda g, v: g.pair(g.op("Add", v, g.pair(g.conv(v), 0.1)), 0.1),
        r"adds tensors of shapes \('batch', 3, 9, 9\) and \('batch', 4, 7, 7\), only equal",
    ),
    "mean over channels": (
        lambda g, v: g.pair(g.op("ReduceMean", v, axes=[1]), 0.1),
        r"has axes \[1\], allowed is a mean over height \(2\), width \(3\) or both; use global",
    ),
    "sum of three": (
        lambda g, v: g.pair(g.op("Sum", v, v, v), 0.1),
        r"Sum node .* sums 3 values and rounds once, allowed are two; add them one after the other",
    ),
    "reshape that mixes images": (
        lambda g, v: g.pair(g.op("Reshape", v, g.constant(np.array([9, 27]))), 0.1),
        r"turns \('batch', 3, 9, 9\) into \(9, 27\), allowed are shapes of the same elements",
    ),
    "convolution of a flattened tensor": (
        lambda g, v: g.pair(g.conv(g.op("Flatten", v)), 0.1),
        r"takes a tensor of shape \('batch', 243\), allowed is the unflattened \('batch', 3",
    ),
    "16-bit activations": (
        lambda g, v: g.pair(g.conv(v), 0.1, 0, np.int16),
        r"quantizes an activation to int16, allowed are int8 and uint8",
    ),
    "scales by channel": (
        lambda g, v: g.pair(g.conv(v), [0.1, 0.2, 0.1, 0.2]),
        r"has 4 scales for an activation, one is allowed; quantize activations per tensor\.",
    ),
    "zero points of a pair that differ": (
        lambda g, v: uneven_pair(g, v, 0.1, 3, 0.1, 4, np.int8),
        r"has scale 0.1 and zero point 4 where the QuantizeLinear before it has "
        r"0.1 and 3, allowed are equal ones; make them equal, or ",
    ),
    "zero points of a pair that differ, unsigned": (
        lambda g, v: uneven_pair(g, v, 0.1, 131, 0.1, 3, np.uint8),
        r"and zero point 3 where the QuantizeLinear before it has .* and 131, allowed are equal",
    ),
    "scales of a pair that differ": (
        lambda g, v: uneven_pair(g, v, 0.1, 3, 0.2, 3, np.int8),
        r"has scale 0.2 and zero point 3 where the QuantizeLinear before it has 0.1",
    ),
    "ratio out of range": (
        lambda g, v: g.pair(g.conv(v), 1e-12),
        r"Layer 'conv\d+' has a scale ratio of 1.97\d*e\+08, allowed is less than 2\*\*23",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_graph_is_refused_in_one_sentence(case: str) -> None:
    build, sentence = REFUSED[case]
    graph, value = start()
    with pytest.raises(UserError, match=sentence) as caught:
        importer.load(graph.model(build(graph, value)))
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (
            (9, 9),
            "Network input 'x' has 3 axes, allowed are 4 (batch, channels, height, width) or 2",
        ),
        ((3, "rows", 9), "Axis 2 of network input 'x' has no fixed size, only the batch axis may"),
    ],
)
def test_input_of_a_wrong_shape_is_refused(shape: tuple[int | str, ...], sentence: str) -> None:
    graph, value = start(*shape)
    with pytest.raises(UserError, match=re.escape(sentence)):
        importer.load(graph.model(value))


def test_float_graph_is_sent_to_quantize(tmp_path: Any) -> None:
    path = tmp_path / "float.onnx"
    quantize.export_onnx(nn.Conv2d(3, 4, 3), images((3, 5, 5), 1, seed=0), path)
    with pytest.raises(UserError, match=r"is not quantized, .*; run 'steelyard quantize'"):
        importer.load(path)


def test_several_outputs_are_refused() -> None:
    graph, value = start()
    model = graph.model(value)
    model.graph.output.append(helper.make_empty_tensor_value_info("more"))
    with pytest.raises(UserError, match=r"has 2 outputs \('.*', 'more'\), one is allowed"):
        importer.load(model)


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


def test_sum_of_three_in_a_float_network_becomes_additions(tmp_path: Any) -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> sums (float[n,3,6,6] x) => (float[n,3,6,6] y)'
        " { a = Relu(x) b = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(x) y = Sum(a, x, b) }"
    )
    model = onnx.parser.parse_model(text)
    assert obstacles(model) == []
    onnx.save(model, tmp_path / "sums.onnx")
    content = quantize.quantize(tmp_path / "sums.onnx", images((3, 6, 6), 16, seed=1))
    network = importer.load(content)
    assert [type(layer) for layer in network.layers][-2:] == [Add, Add]
    assert_agrees(onnx.load_model_from_string(content), network, images((3, 6, 6), 60, seed=2))
