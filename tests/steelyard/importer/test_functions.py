"""Functions of one value: one table of what all of its operators give, or a layer's own slopes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import onnx
import pytest

from qdq_graphs import Qdq, assert_within_a_step, codes_of, images, start
from steelyard import importer, quantize
from steelyard.errors import UserError
from steelyard.importer.inner import JOINING, TABLES, inner_values
from steelyard.importer.obstacles import obstacles, surveyed
from steelyard.importer.operators import pointwise, slopes
from steelyard.importer.registry import OPERATORS
from steelyard.network import Add, AvgPool, Conv, Lookup, Mul, golden
from steelyard.network.random import random_input

X = images((3, 9, 9), 20, seed=2)


def test_the_quantizer_knows_every_function_that_becomes_a_table() -> None:
    own = {pointwise.__name__, slopes.__name__}
    made = {op for op, each in OPERATORS.items() if each.handler.__module__ in own}
    # What has a second value, and what a layer's weights can take.
    assert {*TABLES} == (made - {*JOINING}) | {"Neg"}


def number(g: Qdq, value: float) -> str:
    return g.constant(np.float32(value))


def averaged(g: Qdq, v: str) -> str:
    """Average of a value, so that no function of one value comes of both."""
    return g.pair(g.op("AveragePool", v, kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1),
                  0.0173, 6)  # fmt: skip


Pair = Callable[[str], str]


def silu(g: Qdq, v: str, pair: Pair) -> str:
    return g.op("Mul", v, pair(g.op("Sigmoid", v)))


def hard_swish(g: Qdq, v: str, pair: Pair) -> str:
    y = pair(g.op("Clip", pair(g.op("Add", v, number(g, 3))), number(g, 0), number(g, 6)))
    return g.op("Div", pair(g.op("Mul", v, y)), number(g, 6))


def gelu(g: Qdq, v: str, pair: Pair) -> str:
    y = pair(g.op("Erf", pair(g.op("Div", v, number(g, math.sqrt(2))))))
    y = pair(g.op("Mul", v, pair(g.op("Add", y, number(g, 1)))))
    return g.op("Mul", y, number(g, 0.5))


def softsign(g: Qdq, v: str, pair: Pair) -> str:
    return g.op("Div", v, g.op("Add", number(g, 1), g.op("Abs", v)))


def away(g: Qdq, v: str, pair: Pair) -> str:
    y = pair(g.op("Sub", number(g, 0.3), v))
    return g.op(
        "Exp", g.op("Neg", pair(g.op("Pow", pair(g.op("Mul", y, number(g, -0.7))), number(g, 2))))
    )


CHAINS = {"silu": silu, "hard swish": hard_swish, "gelu": gelu, "softsign": softsign, "away": away}


@pytest.mark.parametrize("case", CHAINS)
def test_a_chain_without_quantizers_is_one_table(case: str) -> None:
    g, value = start()
    model = g.model(g.pair(CHAINS[case](g, value, lambda y: y), 0.0203, -3))
    network = importer.load(model)
    assert [type(layer) for layer in network.layers] == [Lookup]
    assert_within_a_step(model, network, X, agreement=0.999)


@pytest.mark.parametrize("case", [name for name in CHAINS if name != "softsign"])
def test_a_chain_with_quantizers_is_one_table_of_the_same_codes(case: str) -> None:
    g, value = start()
    model = g.model(g.pair(CHAINS[case](g, value, lambda y: g.pair(y, 0.0371, 5)), 0.0203, -3))
    steps, one = (importer.load(model, compose=each) for each in (False, True))
    assert len(steps.layers) > 1 and [type(layer) for layer in one.layers] == [Lookup]
    codes = np.resize(np.arange(-128, 128).astype(np.int8), (2, 3, 9, 9))
    assert np.array_equal(golden.run(one, codes), golden.run(steps, codes))
    assert_within_a_step(model, steps, X, agreement=0.999)


def test_what_a_layer_reads_of_a_chain_stays() -> None:
    """The sigmoid is there once, and the product of it is made of it."""
    g, value = start()
    gate = g.pair(g.op("Sigmoid", value), 1 / 255, -128)
    product = g.pair(g.op("Mul", value, gate), 0.02, 1)
    model = g.model(g.pair(g.op("Concat", g.conv(gate, pads=[1] * 4), product, axis=1), 0.05))
    network = importer.load(model)
    kinds = [layer.kind for layer in network.layers]
    assert kinds.count("lookup") == 2 and "mul" not in kinds
    assert_within_a_step(model, network, X)


def test_functions_of_unlike_values_are_multiplied() -> None:
    g, value = start()
    gate = g.pair(g.op("Sigmoid", averaged(g, value)), 1 / 255, -128)
    model = g.model(g.pair(g.op("Mul", gate, value), 0.017, 4))
    network = importer.load(model)
    assert [type(layer) for layer in network.layers] == [AvgPool, Lookup, Mul]
    assert_within_a_step(model, network, X, agreement=0.999)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_factor_for_each_channel_is_spread_over_the_map(order: tuple[int, int]) -> None:
    g, value = start(3, 5, 7)
    gate = g.pair(g.op("Sigmoid", g.pair(g.op("GlobalAveragePool", value), 0.01)), 1 / 255, -128)
    inputs = [(value, gate)[index] for index in order]
    model = g.model(g.pair(g.op("Mul", *inputs), 0.017, 4))
    network = importer.load(model)
    assert [layer.kind for layer in network.layers][-3:] == ["repeat", "repeat", "mul"]
    assert_within_a_step(model, network, images((3, 5, 7), 20, seed=2), agreement=0.999)


def test_the_difference_of_two_values_is_exact() -> None:
    g, value = start()
    model = g.model(g.pair(g.op("Sub", value, averaged(g, value)), 0.011, 4))
    network = importer.load(model)
    assert [type(layer) for layer in network.layers] == [AvgPool, Lookup, Add]
    assert_within_a_step(model, network, X)


FACTORS: dict[str, Callable[[Qdq, str], str]] = {
    "negative": lambda g, v: g.op("Mul", g.conv(v), number(g, -0.3)),
    "opposite": lambda g, v: g.op("Neg", g.op("Relu", g.conv(v))),
    "opposite of a bias": lambda g, v: g.op("Neg", g.op("Add", g.conv(v), number(g, 2))),
    "subtracted": lambda g, v: g.op(
        "Sub", g.constant(np.linspace(-1, 1, 4, dtype=np.float32).reshape(4, 1, 1)), g.conv(v)
    ),
    "of a product": lambda g, v: g.op("Mul", g.op("Mul", v, averaged(g, v)), number(g, 0.37)),
    "of a sum": lambda g, v: g.op("Div", g.op("Add", v, averaged(g, v)), number(g, 1.7)),
}


@pytest.mark.parametrize("case", FACTORS)
def test_a_factor_is_one_of_the_layer(case: str) -> None:
    g, value = start()
    model = g.model(g.pair(FACTORS[case](g, value), 0.09, 11))
    network = importer.load(model)
    assert isinstance(network.layers[-1], Conv | Mul | Add)
    assert_within_a_step(model, network, X)


SLOPES = np.array([0, 0.11, 1, 2.3], np.float32).reshape(4, 1, 1)


@pytest.mark.parametrize("op", ["LeakyRelu", "PRelu"])
def test_slopes_behind_a_convolution_are_its_second_multiplier(op: str) -> None:
    g, value = start()
    inputs = [g.constant(SLOPES)] if op == "PRelu" else []
    options = {} if op == "PRelu" else {"alpha": 0.13}
    model = g.model(g.pair(g.op(op, g.conv(value), *inputs, **options), 0.09, 11))
    (layer,) = importer.load(model).layers
    assert isinstance(layer, Conv) and layer.negative_multiplier is not None
    ratio = layer.negative_multiplier / layer.multiplier
    np.testing.assert_allclose(ratio, SLOPES.ravel() if op == "PRelu" else 0.13, rtol=1e-6)
    assert_within_a_step(model, importer.load(model), X)


def test_a_slope_behind_a_transposed_convolution_is_its_second_multiplier() -> None:
    g, value = start(3, 4, 5)
    kernel = g.weight(np.random.default_rng(3).integers(-127, 128, (3, 2, 4, 4), np.int8), axis=1)
    y = g.op("ConvTranspose", value, kernel, strides=[2, 2])
    model = g.model(g.pair(g.op("LeakyRelu", y, alpha=0.2), 0.07))
    network = importer.load(model)
    assert not any(isinstance(layer, Lookup) for layer in network.layers)
    assert_within_a_step(model, network, images((3, 4, 5), 20, seed=2))


@pytest.mark.parametrize("shape", [(3, 9, 9), (3,)])
def test_slopes_of_a_value_are_a_depthwise_layer(shape: tuple[int, ...]) -> None:
    g = Qdq(*shape)
    value = g.pair("x", 0.0203, 5)
    slopes = g.constant(SLOPES[1:].reshape(3, *(1 for _ in shape[1:])))
    model = g.model(g.pair(g.op("PRelu", value, slopes), 0.03, -7))
    (layer,) = importer.load(model).layers
    assert isinstance(layer, Conv) and layer.groups == 3
    assert_within_a_step(model, importer.load(model), images(shape, 200, seed=2), agreement=0.999)


@pytest.mark.parametrize("slope", [-0.4, 0.3])
@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1), (3, 1, 1)])
def test_one_slope_of_any_sign_is_a_table(slope: float, shape: tuple[int, ...]) -> None:
    g, value = start()
    model = g.model(
        g.pair(g.op("PRelu", value, g.constant(np.full(shape, slope, np.float32))), 0.03, -7)
    )
    assert [type(layer) for layer in importer.load(model).layers] == [Lookup]
    assert_within_a_step(model, importer.load(model), X, agreement=0.999)


REFUSED: dict[str, tuple[Callable[[Qdq, str], str], str]] = {
    "negative slopes": (
        lambda g, v: g.op("PRelu", v, g.constant(SLOPES[1:] - 0.2)),
        "has slopes from -0.09, allowed are slopes from 0, or one of any sign for all channels; "
        r"train it with one slope \(num_parameters=1\)",
    ),
    "slopes of columns": (
        lambda g, v: g.op("PRelu", v, g.constant(np.linspace(0, 1, 9, dtype=np.float32))),
        r"has slopes of shape \(9,\), allowed is one finite number or one for each channel",
    ),
    "infinite slopes": (
        lambda g, v: g.op("PRelu", v, g.constant(SLOPES[1:] / 0)),
        r"has slopes of shape \(3, 1, 1\), some NaN or infinite, allowed is one finite number",
    ),
    "computed slopes": (
        lambda g, v: g.op("PRelu", v, g.pair(g.op("GlobalAveragePool", v), 0.1)),
        "computes its slopes from data, allowed are constants",
    ),
    "slopes of a flattened map": (
        lambda g, v: g.op(
            "PRelu", g.op("Flatten", v), g.constant(np.linspace(0, 1, 243, dtype=np.float32))
        ),
        r"takes a flattened map of shape \('batch', 3, 9, 9\), allowed is a map or what a fully",
    ),
    "root of negative numbers": (
        lambda g, v: g.op("Sqrt", v),
        r"gives no number where 'x' is -2.7 to -0.0203, which its codes can stand for; let its",
    ),
    "nothing": (
        lambda g, v: g.op("Mul", v, number(g, 0)),
        "multiplies by 0, allowed is a number other than 0; leave the node out",
    ),
    "division by nothing": (
        lambda g, v: g.op("Div", v, number(g, 0)),
        "divides by 0, allowed is a number other than 0",
    ),
    "numbers of channels": (
        lambda g, v: g.op("Pow", v, g.constant(SLOPES[1:])),
        r"has a constant of shape \(3, 1, 1\) from 0.11 to 2.3, allowed is one finite number; use",
    ),
    "power of a power": (
        lambda g, v: g.op("Pow", v, averaged(g, v)),
        "raises one activation to the power of another, allowed is a constant exponent or base",
    ),
    "larger of two": (
        lambda g, v: g.op("Max", v, averaged(g, v)),
        "takes the larger of several activations, allowed are one and constants",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_table_is_refused_by_name(case: str) -> None:
    build, sentence = REFUSED[case]
    g, value = start()
    with np.errstate(divide="ignore", invalid="ignore"):
        model = g.model(g.pair(build(g, value), 0.05))
    with pytest.raises(UserError, match=sentence):
        importer.load(model)
    assert any("; " in each for each in obstacles(model))


def test_codes_that_cannot_come_need_no_result() -> None:
    """Behind a Relu around 0 no code is negative, so that the root of all is a number."""
    g, value = start()
    model = g.model(g.pair(g.op("Sqrt", g.pair(g.op("Relu", value), 0.0203, 0)), 0.02))
    assert obstacles(model) == []
    assert_within_a_step(model, importer.load(model), X, agreement=0.999)


def test_infinite_results_saturate() -> None:
    g, value = start()
    model = g.model(g.pair(g.op("Div", number(g, 0.1), value), 0.05))
    layer = importer.load(model).layers[0]
    assert isinstance(layer, Lookup) and layer.table[5 + 128] == 127
    assert_within_a_step(model, importer.load(model), X, agreement=0.999)


def test_a_missing_quantizer_of_a_product_is_added() -> None:
    """A gate of another value than what it multiplies must be quantized before."""
    g, value = start()
    model = g.model(g.pair(g.op("Mul", g.op("Sigmoid", averaged(g, value)), value), 0.02))
    with pytest.raises(UserError, match="takes 'sigmoid.*', which is not quantized, as input 0"):
        importer.load(model)
    completed = quantize.complete(model, X)
    assert [layer.kind for layer in importer.load(completed).layers][-2:] == ["lookup", "mul"]


FLOAT = """<ir_version: 8, opset_import: ["" : 17]> net (float[n,3,8,8] x, float[4,3,1,1] w)
 => (float[n,4,8,8] y) {
    a = Conv(x, w)
    b = Sigmoid(a)
    c = Mul(a, b)
    d = Conv(b, v)
    e = LeakyRelu(d)
    f = Relu(e)
    g = Tanh(f)
    h = Abs(g)
    i = Add(c, h)
    j = Add(i, i)
    k = Mul(j, j)
    y = Sqrt(k)
}"""


def test_values_inside_of_functions_need_no_quantizer() -> None:
    model = onnx.parser.parse_model(FLOAT)
    for name, shape in (("w", (4, 3, 1, 1)), ("v", (4, 4, 1, 1))):
        array = np.ones(shape, np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    # A convolution reads b; d is scaled by sign; e is clamped by its layer; an addition makes i, j.
    assert inner_values(surveyed(model)[0]) == {"d", "g", "k"}


def test_random_codes_through_a_chain_of_layers_and_tables() -> None:
    """Composed and not, on every tensor that is left."""
    g, value = start()
    for scale in (0.03, 0.02, 0.01):
        sums = g.pair(g.conv(value, 3 if scale == 0.03 else 4, pads=[1] * 4), scale)
        value = g.pair(silu(g, sums, lambda y: g.pair(y, 1 / 255, -128)), scale)
    model = g.model(value)
    steps, one = (importer.load(model, compose=each) for each in (False, True))
    x = random_input(one, 2, 3)
    right, found = (golden.run(each, x, trace=True) for each in (steps, one))
    assert len(found) < len(right)
    for name, codes in found.items():
        np.testing.assert_array_equal(codes, right[name])


def test_clamped_codes_of_the_input_need_not_hold_zero() -> None:
    g = Qdq(3, 9, 9)
    codes = codes_of(g, "x", 0.02)
    codes = g.op("Clip", codes, g.constant(np.int8(10)), g.constant(np.int8(90)))
    value = g.op("DequantizeLinear", codes, g.constant(np.float32(0.02)), g.constant(np.int8(3)))
    model = g.model(g.pair(g.op("Tanh", value), 0.01))
    assert_within_a_step(model, importer.load(model), X, agreement=0.999)
