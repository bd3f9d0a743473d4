"""Whole TFLite networks: against the interpreter, compiled, and with images as TFLite has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import steelyard
from steelyard import driver
from steelyard.compile import compile_with_memories
from steelyard.contract import configure
from steelyard.driver import BadInput, int8_codes, raw_output
from steelyard.errors import UserError
from steelyard.importer import load
from steelyard.network import from_arrays, golden, to_arrays
from tflite_cases import assorted
from tflite_models import AGREEMENT, SAME, VALID, Net, agreement, interpreted, mobilenet, planes


@pytest.mark.parametrize("seed", range(3))
def test_a_depthwise_separable_net_agrees_layer_by_layer(seed: int) -> None:
    net, content = mobilenet(seed)
    network = load(content)
    assert sum(getattr(each, "groups", 1) > 1 for each in network.layers) == 3
    # The PAD became padding of the convolution behind it.
    assert any(each.name == "PAD" for each in net.operators)
    assert "pad" not in {each.key for each in network.layers}
    shares = agreement(content, net.images(12), network)
    assert len(shares) == len(network.layers)
    assert min(shares.values()) >= AGREEMENT, shares


@pytest.mark.parametrize("seed", range(3))
def test_a_net_of_all_sorts_agrees_layer_by_layer(seed: int) -> None:
    net, content = assorted(seed)
    shares = agreement(content, net.images(12), load(content))
    assert len(shares) == len(net.operators) + 1  # The SPLIT has two outputs.
    # TFLite's second rounding of a PRELU with a slope for each channel is none of ours.
    sloped = {name for name, op in net.made_by().items() if op == "PRELU"}
    assert min(share for name, share in shares.items() if name not in sloped) >= AGREEMENT, shares
    assert min(shares.values()) >= 0.99, shares


def test_compiled_nets_give_the_golden_models_scores(tmp_path: Path) -> None:
    net, content = mobilenet(seed=5, size=16)
    (tmp_path / "net.tflite").write_bytes(content)
    network = load(tmp_path / "net.tflite")
    assert network.name == "net"
    base = configure("array", lanes=4, columns=4, requantizers=4)
    program = compile_with_memories(network, base, batch=1)
    codes = net.images(3)
    x = network.tensor(network.input)
    expected = golden.run(network, planes(codes, x.shape))
    with steelyard.open("golden") as device:
        device.load(program)
        real = device.infer_float(x.dequantize(codes))
        np.testing.assert_array_equal(device.infer(planes(codes, x.shape)), expected)
        with pytest.raises(BadInput, match=r"shape \(images, 16, 16, 3\), not \(3, 3, 16, 16\)"):
            device.infer_float(planes(x.dequantize(codes), x.shape))
        with pytest.raises(BadInput, match=r"shape \(images, 3, 16, 16\), not \(3, 16, 16, 3\)"):
            device.infer(codes)
    assert real.shape == (3, 10)
    y = network.tensor(network.output)
    np.testing.assert_array_equal(real, y.dequantize(expected).reshape(3, 10))


def test_maps_come_out_with_channels_last() -> None:
    net = Net((6, 5, 3), seed=9)
    content = net.made(net.conv(net.input, 4))
    network = load(content)
    codes = net.images(4)
    given = int8_codes(network, codes)
    np.testing.assert_array_equal(given, planes(codes, (3, 6, 5)))
    found = raw_output(network, golden.run(network, given))
    assert found.shape == (4, 6, 5, 4)
    assert np.mean(found == interpreted(content, codes)[network.output][:, 0]) >= AGREEMENT
    again = from_arrays(*to_arrays(network))
    assert (again.input_last, again.outputs_last) == (True, (True,))
    assert again.input_view == (6, 5, 3)


@pytest.mark.parametrize("shape", [(28,), (4, 7), (28, 1), (4, 7, 1)])
def test_the_input_takes_the_shape_in_which_layers_read_it(shape: tuple[int, ...]) -> None:
    net = Net(shape, seed=10)
    x = net.reshaped(net.input, (7, 2, 2))
    content = net.made(net.dense(net.reshaped(net.conv(x, 3), (42,)), 5))
    network = load(content)
    assert network.tensor(network.input).shape == (2, 7, 2)
    assert network.input_view == shape
    codes = net.images(20)
    found = golden.run(network, int8_codes(network, codes))
    right = interpreted(content, codes)[network.output]
    assert np.mean(raw_output(network, found) == right.reshape(20, 5)) >= 0.98


def test_a_flattened_input_keeps_its_order() -> None:
    net = Net((3, 4, 2), seed=11)
    content = net.made(net.dense(net.reshaped(net.input, (24,)), 5))
    network = load(content)
    assert min(agreement(content, net.images(20), network).values()) >= AGREEMENT


def test_a_missing_bias_is_none() -> None:
    def made(bias: bool) -> Net:
        net = Net((5, 5, 3), seed=12)
        net.outputs = [net.conv(net.input, 4, bias=bias)]
        return net

    without, zero = made(False), made(True)
    zero.tensors[3].data[:] = 0  # type: ignore[index]
    zero.tensors[2].scale = without.tensors[2].scale
    absent = made(False)
    absent.operators[0].inputs = (*absent.operators[0].inputs, -1)
    networks = [load(each.write()) for each in (without, zero, absent)]
    codes = planes(without.images(5), (3, 5, 5))
    first, *others = (golden.run(each, codes) for each in networks)
    for other in others:
        np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("pads", [(1, 1, 0, 1), (3, 0, 0, 0), (0, 0, 3, 9)])
@pytest.mark.parametrize("padding", [SAME, VALID])
def test_padding_before_a_convolution_is_its_own_where_it_can_be(
    pads: tuple[int, int, int, int], padding: int
) -> None:
    top, left, bottom, right = pads
    net = Net((9, 7, 4), seed=13)
    counts = net.constant(np.array([[0, 0], [top, bottom], [left, right], [0, 0]], np.int32))
    y = net.like(net.input, (9 + top + bottom, 7 + left + right, 4))
    y = net.depthwise(net.op("PAD", (net.input, counts), y), stride=2, padding=padding)
    content = net.made(y)
    network = load(content)
    assert any(each.key == "pad" for each in network.layers) == (max(pads) > 2)
    assert min(agreement(content, net.images(20), network).values()) >= AGREEMENT


def test_a_file_of_several_images_at_once_is_the_same_network() -> None:
    net, content = mobilenet(seed=6, size=16)
    for each in net.tensors:
        if each.data is None:
            each.shape = (4, *each.shape[1:])
    one, four = load(content), load(net.write())
    codes = planes(net.images(3), (3, 16, 16))
    np.testing.assert_array_equal(golden.run(one, codes), golden.run(four, codes))


def test_an_input_that_a_layer_has_read_keeps_its_shape() -> None:
    net = Net((4, 6, 2), seed=14)
    a = net.mean(net.conv(net.input, 3))
    b = net.mean(net.conv(net.reshaped(net.input, (6, 4, 2)), 3))
    content = net.made(net.add(a, b))
    with pytest.raises(UserError, match=r"allowed is the map as it was made, .'batch', 4, 6, 2.;"):
        load(content)


def test_several_outputs_have_the_files_names_and_shapes() -> None:
    """A map that a layer reads too, the same as real values, scores, and a softmax of these."""
    net = Net((6, 5, 3), seed=13)
    tap = net.conv(net.input, 4)
    shape = net.tensors[tap].shape
    real = net.op("DEQUANTIZE", (tap,), net.tensor(shape, dtype=np.float32, name="real"))
    logits = net.dense(net.mean(tap), 10)
    likely = net.op("SOFTMAX", (logits,), net.tensor((1, 10), 1 / 256, -128), Beta=1.0)
    net.outputs = [tap, logits, real, likely]
    content = net.write()
    said: list[str] = []
    network = load(content, said.append)
    assert network.outputs == (f"tensor {tap}", f"tensor {logits}", "real", f"tensor {logits}/2")
    assert len(said) == 1 and "left to the host" in said[0]
    codes = net.images(20)
    traced = golden.run(network, int8_codes(network, codes), trace=True)
    expected = interpreted(content, codes)
    for name, right in zip(network.outputs[:2], (tap, logits), strict=True):
        found = raw_output(network, traced[name], name)
        wanted = expected[f"tensor {right}"][:, 0]
        assert found.shape == wanted.shape
        assert np.mean(found == wanted) >= 0.98
    scale = network.tensor("real").scale
    values = driver.real_output(network, traced["real"], "real")
    steps = np.abs(values - expected["real"][:, 0]) / scale
    assert steps.max() < 1.01 and np.mean(steps < 0.01) >= AGREEMENT
    np.testing.assert_array_equal(traced[f"tensor {logits}/2"], traced[f"tensor {logits}"])
