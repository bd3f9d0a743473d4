"""Chains of layers that compute each element on its own, as one table."""

import numpy as np
import pytest

from steelyard.network import (
    AvgPool,
    Conv,
    Layer,
    Lookup,
    MaxPool,
    Mul,
    NetworkBuilder,
    compose_tables,
    golden,
)

SHAPE = (2, 16, 8)
ALL = np.arange(-128, 128).astype(np.int8).repeat(1).reshape(1, *SHAPE)
RNG = np.random.default_rng(8)
SAME = {"scale": 0.5, "zero_point": 7}
HALF = {"multiplier": 3 << 20, "shift": 22, **SAME}


def builder() -> NetworkBuilder:
    return NetworkBuilder("net", SHAPE, scale=0.5, zero_point=7, input="x")


def table() -> dict[str, object]:
    return {"table": RNG.integers(-128, 128, 256).astype(np.int8), **SAME}


def assert_same(network, kinds: list[type[Layer]]) -> None:
    composed = compose_tables(network)
    assert [type(layer) for layer in composed.layers] == kinds
    right, found = (golden.run(each, ALL, trace=True) for each in (network, composed))
    for name, codes in found.items():
        np.testing.assert_array_equal(codes, right[name])
    assert composed.outputs == network.outputs


def test_tables_and_requantizations_in_a_row_are_one_table() -> None:
    b = builder()
    b.append(AvgPool, kernel=(1, 1), lo=-100, hi=90, **HALF)
    b.append(Lookup, **table())
    b.append(MaxPool, kernel=(1, 1), lo=-20)
    b.append(Lookup, **table())
    assert_same(b.network(), [Lookup])


def test_a_product_with_the_table_of_a_value_is_one_table() -> None:
    b = builder()
    gate = b.append(Lookup, "x", **table())
    b.append(Mul, "x", gate, multiplier=5 << 19, shift=26, **SAME)
    assert_same(b.network(), [Lookup])


def test_a_chain_without_a_table_stays() -> None:
    """A configuration without tables must run it as before."""
    b = builder()
    first = b.append(AvgPool, kernel=(1, 1), **HALF)
    b.append(Mul, first, first, multiplier=5 << 19, shift=26, **SAME)
    assert_same(b.network(), [AvgPool, Mul])


@pytest.mark.parametrize("fields", [{"kernel": (2, 2)}, {"kernel": (1, 1), "stride": 2}])
def test_a_window_ends_a_chain(fields: dict[str, object]) -> None:
    b = builder()
    b.append(Lookup, **table())
    b.append(Lookup, **table())
    b.append(AvgPool, **fields, **HALF)
    b.append(Lookup, **table())
    assert_same(b.network(), [Lookup, AvgPool, Lookup])


def test_an_output_inside_of_a_chain_stays_and_begins_the_next() -> None:
    b = builder()
    first = b.append(Lookup, "x", **table())
    second = b.append(Lookup, first, **table())
    third = b.append(Lookup, second, **table())
    b.append(Lookup, third, **table(), output="end")
    network = b.network(second, "end")
    assert_same(network, [Lookup, Lookup])
    assert [layer.inputs for layer in compose_tables(network).layers] == [("x",), (second,)]


def test_what_a_convolution_reads_of_a_chain_stays() -> None:
    b = builder()
    gate = b.append(Lookup, "x", **table())
    product = b.append(Mul, "x", gate, multiplier=5 << 19, shift=26, **SAME)
    weight = RNG.integers(-9, 9, (2, 2, 1, 1)).astype(np.int8)
    read = b.conv(weight, gate, weight_scale=0.01, scale=0.5, zero_point=7)
    b.append(Mul, product, read, multiplier=5 << 19, shift=26, **SAME)
    assert_same(b.network(), [Lookup, Lookup, Conv, Mul])


def test_a_network_without_chains_is_as_before() -> None:
    b = builder()
    b.append(Lookup, **table())
    b.append(MaxPool, kernel=(2, 2))
    network = b.network()
    assert compose_tables(network).layers == network.layers
