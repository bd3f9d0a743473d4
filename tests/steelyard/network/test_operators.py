"""Kinds that need an operator of the configuration: golden functions, files, lowering, refusals."""

from fractions import Fraction

import numpy as np
import pytest

from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.contract.descriptor import Descriptor, Operation
from steelyard.errors import UserError
from steelyard.network import (
    AvgPool,
    Lookup,
    Mul,
    NetworkBuilder,
    Repeat,
    from_arrays,
    golden,
    to_arrays,
)

SHAPE = (3, 4, 5)
X = np.random.default_rng(2).integers(-128, 128, (2, *SHAPE)).astype(np.int8)
X.reshape(-1)[:2] = -128, 127
CONFIG = configure("array", lanes=4, columns=4, requantizers=4)
TABLE = np.random.default_rng(3).integers(-128, 128, 256).astype(np.int8)


def network(*layers):
    """Network of layers, each a kind and its fields."""
    builder = NetworkBuilder("one", SHAPE, scale=0.5, zero_point=7)
    for kind, fields in layers:
        builder.append(kind, **fields)
    return builder.network()


def test_a_table_begins_with_the_result_of_the_lowest_code():
    found = golden.run(network((Lookup, {"table": TABLE, "scale": 0.25, "zero_point": -9})), X)
    assert found.tolist() == [
        [[[int(TABLE[code + 128]) for code in row] for row in plane] for plane in image]
        for image in X.tolist()
    ]


def test_files_keep_tables():
    made = network((Lookup, {"table": TABLE}))
    again = from_arrays(*to_arrays(made))
    assert np.array_equal(golden.run(again, X), golden.run(made, X))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"table": TABLE[:255]}, r"the table must be int8 \(256,\), not int8 \(255,\)"),
        ({"table": TABLE.astype(np.uint8)}, r"the table must be int8 \(256,\), not uint8 \(256,\)"),
        ({"table": TABLE, "lo": 0}, "lookup does not clamp, but lo and hi are 0, 127; clamp the"),
    ],
)
def test_what_is_no_table_is_refused(fields, words):
    with pytest.raises(UserError, match=words):
        network((Lookup, fields))


def test_a_table_lies_behind_the_items_of_its_layer():
    program = compile(network((Lookup, {"table": TABLE}), (Lookup, {"table": -1 - TABLE})), CONFIG)
    first, second = (Descriptor.from_words(words) for words in program.descriptors)
    assert first.op == second.op == Operation.MAX_POOL
    assert (first.param_base, first.table_base, first.table) == (0, 3, 1)
    assert (second.param_base, second.table_base, second.table) == (35, 38, 1)
    for base, table in ((3, TABLE), (38, -1 - TABLE)):
        entries = program.parameters[base : base + 32, :2].astype("<u4").tobytes()
        assert entries == table.tobytes()
    assert len(program.parameters) == 70


def test_a_configuration_without_tables_refuses_them_by_the_fields_name():
    made = network((Lookup, {"name": "sigmoid", "table": TABLE}))
    with pytest.raises(UserError) as caught:
        compile(made, CONFIG.with_(tables=False))
    assert str(caught.value) == (
        "Layer 'sigmoid' looks up a table, which the configuration leaves out; set tables to true."
    )
    compile(made, CONFIG.with_(tables=True))


def leaky(negative, *, shift=9, bias=(40, -300)):
    """Network of a convolution of 2 channels, with multipliers of negative sums or without."""
    builder = NetworkBuilder("leaky", SHAPE, scale=0.5, zero_point=7)
    weight = np.random.default_rng(5).integers(-127, 128, (2, 3, 1, 2)).astype(np.int8)
    given = {} if negative is None else {"negative_multiplier": np.array(negative, np.int32)}
    builder.conv(
        weight, name="leaky", bias=list(bias), multiplier=[3, 7], shift=shift, scale=1.0,
        zero_point=-20, **given,
    )  # fmt: skip
    return builder.network()


@pytest.mark.parametrize(("negative", "shift"), [((0, 1), 9), ((9, 7), 10), ((1 << 23, 0), 33)])
def test_negative_sums_of_a_convolution_have_a_multiplier_of_their_own(negative, shift):
    # The third case has products beyond float64's integers.
    bias = (40, -300) if shift < 33 else (-(1 << 30), 1 << 30)
    made = leaky(negative, shift=shift, bias=bias)
    layer = made.layers[0]
    found = golden.run(made, X)
    below = 0
    for image, channel, y, x in np.ndindex(found.shape):
        window = X[image, :, y, x : x + 2].astype(int) - 7
        total = int((layer.weight[channel, :, 0] * window).sum()) + int(layer.bias[channel])
        multiplier = int((layer.negative_multiplier if total < 0 else layer.multiplier)[channel])
        below += total < 0
        code = -20 + round(Fraction(total * multiplier, 1 << shift))
        assert found[image, channel, y, x] == min(max(code, -128), 127)
    assert 0 < below < found.size


def test_negative_sums_of_a_mean_have_a_multiplier_of_their_own():
    fields = {"kernel": (1, 1), "multiplier": 5, "shift": 3, "negative_multiplier": 1, "lo": -100}
    found = golden.run(network((AvgPool, {**fields, "zero_point": 2})), X)
    for code, y in zip(X.reshape(-1).tolist(), found.reshape(-1).tolist(), strict=True):
        total = code - 7
        wanted = 2 + round(Fraction(total * (1 if total < 0 else 5), 8))
        assert y == min(max(wanted, -100), 127)


