"""Networks whose input is codes: what they stand for, the first DequantizeLinear says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from qdq_graphs import Qdq, images, session, start
from steelyard import importer, quantize
from steelyard.errors import UserError
from steelyard.importer.graph import without_qoperators
from steelyard.importer.obstacles import obstacles
from steelyard.network import golden

SCALE = 0.0203


def body(g: Qdq, x: str) -> str:
    a = g.pair(g.op("Relu", g.conv(x, pads=[1] * 4)), 0.0517, -128)
    return g.pair(g.conv(a, 4), 0.0913, 2)


def plain(g: Qdq, dtype: Any) -> str:
    zero = g.constant(np.array(9, dtype))
    return body(g, g.op("DequantizeLinear", "x", g.constant(np.float32(SCALE)), zero))


def without_zero_point(g: Qdq, dtype: Any) -> str:
    return body(g, g.op("DequantizeLinear", "x", g.constant(np.float32(SCALE))))


def by_constant_nodes(g: Qdq, dtype: Any) -> str:
    moved = g.op("Identity", "x")
    scale = g.op("Constant", value=onnx.numpy_helper.from_array(np.float32(SCALE)))
    zero = g.op("Constant", value=onnx.numpy_helper.from_array(np.array(9, dtype)))
    return body(g, g.op("DequantizeLinear", moved, scale, zero))


def read_twice(g: Qdq, dtype: Any) -> str:
    parameters = g.constant(np.float32(SCALE)), g.constant(np.array(9, dtype))
    a, b = (g.op("DequantizeLinear", "x", *parameters) for _ in range(2))
    return g.pair(g.op("Add", g.pair(g.conv(a, pads=[1] * 4, outputs=3), 0.0917), b), 0.0913)


def pooled_codes(g: Qdq, dtype: Any) -> str:
    y = g.op("MaxPool", "x", kernel_shape=[2, 2])
    zero = g.constant(np.array(9, dtype))
    return body(g, g.op("DequantizeLinear", y, g.constant(np.float32(SCALE)), zero))


def of_integers(g: Qdq, dtype: Any) -> str:
    """A QLinearConv reads the codes as they are."""
    rng = np.random.default_rng(5)
    stored = [
        "x", g.constant(np.float32(SCALE)), g.constant(np.array(9, dtype)),
        g.constant(rng.integers(-127, 128, (4, 3, 3, 3), np.int8)),
        g.constant(np.float32(0.00971)), g.constant(np.int8(0)),
        g.constant(np.float32(0.0713)), g.constant(np.array(3, dtype)),
    ]  # fmt: skip
    return g.op("DequantizeLinear", g.op("QLinearConv", *stored), *stored[6:])


CASES: list[Callable[[Qdq, Any], str]] = [
    plain, without_zero_point, by_constant_nodes, read_twice, pooled_codes, of_integers,
]  # fmt: skip


def graph_of(case: Callable[[Qdq, Any], str], dtype: Any) -> onnx.ModelProto:
    g = Qdq(3, 9, 9)
    model = g.model(case(g, dtype))
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    model.graph.input[0].type.tensor_type.elem_type = kind
    return model


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("case", CASES)
def test_codes_give_what_onnxruntime_gives(case: Callable[[Qdq, Any], str], dtype: Any) -> None:
    model = graph_of(case, dtype)
    assert not obstacles(model)
    network = importer.load(model)
    shift = 128 if dtype is np.uint8 else 0
    point = 0 if case is without_zero_point else 9
    source = network.tensor(network.input)
    assert (source.name, source.zero_point) == ("x", point - shift)
    assert source.scale == np.float32(SCALE)
    limits = np.iinfo(dtype)
    x = np.random.default_rng(7).integers(limits.min, limits.max + 1, (20, 3, 9, 9), dtype)
    (expected,) = session(model).run(None, {"x": x})
    codes = golden.run(network, (x.astype(np.int16) - shift).astype(np.int8), threads=1)
    output = network.tensor(network.output)
    steps = np.rint((output.dequantize(codes).reshape(expected.shape) - expected) / output.scale)
    assert np.abs(steps).max() <= 1 and np.mean(steps == 0) > 0.99


def test_missing_quantizers_are_added_from_real_images() -> None:
    """The completed file takes real values too, whose codes are those of the file before."""
    model = graph_of(plain, np.uint8)
    quantizer = [node for node in model.graph.node if node.op_type == "QuantizeLinear"][-1]
    (output,) = model.graph.output
    output.name = quantizer.input[0]
    x = images((3, 9, 9), 20, seed=2)
    completed = quantize.complete(model, x)
    assert completed.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    network = importer.load(completed)
    assert network.tensor("x").scale == np.float32(SCALE)
    (right,) = session(completed).run(None, {"x": x})
    found = golden.run(network, network.tensor("x").quantize(x), threads=1)
    steps = np.rint((network.tensor(network.output).dequantize(found) - right)
                    / network.tensor(network.output).scale)  # fmt: skip
    assert np.abs(steps).max() <= 1 and np.mean(steps == 0) > 0.99


def computed_scale(g: Qdq, dtype: Any) -> str:
    scale = g.op("Mul", g.constant(np.float32(SCALE)), g.constant(np.float32(1)))
    return body(g, g.op("DequantizeLinear", "x", scale, g.constant(np.array(9, dtype))))


def cast_to_float(g: Qdq, dtype: Any) -> str:
    return body(g, g.pair(g.op("Cast", "x", to=TensorProto.FLOAT), 1.0, 0, dtype))


@pytest.mark.parametrize("case", [computed_scale, cast_to_float])
def test_codes_that_stand_for_nothing_known_are_refused(case: Callable[[Qdq, Any], str]) -> None:
    with pytest.raises(UserError, match="of type UINT8, allowed is float32 with a QuantizeLinear"):
        importer.load(graph_of(case, np.uint8))


def test_a_real_input_is_left_alone() -> None:
    g, v = start()
    model = g.model(body(g, v))
    assert without_qoperators(model) is model
