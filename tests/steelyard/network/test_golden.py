"""The golden model against a direct evaluation of the number contract in Python integers."""

from fractions import Fraction

import numpy as np
import pytest

from steelyard.errors import UserError
from steelyard.network import (
    Add,
    AvgPool,
    Conv,
    MaxPool,
    Network,
    Tensor,
    golden,
    output_size,
    requantize,
)
from steelyard.network.kinds import conv as conv_module
from steelyard.network.random import random_input, random_network


def _round_half_even(numerator: int, shift: int) -> int:
    # Python's round of a fraction is round-half-even by definition.
    return round(Fraction(numerator, 1 << shift))


def _clamp(value: int, lo: int, hi: int) -> int:
    return max(lo, min(hi, value))


def _pixel(image, channel, y, x, outside):
    _, height, width = image.shape
    return int(image[channel, y, x]) if 0 <= y < height and 0 <= x < width else outside


def _direct(network, layer, *images):
    """One image through one layer by loops over Python integers."""
    y_tensor = network.tensor(layer.output)
    z_x, z_y = network.tensor(layer.inputs[0]).zero_point, y_tensor.zero_point
    output = np.empty(y_tensor.shape, np.int64)
    for oc, oy, ox in np.ndindex(*y_tensor.shape):
        if isinstance(layer, Add):
            z_b = network.tensor(layer.inputs[1]).zero_point
            a, b = (int(image[oc, oy, ox]) for image in images)
            total = (a - z_x) * layer.multiplier_a + (b - z_b) * layer.multiplier_b
            code = z_y + _round_half_even(total, layer.shift)
            output[oc, oy, ox] = _clamp(code, layer.lo, layer.hi)
            continue
        (image,) = images
        kernel = layer.weight.shape[2:] if isinstance(layer, Conv) else layer.kernel
        top, left = oy * layer.stride[0] - layer.padding[0], ox * layer.stride[1] - layer.padding[1]
        taps = [(ky, kx) for ky in range(kernel[0]) for kx in range(kernel[1])]
        if isinstance(layer, Conv):
            total = int(layer.bias[oc]) + sum(
                int(layer.weight[oc, ic, ky, kx])
                * (_pixel(image, ic, top + ky, left + kx, z_x) - z_x)
                for ic in range(image.shape[0])
                for ky, kx in taps
            )
            product = total * int(layer.multiplier[oc])
            code = z_y + _round_half_even(product, int(layer.shift[oc]))
        elif isinstance(layer, AvgPool):
            total = sum(_pixel(image, oc, top + ky, left + kx, z_x) - z_x for ky, kx in taps)
            code = z_y + _round_half_even(total * layer.multiplier, layer.shift)
        else:
            code = max(_pixel(image, oc, top + ky, left + kx, -128) for ky, kx in taps)
        output[oc, oy, ox] = _clamp(code, layer.lo, layer.hi)
    return output.astype(np.int8)


def _check(network, *inputs):
    """All images of the only layer against the direct evaluation."""
    (layer,) = network.layers
    found = golden.layer(network, layer, *inputs)
    wanted = np.stack([_direct(network, layer, *images) for images in zip(*inputs, strict=True)])
    np.testing.assert_array_equal(found, wanted)
    return found


def _conv(
    rng,
    *,
    channels=(3, 2),
    size=(5, 4),
    kernel=(3, 3),
    stride=(1, 1),
    padding=(0, 0, 0, 0),
    zero_points=(5, -7),
    weight=None,
    bias=None,
    multiplier=None,
    shift=None,
    clamp=(-128, 127),
):
    ic, oc = channels
    shape = (oc, ic, *kernel)
    if weight is None:
        weight = rng.integers(-127, 128, shape).astype(np.int8)
    if bias is None:
        bias = rng.integers(-5000, 5000, oc).astype(np.int32)
    if multiplier is None:
        multiplier = rng.integers(1 << 20, 1 << 24, oc).astype(np.int32)
    if shift is None:
        shift = rng.integers(30, 34, oc).astype(np.int32)
    out = output_size(size, kernel, stride, padding)
    layer = Conv(
        name="conv", inputs=("x",), output="y", weight=weight, bias=bias, multiplier=multiplier,
        shift=shift, stride=stride, padding=padding, lo=clamp[0], hi=clamp[1],
    )  # fmt: skip
    return _single(layer, {"x": (ic, *size)}, (oc, *out), zero_points)