def test_files_keep_slopes_and_layers_without():
    for made in (leaky((1, 2)), leaky(None), network((AvgPool, SLOPED))):
        manifest, arrays = to_arrays(made)
        again = from_arrays(manifest, arrays)
        kept = again.layers[0].negative_multiplier
        assert np.array_equal(kept, made.layers[0].negative_multiplier)
        assert ("layer0.negative_multiplier" in arrays) is isinstance(kept, np.ndarray)


SLOPED = {"name": "leaky", "kernel": (1, 1), "multiplier": 5, "shift": 3, "negative_multiplier": 1}


def test_the_third_word_of_an_item_is_the_multiplier_of_negative_sums():
    assert compile(leaky((11, 12)), CONFIG).parameters[:, 2].tolist() == [11, 12]
    assert compile(leaky(None), CONFIG).parameters[:, 2].tolist() == [3, 7]
    assert compile(network((AvgPool, SLOPED)), CONFIG).parameters[:, 2].tolist() == [1, 1, 1]


@pytest.mark.parametrize("made", [leaky((1, 2)), network((AvgPool, SLOPED))])
def test_a_configuration_without_slopes_refuses_them_by_the_fields_name(made):
    for config, more in (
        (CONFIG.with_(slopes=False), ""),
        (configure("array", "compact", lanes=4, requantizers=4), ", with requantizer_cycles = 1"),
    ):
        with pytest.raises(UserError) as caught:
            compile(made, config)
        assert str(caught.value) == (
            "Layer 'leaky' scales negative sums by a multiplier of their own, which the "
            f"configuration leaves out; set slopes to true{more}."
        )


@pytest.mark.parametrize(
    ("negative", "words"),
    [
        ((1, -2), "the smallest negative_multiplier must be an integer from 0 to 16777215, not -2"),
        ((1, 2, 3), r"the negative_multiplier must be int32 \(2,\), not int32 \(3,\)"),
    ],
)
def test_slopes_that_do_not_fit_are_refused(negative, words):
    with pytest.raises(UserError, match=words):
        leaky(negative)


def scaled(**fields):
    """Network that multiplies its input by a table of it."""
    builder = NetworkBuilder("scaled", SHAPE, scale=0.5, zero_point=7)
    builder.append(Lookup, table=TABLE, scale=0.5, zero_point=-30)
    fields = {"name": "scaled", "multiplier": 11, "shift": 10, "zero_point": 4} | fields
    builder.append(Mul, "input", builder.last.name, **fields)
    return builder.network()


@pytest.mark.parametrize("fields", [{}, {"lo": 4, "hi": 100}, {"multiplier": 1, "shift": 1}])
def test_a_product_is_rounded_once(fields):
    made = scaled(**fields)
    layer = made.layers[-1]
    found = golden.run(made, X).reshape(-1).tolist()
    for code, y in zip(X.reshape(-1).tolist(), found, strict=True):
        product = (code - 7) * (int(TABLE[code + 128]) + 30)
        wanted = 4 + round(Fraction(product * layer.multiplier, 1 << layer.shift))
        assert y == min(max(wanted, layer.lo), layer.hi)


def test_a_product_takes_its_zero_points_from_the_descriptor_and_one_scale():
    program = compile(scaled(), CONFIG)
    product = Descriptor.from_words(program.descriptors[-1])
    assert (product.op, product.z_a, product.z_b, product.z_y) == (Operation.MUL, 7, -30, 4)
    assert product.in_channels == 3
    for item in program.parameters[product.param_base : product.param_base + 2].tolist():
        assert item == [0, 10 << 24 | 11, 11]


def test_a_factor_for_each_channel_is_repeated():
    builder = NetworkBuilder("gate", SHAPE, scale=0.5, zero_point=7)
    builder.append(AvgPool, kernel=SHAPE[1:], multiplier=9, shift=8, output="factor")
    builder.append(Repeat, axis=1, count=SHAPE[1])
    builder.append(Repeat, axis=2, count=SHAPE[2])
    builder.append(Mul, "input", builder.last.name, multiplier=1, shift=6)
    found = golden.run(builder.network(), X, trace=True)
    factor = found["factor"].astype(int) - 7
    wanted = 7 + np.rint((X.astype(int) - 7) * factor / 64)
    assert np.array_equal(found[builder.last.name], np.clip(wanted, -128, 127))
    compile(builder.network(), CONFIG)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"multiplier": -1}, "multiplier must be an integer from 0 to 16777215, not -1"),
        ({"shift": 64}, "shift must be an integer from 1 to 63, not 64"),
    ],
)
def test_products_that_do_not_fit_are_refused(fields, words):
    with pytest.raises(UserError, match=words):
        scaled(**fields)


def test_products_are_of_equal_shapes():
    builder = NetworkBuilder("two", SHAPE)
    builder.append(Repeat, axis=1, count=2, output="larger")
    with pytest.raises(UserError, match=r"mul needs three equal shapes, not \(3, 8, 5\), \(3, 4"):
        builder.append(Mul, "larger", "input", multiplier=1, shift=1)
        builder.network()


def test_a_configuration_without_products_refuses_them_by_the_fields_name():
    for config, more in (
        (CONFIG.with_(products=False), ""),
        (
            configure("array", "compact", lanes=4, requantizers=4, tables=True),
            ", with requantizer_cycles = 1",
        ),
    ):
        with pytest.raises(UserError) as caught:
            compile(scaled(), config)
        assert str(caught.value) == (
            "Layer 'scaled' multiplies two activations, which the configuration leaves out; set "
            f"products to true{more}."
        )
