"""Graphs that have channels last at their ends, or in front of fully connected layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from qdq_graphs import Qdq, assert_agrees, codes_of, images, runtime_output, start
from steelyard import driver, importer
from steelyard.compare import agreements
from steelyard.errors import UserError
from steelyard.network import from_arrays, golden, to_arrays

FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def last(g: Qdq, value: str) -> str:
    return g.op("Transpose", value, perm=LAST)


def first(g: Qdq, value: str) -> str:
    return g.op("Transpose", value, perm=FIRST)


def mapped(g: Qdq, value: str) -> str:
    """A map of 4 channels, 7x7."""
    return g.pair(g.conv(value), 0.11, -4)


def head(g: Qdq, value: str, *shape: int) -> str:
    sizes = g.constant(np.array([0, *shape], np.int64))
    return g.op("Reshape", value, sizes)


def dense(g: Qdq, value: str, inputs: int, op: str = "Gemm", **attributes: int) -> str:
    shape = (6, inputs) if attributes.get("transB") else (inputs, 6)
    weight = np.random.default_rng(8).integers(-127, 128, shape, np.int8)
    stored = g.weight(weight, 0.005, 0 if attributes.get("transB") else 1)
    return g.pair(g.op(op, value, stored, **attributes), 0.9)


def island(g: Qdq, value: str) -> str:
    """Functions of each element between two Transposes, quantized otherwise on the way."""
    y = g.pair(last(g, mapped(g, value)), 0.13, 8)
    y = g.pair(g.op("Sigmoid", g.op("Mul", y, g.constant(np.float32(0.3)))), 1 / 256, -128)
    return g.pair(g.conv(first(g, y), 4), 0.02)


def joined(g: Qdq, value: str) -> str:
    y = mapped(g, value)
    a, b = (g.pair(last(g, each), 0.11, -4) for each in (y, g.pair(g.op("Relu", y), 0.09, -128)))
    return last_of(g, g.pair(g.op("Add", a, b), 0.23))


def last_of(g: Qdq, value: str) -> str:
    return g.pair(g.op("Relu", value), 0.21, -128)


OUTPUTS: dict[str, Callable[[Qdq, str], str]] = {
    "quantized before": lambda g, v: last(g, mapped(g, v)),
    "quantized before and behind": lambda g, v: g.pair(last(g, mapped(g, v)), 0.11, -4),
    "quantized behind": lambda g, v: g.pair(last(g, g.conv(v)), 0.11, -4),
    "codes": lambda g, v: g.op(
        "DequantizeLinear",
        last(g, codes_of(g, g.conv(v), 0.1)),
        g.constant(np.float32(0.1)),
        g.constant(np.int8(3)),
    ),
    "other scale": lambda g, v: g.pair(last(g, mapped(g, v)), 0.05, 8),
    "reshaped": lambda g, v: g.pair(head(g, last(g, mapped(g, v)), -1, 2), 0.11, -4),
    "sigmoid of boxes": lambda g, v: g.pair(
        g.op("Sigmoid", head(g, last(g, mapped(g, v)), -1, 2)), 1 / 256, -128
    ),
    "clamped": lambda g, v: g.pair(g.op("Relu", last(g, g.conv(v))), 0.09, -128),
    "padded": lambda g, v: last(
        g, g.op("Pad", mapped(g, v), g.constant(np.array([0, 0, 1, 2, 0, 0, 0, 3])))
    ),
    "one pixel": lambda g, v: last(g, g.pair(g.op("GlobalAveragePool", mapped(g, v)), 0.1)),
    "input": lambda g, v: last(g, v),
    "joined": joined,
    "pooled": lambda g, v: last(
        g, g.pair(g.op("MaxPool", mapped(g, v), kernel_shape=[3, 3]), 0.11, -4)
    ),
}
INNER: dict[str, Callable[[Qdq, str], str]] = {
    "island": island,
    "flattened": lambda g, v: dense(g, g.op("Flatten", last(g, mapped(g, v))), 196, transB=1),
    "multiplied": lambda g, v: dense(g, head(g, last(g, mapped(g, v)), -1), 196, "MatMul"),
    "flattened behind a quantizer": lambda g, v: dense(
        g, g.op("Flatten", g.pair(last(g, mapped(g, v)), 0.11, -4)), 196
    ),
    "turned twice": lambda g, v: g.pair(g.conv(first(g, last(g, mapped(g, v))), 4), 0.9),
}


@pytest.mark.parametrize("name", [*OUTPUTS, *INNER])
def test_a_graph_agrees_with_onnxruntime(name: str) -> None:
    g, value = start()
    model = g.model({**OUTPUTS, **INNER}[name](g, value))
    network = importer.load(model)
    x = images((3, 9, 9), 6, seed=2)
    assert network.outputs_last == (name in OUTPUTS and name != "one pixel",)
    assert_agrees(model, network, x)
    expected = runtime_output(model, x)
    traced = golden.run(network, driver.float_codes(network, x))
    found = driver.real_output(network, traced)
    assert found.shape == expected.shape
    gap = np.abs(found - expected) / network.tensor(network.output).scale
    assert gap.max() < 1.01 and np.mean(gap > 0.01) < 0.002
    if network.outputs_last[0]:
        assert driver.raw_output(network, traced).shape == expected.shape
    rows = agreements(model, network, x)
    assert not any(row.others for row in rows), rows
    again = from_arrays(*to_arrays(network))
    assert again.outputs_last == network.outputs_last


@pytest.mark.parametrize("quantized", ["before", "behind", "both"])
@pytest.mark.parametrize("turned", [False, True])
def test_an_input_may_have_channels_last(quantized: str, turned: bool) -> None:
    g = Qdq(9, 7, 3)
    value = "x" if quantized == "behind" else g.pair("x", 0.0203, 5)
    # What only looks at the input follows it.
    unread = g.op("Identity", value)
    value = first(g, unread)
    if quantized != "before":
        value = g.pair(value, 0.0203, 5)
    y = g.pair(g.conv(value), 0.11, -4)
    model = g.model(last(g, y) if turned else y)
    network = importer.load(model)
    assert network.tensor(network.input).shape == (3, 9, 7)
    assert (network.input_view, network.input_last) == ((9, 7, 3), True)
    assert network.outputs_last == (turned,)
    x = images((9, 7, 3), 6, seed=3)
    assert_agrees(model, network, x)
    found = driver.real_output(network, golden.run(network, driver.float_codes(network, x)))
    expected = runtime_output(model, x)
    assert np.mean(np.abs(found - expected) < 0.01 * network.tensor(network.output).scale) > 0.998
    assert not any(row.others for row in agreements(model, network, x))
    with pytest.raises(driver.BadInput, match=r"shape \(images, 9, 7, 3\), not \(6, 3, 9, 7\)"):
        driver.float_codes(network, x.transpose(0, 3, 1, 2))


def test_an_input_of_codes_may_have_channels_last() -> None:
    g = Qdq(6, 5, 3)
    parameters = (g.constant(np.float32(0.02)), g.constant(np.uint8(128)))
    value = g.op("DequantizeLinear", g.op("Transpose", "x", perm=FIRST), *parameters)
    model = g.model(g.pair(g.conv(value), 0.11, -4))
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    network = importer.load(model)
    assert (network.input_view, network.input_last) == ((6, 5, 3), True)
    codes = np.random.default_rng(4).integers(0, 256, (4, 6, 5, 3)).astype(np.uint8)
    given = driver.int8_codes(network, (codes.astype(np.int16) - 128).astype(np.int8))
    found = driver.real_output(network, golden.run(network, given))
    expected = runtime_output(model, codes)
    assert np.mean(np.abs(found - expected) < 0.01 * network.tensor(network.output).scale) > 0.998


def test_an_input_that_something_else_reads_is_none_of_these() -> None:
    """A cube, whose shape is the same in both orders: nobody may mix them up."""
    g = Qdq(3, 3, 3)
    value = g.pair("x", 0.0203, 5)
    read = g.pair(g.op("Relu", value), 0.02, -128)
    turned = g.pair(g.conv(first(g, value)), 0.1)
    with pytest.raises(UserError, match="Transpose node .* reorders the axes"):
        importer.load(g.model(turned, read))


def test_what_looks_at_the_input_before_a_transpose_has_channels_last_too() -> None:
    g = Qdq(3, 3, 3)
    value = g.pair("x", 0.0203, 5)
    flat = g.op("Flatten", value)
    turned = g.pair(g.conv(first(g, value)), 0.1)
    model = g.model(turned, dense(g, flat, 27))
    network = importer.load(model)
    x = images((3, 3, 3), 20, seed=5)
    assert_agrees(model, network, x)
    other = g.model(g.pair(g.conv(value), 0.1), turned)
    with pytest.raises(UserError, match="Conv node .* takes a map with channels last"):
        importer.load(other)


def test_an_output_is_given_in_both_orders() -> None:
    g, value = start()
    y = mapped(g, value)
    model = g.model(y, last(g, y))
    network = importer.load(model)
    assert network.outputs_last == (False, True)
    assert [layer.key for layer in network.layers] == ["conv", "slice"]
    assert_agrees(model, network, images((3, 9, 9), 4, seed=6))


def test_onnx_knows_the_shapes() -> None:
    """That the graphs here are what their Transposes say."""
    g, value = start()
    model = onnx.shape_inference.infer_shapes(g.model(last(g, mapped(g, value))), strict_mode=True)
    shape = model.graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in shape][1:] == [7, 7, 4]
    assert helper.tensor_dtype_to_np_dtype(TensorProto.INT8) == np.int8