def _single(layer, inputs, output, zero_points):
    tensors = {
        name: Tensor(name, shape, 0.5, zero)
        for (name, shape), zero in zip([*inputs.items(), ("y", output)], zero_points, strict=True)
    }
    return _one_input(layer, tensors)


def _one_input(layer, tensors):
    return Network("single", layer.inputs[0], ("y",), tensors, (layer,))


def _images(rng, network, count=2):
    return rng.integers(-128, 128, (count, *network.tensor("x").shape)).astype(np.int8)


@pytest.mark.parametrize("kernel", [(1, 1), (2, 3), (3, 3), (4, 1), (5, 5), (6, 7), (7, 7)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (1, 3)])
def test_convolution_equals_direct_evaluation(kernel, stride):
    rng = np.random.default_rng(kernel[0] * 100 + kernel[1] * 10 + sum(stride))
    top, bottom = (int(v) for v in rng.integers(0, kernel[0], 2))
    left, right = (int(v) for v in rng.integers(0, kernel[1], 2))
    size = (max(3, kernel[0] - top), max(4, kernel[1] - left))
    network = _conv(
        rng, size=size, kernel=kernel, stride=stride, padding=(top, left, bottom, right)
    )
    found = _check(network, _images(rng, network))
    assert found.std() > 5, "the example saturates and proves little"


@pytest.mark.parametrize("padding", [(1, 0, 0, 0), (0, 2, 0, 0), (0, 0, 2, 0), (0, 0, 0, 1)])
@pytest.mark.parametrize("zero_point", [-128, 0, 127])
def test_each_side_is_padded_with_the_zero_point(padding, zero_point):
    rng = np.random.default_rng(1)
    network = _conv(rng, padding=padding, zero_points=(zero_point, 3))
    _check(network, _images(rng, network))


@pytest.mark.parametrize("sign", [-127, 127])
@pytest.mark.parametrize("code", [-128, 127])
@pytest.mark.parametrize("zero_point", [-128, 127])
def test_extreme_weights_and_activations_stay_exact(sign, code, zero_point):
    rng = np.random.default_rng(2)
    weight = np.full((1, 24, 7, 7), sign, np.int8)
    # 24 * 49 * 127 * 255 exceeds 2**24, and the shift keeps the low bits of the sum visible.
    total = 24 * 49 * sign * (code - zero_point)
    network = _conv(
        rng, channels=(24, 1), size=(7, 7), kernel=(7, 7), weight=weight,
        zero_points=(zero_point, 0), bias=np.array([13 - total], np.int32),
        multiplier=np.array([1 << 20], np.int32), shift=np.array([20], np.int32),
    )  # fmt: skip
    images = np.full((1, 24, 7, 7), code, np.int8)
    assert _check(network, images).item() == 13


def test_sums_beyond_float32_are_exact():
    rng = np.random.default_rng(3)
    weight = np.full((1, 600, 3, 3), 127, np.int8)
    weight[0, 0, 0, 0] = 1
    bias = np.array([-127 * 127 * 5399 - 1 * 127], np.int32)
    network = _conv(
        rng, channels=(600, 1), size=(3, 3), weight=weight, bias=bias, zero_points=(0, 0),
        multiplier=np.array([1 << 10], np.int32), shift=np.array([10], np.int32),
    )  # fmt: skip
    assert network.layers[0].accumulator_bound().max() > conv_module.FLOAT32_EXACT
    images = np.full((3, 600, 3, 3), 127, np.int8)
    images[1, 0, 0, 0] = 126
    images[2, 0, 0, 0] = 120
    assert golden.run(network, images).ravel().tolist() == [0, -1, -7]


