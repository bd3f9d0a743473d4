"""Networks made layer by layer."""

import doctest

import numpy as np
import pytest

from steelyard.errors import UserError
from steelyard.network import Add, Conv, MaxPool, Network, NetworkBuilder, Tensor, golden
from steelyard.network import builder as builder_module


def _weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).integers(-127, 128, shape, np.int8)


def test_the_example_of_the_class_runs():
    result = doctest.testmod(builder_module)
    assert result.attempted > 5 and result.failed == 0


def test_layers_follow_each_other_and_shapes_follow_from_them():
    builder = NetworkBuilder("net", (3, 9, 8), scale=0.5, zero_point=7)
    builder.conv(_weight(4, 3, 3, 3), stride=2, padding=(1, 0, 1, 0), scale=0.25, zero_point=-3)
    builder.max_pool((2, 3))
    builder.avg_pool(name="mean", scale=0.125)
    builder.fully_connected(_weight(5, 4), output="scores", k=3, lo=-7)
    network = builder.network()
    assert [(layer.name, layer.inputs, layer.output) for layer in network.layers] == [
        ("conv0", ("input",), "conv0"),
        ("max_pool1", ("conv0",), "max_pool1"),
        ("mean", ("max_pool1",), "mean"),
        ("fc3", ("mean",), "scores"),
    ]
    assert list(network.tensors.values()) == [
        Tensor("input", (3, 9, 8), 0.5, 7),
        Tensor("conv0", (4, 5, 3), 0.25, -3),
        Tensor("max_pool1", (4, 4, 1), 0.25, -3),
        Tensor("mean", (4, 1, 1), 0.125, -3),
        Tensor("scores", (5, 1, 1), 0.125, -3),
    ]
    assert (network.layers[3].k, network.layers[3].lo, network.layers[3].kind) == (3, -7, "fc")
    assert (network.input, network.output, network.output_view) == ("input", "scores", (5,))


def test_multipliers_follow_from_the_scales():
    """Codes times scales are the real values, within half a step of the output."""
    rng = np.random.default_rng(1)
    scales = rng.uniform(0.001, 0.01, 4)
    builder = NetworkBuilder("net", (2, 6, 6), scale=0.02, zero_point=-11)
    weight, bias = _weight(4, 2, 3, 3), rng.integers(-500, 500, 4)
    conv = builder.conv(weight, bias=bias, weight_scale=scales, scale=0.05, zero_point=4)
    mean = builder.avg_pool(2, conv, scale=0.03, zero_point=9)
    part = builder.avg_pool((2, 2), conv, scale=0.07, zero_point=-9, output="part")
    builder.add(mean, part, scale=0.1, zero_point=1)
    network = builder.network()
    x = rng.integers(-128, 128, (3, 2, 6, 6), np.int8)
    traced = golden.run(network, x, trace=True)
    real = {name: network.tensor(name).dequantize(codes) for name, codes in traced.items()}
    windows = np.lib.stride_tricks.sliding_window_view(real["input"], (3, 3), axis=(2, 3))
    shown = np.einsum("bchwyx,ocyx->bohw", windows, weight * scales[:, None, None, None])
    shown += (bias * scales * 0.02)[:, None, None]
    inside = (traced[conv] > -128) & (traced[conv] < 127)
    assert np.abs(real[conv] - shown)[inside].max() <= 0.5 * 0.05 * 1.001
    cells = np.lib.stride_tricks.sliding_window_view(real[conv], (2, 2), axis=(2, 3))
    for name, scale in ((mean, 0.03), (part, 0.07)):
        inside = (traced[name] > -128) & (traced[name] < 127)
        assert inside.mean() > 0.5
        assert np.abs(real[name] - cells.mean(axis=(4, 5)))[inside].max() <= 0.5 * scale * 1.001
    total = network.output
    inside = (traced[total] > -128) & (traced[total] < 127)
    assert np.abs(real[total] - real[mean] - real[part])[inside].max() <= 0.5 * 0.1 * 1.001


def test_what_is_given_stands_in_the_layer():
    builder = NetworkBuilder("net", (1, 4, 4), input="x")
    a = builder.conv(_weight(2, 1, 1, 1), bias=[5, -5], multiplier=[3, 4], shift=9)
    b = builder.max_pool(3, a, padding=1, name="pool", output="b")
    builder.add(a, b, multipliers=(6, 7), shift=8)
    conv, pool, add = builder.network().layers
    assert isinstance(conv, Conv) and isinstance(pool, MaxPool) and isinstance(add, Add)
    assert [each.dtype for each in (conv.bias, conv.multiplier, conv.shift)] == [np.int32] * 3
    assert conv.bias.tolist() == [5, -5] and conv.multiplier.tolist() == [3, 4]
    assert conv.shift.tolist() == [9, 9]
    assert (pool.kernel, pool.stride, pool.padding) == ((3, 3), (1, 1), (1, 1, 1, 1))
    assert (add.inputs, add.multiplier_a, add.multiplier_b, add.shift) == (("conv0", "b"), 6, 7, 8)


def test_layers_that_the_output_does_not_need_are_left_out():
    builder = NetworkBuilder("net", (1, 4, 4))
    first = builder.max_pool(2)
    builder.avg_pool(2, first)
    network = builder.network(first)
    assert [layer.name for layer in network.layers] == ["max_pool0"]
    assert set(network.tensors) == {"input", "max_pool0"}
    assert len(builder.network().layers) == 2 == len(builder.layers)
    empty = NetworkBuilder("none", (2, 3, 4)).network()
    assert isinstance(empty, Network) and empty.output == "input"


