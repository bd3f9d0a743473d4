"""Every operator against TFLite's interpreter, layer by layer on its own codes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from steelyard.importer import load
from steelyard.network import golden
from tflite_models import (
    AGREEMENT,
    RELU,
    RELU6,
    SAME,
    VALID,
    Net,
    agreement,
    interpreted,
    planes,
)

SHAPE = (9, 8, 6)
"""Height, width and channels of the input."""
IMAGES = 40


def concatenated(n: Net) -> int:
    a = n.conv(n.input, 5, act=RELU)
    b = n.conv(n.input, 7, (1, 1))
    b = n.op("QUANTIZE", (b,), n.like(a, (9, 8, 7)))
    y = n.like(a, (9, 8, 12))
    return n.conv(n.op("CONCATENATION", (a, b), y, Axis=-1, FusedActivationFunction=0), 4, (1, 1))


def concatenated_vectors(n: Net) -> int:
    a, b = n.mean(n.input), n.pool("MAX_POOL_2D", n.input, (9, 8), 1)
    b = n.op("QUANTIZE", (n.reshaped(b, (6,)),), n.like(a, (6,)))
    y = n.like(a, (12,))
    return n.dense(n.op("CONCATENATION", (a, b), y, Axis=1, FusedActivationFunction=0), 5)


def padded(n: Net) -> int:
    pads = n.constant(np.array([[0, 0], [1, 2], [9, 0], [0, 0]], np.int32))
    return n.conv(n.op("PAD", (n.input, pads), n.like(n.input, (12, 17, 6))), 4, padding=VALID)


def resized(n: Net, factors: tuple[int, int], **options: bool) -> int:
    size = (9 * factors[0], 8 * factors[1])
    target = n.constant(np.array(size, np.int32))
    y = n.like(n.input, (*size, 6))
    return n.op("RESIZE_NEAREST_NEIGHBOR", (n.input, target), y, **options)


def squeezed(n: Net) -> int:
    return n.dense(n.reshaped(n.mean(n.input, keep=True), (6,), "SQUEEZE"), 7)


def flattened(n: Net) -> int:
    y = n.conv(n.input, 4, act=RELU)
    return n.dense(n.reshaped(y, (9 * 8 * 4,)), 10)


def flattened_by_the_layer(n: Net) -> int:
    return n.dense(n.conv(n.input, 4), 10, act=RELU)


def added(n: Net) -> int:
    return n.add(n.conv(n.input, 6), n.input, act=RELU)


CASES: dict[str, Callable[[Net], int]] = {
    "conv": lambda n: n.conv(n.input, 8),
    "conv one scale": lambda n: n.conv(n.input, 8, per_channel=False),
    "conv valid, stride 2": lambda n: n.conv(n.input, 8, stride=2, padding=VALID),
    "conv same, stride 2": lambda n: n.conv(n.input, 8, stride=2),
    "conv even kernel": lambda n: n.conv(n.input, 8, (2, 4), act=RELU6),
    "conv large kernel": lambda n: n.conv(n.input, 8, (9, 4), stride=2),
    "conv grouped": lambda n: n.conv(n.input, 8, groups=2),
    "conv one row": lambda n: n.conv(n.input, 8, (9, 3), padding=VALID, strides=(3, 2)),
    "depthwise": lambda n: n.depthwise(n.input, act=RELU6),
    "depthwise same, stride 2": lambda n: n.depthwise(n.input, 2, (5, 3), stride=2, act=RELU),
    "depthwise valid": lambda n: n.depthwise(n.input, padding=VALID),
    "flattened": flattened,
    "flattened by the layer": flattened_by_the_layer,
    "per channel": lambda n: n.dense(n.conv(n.input, 4), 10, per_channel=True),
    "add": added,
    "max pool": lambda n: n.pool("MAX_POOL_2D", n.input, (2, 2), 2, act=RELU),
    "max pool same": lambda n: n.pool("MAX_POOL_2D", n.input, (3, 3), 2, SAME),
    "average pool 3x3": lambda n: n.pool("AVERAGE_POOL_2D", n.input, (3, 3), 1, act=RELU),
    "average pool 2x2": lambda n: n.pool("AVERAGE_POOL_2D", n.input, (2, 2), 2),
    "average pool 9x8": lambda n: n.pool("AVERAGE_POOL_2D", n.input, (9, 8), 8),
    "average pool 4x2": lambda n: n.pool("AVERAGE_POOL_2D", n.input, (4, 2), 1, act=RELU),
    "mean": lambda n: n.mean(n.input),
    "mean, axes kept": lambda n: n.mean(n.input, keep=True, axes=(-3, -2)),
    "pad": padded,
    "concatenation": concatenated,
    "concatenated vectors": concatenated_vectors,
    "resize": lambda n: resized(n, (2, 3)),
    "resize rows": lambda n: resized(n, (4, 1), HalfPixelCenters=True),
    "resize corners": lambda n: resized(n, (2, 2), AlignCorners=True),
    "resize nothing": lambda n: resized(n, (1, 1)),
    "squeeze": squeezed,
    "relu": lambda n: n.op("RELU", (n.input,), n.rescaled(n.input, SHAPE, 0.7)),
    "relu6": lambda n: n.op("RELU6", (n.input,), n.rescaled(n.input, SHAPE, 0.03, zero=-128)),
    "quantize": lambda n: n.op("QUANTIZE", (n.input,), n.rescaled(n.input, SHAPE, 1.4)),
}


@pytest.mark.parametrize("zero", [3, -128, 40])
@pytest.mark.parametrize("name", CASES)
def test_a_layer_agrees_with_the_interpreter(name: str, zero: int) -> None:
    net = Net(SHAPE, seed=[*CASES].index(name), zero=zero)
    content = net.made(CASES[name](net))
    network = load(content)
    # By default that operator computes with a multiplier of 8 bits.
    shares = agreement(content, net.images(IMAGES), network, reference=name == "quantize")
    assert shares and min(shares.values()) >= AGREEMENT, shares
    print(name, zero, shares)


@pytest.mark.parametrize("zero", [-128, -127, -71, -2, -1, 0, 1, 2, 64, 127])
@pytest.mark.parametrize("kernel", [(1, 2), (2, 2), (4, 4), (8, 8)])
def test_means_of_codes_are_rounded_as_the_interpreter_does(
    kernel: tuple[int, int], zero: int
) -> None:
    net = Net((8, 8, 64), seed=5, zero=zero)
    content = net.made(net.pool("AVERAGE_POOL_2D", net.input, kernel, min(kernel[1], 2)))
    # Few codes apart, at all heights, so that many means are halves.
    base = np.arange(-128, 128).reshape(4, 1, 1, 64)
    images = np.clip(base + net.rng.integers(-1, 2, (4, 8, 8, 64)), -128, 127).astype(np.int8)
    (share,) = agreement(content, images, load(content)).values()
    assert share == 1


def test_windows_that_no_convolution_takes_differ_at_halves_alone() -> None:
    net = Net((8, 8, 64), seed=6, zero=-128)
    content = net.made(net.pool("AVERAGE_POOL_2D", net.input, (4, 4), 4))
    images = net.images(IMAGES)
    network = load(content)
    found = golden.run(network, planes(images, (64, 8, 8)))
    right = planes(interpreted(content, images)[network.output], found.shape[1:])
    sums = planes(images, (64, 8, 8)).astype(int).reshape(-1, 64, 2, 4, 2, 4).sum((3, 5))
    differs = found != right
    assert 0.9 < np.mean(~differs) < 1
    assert np.all(sums[differs] % 16 == 8)
    assert np.abs(found.astype(int) - right).max() == 1


def test_softmax_is_left_to_the_host_and_said_so() -> None:
    net = Net(SHAPE, seed=7)
    logits = net.dense(net.conv(net.input, 4), 10)
    content = net.made(net.op("SOFTMAX", (logits,), net.tensor((1, 10), 1 / 256, -128), Beta=1.0))
    said: list[str] = []
    network = load(content, said.append)
    assert network.output == f"tensor {logits}"
    (sentence,) = said
    assert sentence.startswith("SOFTMAX operator 2 (")
    assert (
        f"left to the host: the network's output is what it takes, {network.output!r}" in sentence
    )
    assert min(agreement(content, net.images(IMAGES), network).values()) >= AGREEMENT


@pytest.mark.parametrize("type", [np.float32, np.uint8])
def test_input_and_output_may_be_of_another_type(type: type) -> None:
    net = Net(SHAPE, seed=8)
    inner = net.input
    scale, zero = net.tensors[inner].scale, net.tensors[inner].zero[0]
    outer = net.tensor((1, *SHAPE), scale, zero + 128, dtype=type, name="given")
    if type is np.float32:
        outer = net.tensor((1, *SHAPE), dtype=type, name="real")
    net.inputs = [outer]
    net.op("QUANTIZE", (outer,), inner)
    y = net.conv(inner, 4)
    last = net.tensors[y]
    if type is np.float32:
        end = net.op("DEQUANTIZE", (y,), net.tensor(last.shape, dtype=type, name="end"))
    else:
        z = net.tensor(last.shape, last.scale, last.zero[0] + 128, dtype=type, name="end")
        end = net.op("QUANTIZE", (y,), z)
    content = net.made(end)
    network = load(content)
    codes = net.images(20)
    given = (codes.astype(np.int16) + 128).astype(np.uint8)
    if type is np.float32:
        given = ((codes.astype(np.float64) - zero) * scale[0]).astype(np.float32)
    expected = interpreted(content, given)
    x = network.tensor(network.input)
    assert (x.name, x.zero_point) == ("given" if type is np.uint8 else "real", zero)
    found = golden.run(network, planes(codes, x.shape))
    right = planes(expected[last.name], found.shape[1:])
    assert np.mean(found == right) >= AGREEMENT