@pytest.mark.parametrize("more", [-1, 0, 1, 2])
def test_sums_at_the_bound_of_float32_are_exact(more):
    """The largest sum of a layer is 2**24 + more: from 2**24 + 1 on float32 has gaps."""
    # All weights negative and all codes -128: every sum is as large as its bound.
    total = (1 << 24) + more
    weight = np.zeros((1, 1100, 1, 1), np.int64)
    weight[0, : total // (127 * 128)] = -127
    # What is left of the bound in units of 128, and the rest by two weights with other codes.
    left = total - 128 * 127 * (total // (127 * 128))
    weight[0, 1098] = -(left // 128)
    codes = np.full((1, 1100, 1, 1), -128, np.int64)
    if left % 128:
        weight[0, 1099] = -1
        codes[0, 1099] = -(left % 128)
    network = _conv(
        np.random.default_rng(0), channels=(1100, 1), size=(1, 1), kernel=(1, 1),
        weight=weight.astype(np.int8), bias=np.array([-(1 << 24)], np.int32),
        multiplier=np.array([1 << 10], np.int32), shift=np.array([10], np.int32),
        zero_points=(0, 0),
    )  # fmt: skip
    assert golden.run(network, codes.astype(np.int8)).item() == more


@pytest.mark.parametrize("beyond", [0, 1])
def test_float32_sums_are_used_up_to_their_bound_and_no_further(beyond, monkeypatch):
    rng = np.random.default_rng(6)
    network = _conv(rng, channels=(1100, 2), size=(1, 1), kernel=(1, 1))
    bound = int(network.layers[0].accumulator_bound().max())
    monkeypatch.setattr(conv_module, "FLOAT32_EXACT", bound - beyond)
    seen = []
    pad = conv_module.pad
    monkeypatch.setattr(conv_module, "pad", lambda *args: seen.append(args[-1]) or pad(*args))
    golden.run(network, _images(rng, network))
    assert set(seen) == {np.float64 if beyond else np.float32}


@pytest.mark.parametrize(
    "bias, multiplier, wanted",
    [
        (1640724499, 6090213, 35),
        (1195973563, 9531763, 41),
        (1931815843, 9543669, 65),
        (1749803089, 10053809, 63),
    ],
)
def test_a_product_next_to_a_tie_is_not_taken_for_it(bias, multiplier, wanted):
    # One unit from a tie, in more bits than float64 has; a tie would go to the other neighbour.
    assert abs(2 * bias * multiplier % (1 << 49) - (1 << 48)) == 2
    network = _conv(
        np.random.default_rng(0), channels=(1, 1), size=(1, 1), kernel=(1, 1),
        weight=np.zeros((1, 1, 1, 1), np.int8), bias=np.array([bias], np.int32),
        multiplier=np.array([multiplier], np.int32), shift=np.array([48], np.int32),
        zero_points=(1, 0),
    )  # fmt: skip
    assert golden.run(network, np.zeros((1, 1, 1, 1), np.int8)).item() == wanted


def test_products_beyond_float64_are_exact():
    rng = np.random.default_rng(4)
    # The largest product of bias and multiplier; an odd sum loses its half in float64.
    bias = np.array([(1 << 31) - 1, -(1 << 31), (1 << 31) - 3], np.int32)
    weight = np.zeros((3, 1, 1, 1), np.int8)
    weight[:, 0, 0, 0] = (127, -127, 1)
    network = _conv(
        rng, channels=(1, 3), size=(4, 4), kernel=(1, 1), weight=weight, bias=bias,
        multiplier=np.full(3, (1 << 24) - 1, np.int32), shift=np.array([49, 50, 49], np.int32),
    )  # fmt: skip
    _check(network, _images(rng, network))


@pytest.mark.parametrize("clamp", [(-7, 127), (-7, 40), (-128, -20), (3, 3)])
def test_output_is_clamped(clamp):
    rng = np.random.default_rng(5)
    network = _conv(rng, clamp=clamp)
    found = _check(network, _images(rng, network))
    assert (found.min(), found.max()) == clamp


def test_ties_round_to_even():
    values = np.arange(-9, 10)
    found = requantize(values, 1, 1, 0, -128, 127)
    assert found.tolist() == [-4, -4, -4, -3, -2, -2, -2, -1, 0, 0, 0, 1, 2, 2, 2, 3, 4, 4, 4]
    # The parity that decides is the quotient's, not that of the sum with an odd zero point.
    assert requantize(np.array([1, 3]), 1, 1, 1, -128, 127).tolist() == [1, 3]


def test_convolution_rounds_ties_to_even():
    rng = np.random.default_rng(6)
    network = _conv(
        rng, channels=(1, 1), size=(16, 16), kernel=(1, 1), weight=np.ones((1, 1, 1, 1), np.int8),
        bias=np.zeros(1, np.int32), multiplier=np.ones(1, np.int32), shift=np.ones(1, np.int32),
        zero_points=(0, 1),
    )  # fmt: skip
    _check(network, np.arange(-128, 128).astype(np.int8).reshape(1, 1, 16, 16))


@pytest.mark.parametrize("shift", [1, 2, 31, 47, 62, 63])
def test_requantization_equals_exact_fractions(shift):
    rng = np.random.default_rng(shift)
    largest = (1 << 39) - 1
    sums = np.concatenate([rng.integers(-largest, largest, 300), [largest, -largest, 0]])
    sums[:100] >>= rng.integers(0, 39, 100)
    multipliers = rng.integers(0, 1 << 24, len(sums)) >> rng.integers(0, 24, len(sums))
    multipliers[-3:] = (1 << 24) - 1
    found = requantize(sums, multipliers, shift, -3, -100, 90)
    wanted = [
        _clamp(-3 + _round_half_even(a * m, shift), -100, 90)
        for a, m in zip(sums.tolist(), multipliers.tolist(), strict=True)
    ]
    assert found.tolist() == wanted


@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 3), (3, 1)])
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 0, 0, 1), (0, 1, 2, 0)])
def test_pooling_equals_direct_evaluation(stride, padding):
    rng = np.random.default_rng(stride)
    size, kernel = (7, 6), (3, 2)
    output = (2, *output_size(size, kernel, stride, padding))
    common = {
        "inputs": ("x",), "output": "y", "kernel": kernel, "stride": stride, "padding": padding
    }  # fmt: skip
    largest = MaxPool(name="max", lo=-100, hi=120, **common)
    average = AvgPool(name="avg", multiplier=(1 << 23) // 6, shift=23, **common)
    for layer, zero_points in ((largest, (-9, -9)), (average, (-9, 4))):
        network = _single(layer, {"x": (2, *size)}, output, zero_points)
        _check(network, _images(rng, network, 3))


def test_global_average_of_an_extreme_map():
    layer = AvgPool(
        name="avg", inputs=("x",), output="y", kernel=(9, 9), multiplier=(1 << 24) - 1, shift=30
    )
    network = _single(layer, {"x": (2, 9, 9)}, (2, 1, 1), (127, -128))
    _check(network, np.full((1, 2, 9, 9), -128, np.int8))
    _check(network, _images(np.random.default_rng(7), network))


def test_residual_add_rounds_once():
    rng = np.random.default_rng(8)
    layer = Add(
        name="add", inputs=("x", "b"), output="y", multiplier_a=3, multiplier_b=1, shift=2,
        lo=-90, hi=100,
    )  # fmt: skip
    shape = (3, 4, 5)
    tensors = {
        name: Tensor(name, shape, 1.0, zero) for name, zero in (("x", 7), ("b", -128), ("y", -5))
    }
    identity = Conv(
        name="b", inputs=("x",), output="b", weight=np.eye(3, dtype=np.int8).reshape(3, 3, 1, 1),
        bias=np.zeros(3, np.int32), multiplier=np.ones(3, np.int32), shift=np.ones(3, np.int32),
    )  # fmt: skip
    network = Network("sum", "x", ("y",), tensors, (identity, layer))
    a, b = (rng.integers(-128, 128, (2, *shape)).astype(np.int8) for _ in range(2))
    found = golden.layer(network, layer, a, b)
    wanted = [_direct(network, layer, *images) for images in zip(a, b, strict=True)]
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("sign", [-1, 1])
def test_accumulator_bound_is_reached_and_never_passed(sign):
    rng = np.random.default_rng(9)
    network = _conv(rng, channels=(4, 5))
    (layer,) = network.layers
    bound = layer.accumulator_bound()
    weight = layer.weight.astype(np.int64)
    highest = np.where(weight > 0, 127, -128)
    lowest = np.where(weight > 0, -128, 127)
    reached = [(np.abs((weight * x).sum(axis=(1, 2, 3)))) for x in (highest, lowest)]
    np.testing.assert_array_equal(bound, np.maximum(*reached))


@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("window_bytes", [1, 6000])
def test_a_map_cut_into_bands_equals_direct_evaluation(monkeypatch, stride, window_bytes):
    rng = np.random.default_rng(11)
    monkeypatch.setattr(conv_module, "WINDOW_BYTES", window_bytes)
    network = _conv(rng, size=(11, 6), stride=stride, padding=(1, 0, 1, 1))
    _check(network, _images(rng, network))


def test_blocks_threads_and_trace_do_not_change_the_result():
    rng = np.random.default_rng(10)
    network = _conv(rng, size=(9, 8), padding=(1, 1, 1, 1))
    images = _images(rng, network, 150)
    single = golden.run(network, images, threads=1)
    seen: list[tuple[int, int, str]] = []
    traced = golden.run(
        network, images, trace=True, threads=3, progress=lambda *step: seen.append(step)
    )
    assert seen[-1] == (150, 150, "images") and seen == sorted(seen) and len(seen) > 1
    assert list(traced) == ["y", "x"]
    np.testing.assert_array_equal(traced["x"], images)
    np.testing.assert_array_equal(traced["y"], single)
    one_by_one = [golden.run(network, image[None])[0] for image in images[:5]]
    np.testing.assert_array_equal(single[:5], one_by_one)


def test_an_empty_batch_gives_an_empty_output():
    network = _conv(np.random.default_rng(0))
    assert golden.run(network, np.empty((0, 3, 5, 4), np.int8)).shape == (0, 2, 3, 2)


@pytest.mark.parametrize(
    "images", [np.zeros((1, 3, 5, 4), np.float32), np.zeros((3, 5, 4), np.int8)]
)
def test_wrong_input_is_named(images):
    network = _conv(np.random.default_rng(0))
    with pytest.raises(UserError, match=r"Tensor 'x' of network 'single' must be int8 of shape"):
        golden.run(network, images)


def test_wrong_number_of_inputs_is_named():
    network = _conv(np.random.default_rng(0))
    images = np.zeros((1, 3, 5, 4), np.int8)
    with pytest.raises(UserError, match=r"Layer 'conv' takes 1 inputs, not 2; give x\."):
        golden.layer(network, network.layers[0], images, images)


def test_thread_count_must_be_positive():
    network = _conv(np.random.default_rng(0))
    with pytest.raises(UserError, match="at least 1 thread, not 0"):
        golden.run(network, np.zeros((1, 3, 5, 4), np.int8), threads=0)


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_equal_direct_evaluation(seed):
    network = random_network(seed, max_pixels=16, max_channels=6)
    images = random_input(network, 3, seed)
    traced = golden.run(network, images, trace=True)
    for layer in network.layers:
        inputs = [traced[name] for name in layer.inputs]
        wanted = [_direct(network, layer, *image) for image in zip(*inputs, strict=True)]
        np.testing.assert_array_equal(traced[layer.output], wanted, err_msg=layer.name)