BAD = [
    (lambda b: b.max_pool(2, "y"), "Layer 'max_pool0': input 'y' is not made before it"),
    (lambda b: b.conv(_weight(1, 3, 1, 1), "y"), "Layer 'conv0': input 'y' is not made before it"),
    (lambda b: b.add("input", "y"), "Layer 'add0': input 'y' is not made before it"),
    (lambda b: b.max_pool(2, output="input"), "Layer 'max_pool0': output 'input' is made twice"),
    (
        lambda b: b.max_pool(9),
        "Layer 'max_pool0': A kernel of 9x9 does not fit a padded map",
    ),
    (lambda b: b.max_pool(2, stride=0), "Layer 'max_pool0': stride must be an integer from 1"),
    (lambda b: b.conv(_weight(2, 27)), "Layer 'conv0': the weight must be int8 (out_channels, "),
    (lambda b: b.conv(_weight(2, 2, 3, 3)), "Layer 'conv0': the weight has 2 input channels where"),
    (lambda b: b.conv(_weight(2, 3, 3, 3), bias=0.5), "Layer 'conv0': the bias must be int32 (2,)"),
    (lambda b: b.conv(_weight(2, 3, 3, 3), bias=1 << 31), "Layer 'conv0': the bias must be int32 "),
    (lambda b: b.conv(_weight(2, 3, 3, 3), bias=[1]), "Layer 'conv0': the bias must be int32 (2,)"),
    (
        lambda b: b.conv(_weight(2, 3, 3, 3), shift=3),
        "Layer 'conv0': give both multiplier and",
    ),
    (lambda b: b.conv(_weight(2, 3, 3, 3), scale=0.0), "Layer 'conv0': the scale must be positive"),
    (lambda b: b.avg_pool(2, multiplier=3), "Layer 'avg_pool0': give both multiplier and"),
    (
        lambda b: b.add("input", "input", shift=3),
        "Layer 'add0': give both multipliers",
    ),
    (lambda b: b.fully_connected(_weight(5, 59)), "Layer 'fc0': the weight has 59 inputs where"),
]


@pytest.mark.parametrize("step, sentence", BAD)
def test_a_layer_that_does_not_fit_is_named(step, sentence):
    builder = NetworkBuilder("net", (3, 4, 5))
    with pytest.raises(UserError) as info:
        step(builder)
        builder.network()
    assert str(info.value).startswith(sentence)
    assert str(info.value).endswith(".") and "\n" not in str(info.value)


def test_channels_and_pixels_that_only_move():
    """Against numpy, and what torch and ONNX call these functions."""
    rng = np.random.default_rng(3)
    builder = NetworkBuilder("net", (12, 3, 2), scale=0.5, zero_point=7)
    made = {
        "sliced": builder.slice_channels(5, 4, "input"),
        "padded": builder.pad((1, 0, 2, 3), "input"),
        "cut": builder.pad((-1, 0, 0, -1), "input"),
        "shuffled": builder.shuffle(3, "input"),
        "up": builder.upsample((2, 3), "input"),
        "dcr": builder.depth_to_space(2, "input", output="dcr"),
        "crd": builder.depth_to_space(2, "input", inside=True),
    }
    x = rng.integers(-128, 128, (2, 12, 3, 2), np.int8)
    blocks = x.reshape(2, 2, 2, 3, 3, 2), x.reshape(2, 3, 2, 2, 3, 2)
    expected = {
        "sliced": x[:, 5:9],
        "padded": np.pad(x, ((0, 0), (0, 0), (1, 2), (0, 3)), constant_values=7),
        "cut": x[:, :, 1:, :1],
        "shuffled": x.reshape(2, 3, 4, 3, 2).swapaxes(1, 2).reshape(x.shape),
        "up": x.repeat(2, axis=2).repeat(3, axis=3),
        "dcr": blocks[0].transpose(0, 3, 4, 1, 5, 2).reshape(2, 3, 6, 4),
        "crd": blocks[1].transpose(0, 1, 4, 2, 5, 3).reshape(2, 3, 6, 4),
    }
    assert made["dcr"] == "dcr"
    for name, output in made.items():
        found = golden.run(builder.network(output), x)
        np.testing.assert_array_equal(found, expected[name], err_msg=name)


def test_a_concatenation_requantizes_what_has_other_codes():
    builder = NetworkBuilder("net", (2, 3, 3), scale=0.5, zero_point=7)
    other = builder.avg_pool(1, scale=0.25, zero_point=-3)
    joined = builder.concat("input", other, "input", scale=0.5, zero_point=7)
    network = builder.network()
    assert [layer.name for layer in network.layers] == ["avg_pool0", "concat1/part 1", "concat1"]
    assert network.tensor(joined) == Tensor("concat1", (6, 3, 3), 0.5, 7)
    x = np.random.default_rng(1).integers(-40, 40, (1, 2, 3, 3), np.int8)
    np.testing.assert_array_equal(golden.run(network, x), np.concatenate([x, x, x], axis=1))


def test_a_depth_to_space_that_does_not_divide_is_refused():
    for channels in (2, 6):
        builder = NetworkBuilder("net", (channels, 3, 3))
        for inside in (False, True):
            with pytest.raises(UserError, match=f"{channels} channels cannot be cut into 4 equal"):
                builder.depth_to_space(2, "input", inside=inside)
