"""Every operator against TFLite's interpreter, layer by layer on its own codes."""

from __future__ import annotations

import numpy as np
import pytest

from steelyard.errors import Obstacles
from steelyard.importer import load
from steelyard.network import golden
from tflite_cases import CASES, IMAGES, KERNELS, SHAPE, ZEROS
from tflite_models import (
    AGREEMENT,
    RELU6,
    RELU_N1_TO_1,
    Net,
    agreement,
    interpreted,
    planes,
)


@pytest.mark.parametrize("zero", ZEROS)
@pytest.mark.parametrize("name", CASES)
def test_a_layer_agrees_with_the_interpreter(name: str, zero: int) -> None:
    net = Net(SHAPE, seed=[*CASES].index(name), zero=zero)
    content = net.made(CASES[name](net))
    network = load(content)
    shares = agreement(content, net.images(IMAGES), network, KERNELS.get(name, False))
    if name not in KERNELS:
        # What requantizes for others is held to its own case's kernels.
        made = net.made_by()
        shares = {layer: share for layer, share in shares.items() if made[layer] != "QUANTIZE"}
    assert shares and min(shares.values()) >= AGREEMENT, shares


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "name", ["ELU", "GELU", "HARD_SWISH", "LEAKY_RELU", "LOGISTIC", "PRELU", "TANH"]
)
def test_tables_are_the_interpreters_at_every_code(name: str, seed: int) -> None:
    net = Net((16, 16, 1), seed=seed, zero=int(np.random.default_rng(seed).integers(-128, 128)))
    x = net.tensors[net.input]
    x.scale = (float(net.rng.uniform(0.005, 0.2)),)
    ratio, zero = float(net.rng.uniform(0.2, 1.5)), int(net.rng.integers(-128, 1))
    fixed = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}
    scale, zero = fixed.get(name, (x.scale[0] * ratio, zero))
    options = {"LEAKY_RELU": {"Alpha": 0.3 * ratio}, "GELU": {"Approximate": seed % 2 == 1}}
    y = net.tensor(x.shape, scale, zero)
    inputs = (net.input,)
    if name == "PRELU":
        inputs = (net.input, net.constant(np.array([57], np.int8), 0.004, -20))
    content = net.made(net.op(name, inputs, y, **options.get(name, {})))
    codes = np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16, 1)
    (share,) = agreement(content, codes, load(content)).values()
    assert share == 1, (name, seed)


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
    net = Net((9, 9, 64), seed=6, zero=-128)
    content = net.made(net.pool("AVERAGE_POOL_2D", net.input, (4, 4), 5))
    images = net.images(IMAGES)
    network = load(content)
    found = golden.run(network, planes(images, (64, 9, 9)))
    right = planes(interpreted(content, images)[network.output], found.shape[1:])
    # No window holds the row and the column in the middle.
    taken = np.delete(np.delete(images, 4, axis=1), 4, axis=2)
    sums = planes(taken, (64, 8, 8)).astype(int).reshape(-1, 64, 2, 4, 2, 4).sum((3, 5))
    differs = found != right
    assert 0.9 < np.mean(~differs) < 1
    assert np.all(sums[differs] % 16 == 8)
    assert np.abs(found.astype(int) - right).max() == 1


def test_a_name_that_a_layer_takes_on_the_way_is_refused() -> None:
    """A file's tensor is called as one that a layer makes on the way."""
    net = Net((5, 4, 3), seed=1)
    x = net.like(net.input, (5, 4, 3))
    net.tensors[x].name = "tensor 3/middle"
    x = net.op("RELU", (net.input,), x)
    counts = net.constant(np.array([[0, 0], [1, 1], [0, 0], [0, 0]], np.int32))
    content = net.made(net.op("MIRROR_PAD", (x, counts), net.like(x, (7, 4, 3)), Mode=0))
    with pytest.raises(Obstacles, match="makes a second tensor 'tensor 3/middle'; give the file's"):
        load(content)


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


@pytest.mark.parametrize("steps", [40.3, 40.5, 40.7, 41.5, 255.6])
@pytest.mark.parametrize(("act", "most"), [(RELU6, 6), (RELU_N1_TO_1, 1)])
def test_bounds_of_clamps_are_rounded_as_the_interpreter_does(
    act: int, most: int, steps: float
) -> None:
    net = Net((4, 4, 3), seed=15)
    y = net.depthwise(net.input, act=act)
    output = net.tensors[y]
    output.scale, output.zero = (most / steps,), (-100,)
    # Weights that reach both bounds everywhere.
    weight = net.tensors[net.operators[0].inputs[1]]
    weight.scale = (most / 100,) * 3
    net.tensors[net.operators[0].inputs[2]].scale = tuple(
        net.tensors[net.input].scale[0] * each for each in weight.scale
    )
    content = net.made(y)
    network = load(content)
    images = net.images(50)
    found = golden.run(network, planes(images, (3, 4, 4)))
    right = planes(interpreted(content, images)[network.output], found.shape[1:])
    assert (found.min(), found.max()) == (right.min(), right.max())
    assert np.mean(found == right) >= AGREEMENT
