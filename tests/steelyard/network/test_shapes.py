"""Kinds that cut, join and move, and grouped convolutions, against plain numpy; and refusals."""

from dataclasses import replace

import numpy as np
import pytest

from steelyard.errors import UserError
from steelyard.network import (
    Concat,
    Interleave,
    NetworkBuilder,
    Pad,
    Repeat,
    Shuffle,
    Slice,
    from_arrays,
    golden,
    to_arrays,
    ungroup,
)
from steelyard.network.random import random_input
from steelyard.network.random_shapes import random_shapes

SHAPE = (6, 3, 4)
X = np.random.default_rng(1).integers(-128, 128, (2, *SHAPE)).astype(np.int8)


def result(kind, *sources, x=X, **fields):
    builder = NetworkBuilder("one", x.shape[1:], scale=0.5, zero_point=7)
    builder.append(kind, *sources, **fields)
    return golden.run(builder.network(), x)


def test_concatenation_and_slice_cut_channels():
    assert np.array_equal(result(Concat, "input", "input"), np.concatenate([X, X], axis=1))
    assert np.array_equal(result(Slice, first=2, count=3), X[:, 2:5])


def test_padding_is_the_zero_point_and_a_negative_one_cuts():
    wanted = np.pad(X, ((0, 0), (0, 0), (1, 3), (2, 4)), constant_values=7)
    assert np.array_equal(result(Pad, padding=(1, 2, 3, 4)), wanted)
    assert np.array_equal(result(Pad, padding=(-1, 0, -1, -2)), X[:, :, 1:2, :2])


def test_repeated_rows_and_columns_are_a_nearest_upsampling():
    builder = NetworkBuilder("up", SHAPE)
    builder.append(Repeat, axis=2, count=3)
    builder.append(Repeat, axis=1, count=2)
    wanted = np.kron(X, np.ones((1, 1, 2, 3), np.int8))
    assert np.array_equal(golden.run(builder.network(), X), wanted)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_two_interleavings_are_a_depth_to_space_of_either_order(mode):
    x = np.arange(8 * 6).reshape(1, 8, 2, 3).astype(np.int8)
    builder = NetworkBuilder("d2s", (8, 2, 3))
    columns, rows = (2, 1) if mode == "DCR" else (4, 2)
    builder.append(Interleave, axis=2, count=2, blocks=columns)
    builder.append(Interleave, axis=1, count=2, blocks=rows)
    # The operator's definition in the ONNX standard.
    if mode == "DCR":
        wanted = x.reshape(1, 2, 2, 2, 2, 3).transpose(0, 3, 4, 1, 5, 2)
    else:
        wanted = x.reshape(1, 2, 2, 2, 2, 3).transpose(0, 1, 4, 2, 5, 3)
    assert np.array_equal(golden.run(builder.network(), x), wanted.reshape(1, 2, 4, 6))


def test_shuffle_swaps_groups_and_their_channels():
    assert np.array_equal(result(Shuffle, groups=2), X[:, [0, 3, 1, 4, 2, 5]])


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_groups_are_convolutions_of_their_own_channels(groups):
    rng = np.random.default_rng(groups)
    weight = rng.integers(-127, 128, (12, 6 // groups, 2, 3)).astype(np.int8)
    builder = NetworkBuilder("groups", SHAPE, scale=1.0, zero_point=3)
    builder.conv(weight, groups=groups, padding=1, weight_scale=0.01, scale=1.0, zero_point=-4)
    together = golden.run(builder.network(), X)
    each, own = 12 // groups, 6 // groups
    for group in range(groups):
        part = NetworkBuilder("part", (own, 3, 4), scale=1.0, zero_point=3)
        part.conv(
            weight[group * each : (group + 1) * each],
            padding=1, weight_scale=0.01, scale=1.0, zero_point=-4,
        )  # fmt: skip
        x = np.ascontiguousarray(X[:, group * own : (group + 1) * own])
        wanted = golden.run(part.network(), x)
        assert np.array_equal(together[:, group * each : (group + 1) * each], wanted)
    apart = golden.run(ungroup(builder.network(), 2, 4), X)
    assert np.array_equal(together, apart)


@pytest.mark.parametrize("seed", range(5))
def test_files_keep_every_kind(seed):
    network = random_shapes(seed)
    again = from_arrays(*to_arrays(network))
    x = random_input(network, 3, seed)
    assert np.array_equal(golden.run(network, x), golden.run(again, x))


@pytest.mark.parametrize(
    ("kind", "fields", "words"),
    [
        (Slice, {"first": 5, "count": 2}, "count must be an integer from 1 to 1, not 2"),
        (Pad, {"padding": (256, 0, 0, 0)}, "top padding must be an integer from 0 to 255, not 256"),
        (Pad, {"padding": (1, -1, 0, 0)}, "left padding must be an integer from 0 to 255, not -1"),
        (Pad, {"padding": (-2, 0, -1, 0)}, "leaves nothing of a map of 3x4"),
        (Repeat, {"axis": 0, "count": 2}, "axis must be an integer from 1 to 2"),
        (Interleave, {"axis": 1, "count": 4}, "6 channels cannot be cut into 4 equal parts"),
        (Shuffle, {"groups": 4}, "6 channels cannot be cut into 4 equal parts"),
        (Concat, {"lo": 0}, "concat does not clamp"),
        (Concat, {"scale": 0.25}, "concat needs equal scale and zero point"),
    ],
)
def test_what_does_not_fit_is_refused(kind, fields, words):
    with pytest.raises(UserError, match=words):
        result(kind, **fields)


def test_maps_of_two_sizes_are_not_joined():
    builder = NetworkBuilder("two", SHAPE)
    builder.append(Pad, padding=(1, 1, 1, 1), output="larger")
    with pytest.raises(UserError, match="maps of one size, not 3x4 and 5x6"):
        builder.append(Concat, "input", "larger")


def test_groups_must_divide_the_channels():
    builder = NetworkBuilder("groups", SHAPE)
    builder.conv(np.ones((5, 3, 1, 1), np.int8), groups=2)
    with pytest.raises(UserError, match="5 output channels cannot be cut into 2 equal groups"):
        builder.network()
    network = NetworkBuilder("groups", SHAPE)
    network.conv(np.ones((4, 2, 1, 1), np.int8), groups=2)
    with pytest.raises(UserError, match="2 groups of 2 input channels where 'input' has 6"):
        network.network()


def test_fully_connected_layers_have_one_group():
    builder = NetworkBuilder("fc", SHAPE)
    builder.conv(np.ones((2, 3, 3, 4), np.int8), groups=2)
    layer = replace(builder.layers[0], fully_connected=True)
    with pytest.raises(UserError, match="in one group without padding"):
        layer.check([builder.tensors["input"]], builder.last)


def two_outputs():
    builder = NetworkBuilder("two", SHAPE, scale=0.5, zero_point=7)
    first = builder.append(Shuffle, "input", groups=2)
    builder.append(Slice, first, first=1, count=3)
    second = builder.max_pool(2, first)
    builder.max_pool(1, second, name="unused")
    return builder.network(second, first, output_views=((6, 6), (6, 3, 4)))


def test_a_network_gives_several_outputs():
    network = two_outputs()
    assert network.outputs == ("max_pool2", "shuffle0")
    assert [layer.name for layer in network.layers] == ["shuffle0", "max_pool2"]
    assert from_arrays(*to_arrays(network)).output_views == ((6, 6), (6, 3, 4))
    trace = golden.run(network, X, trace=True)
    assert np.array_equal(golden.run(network, X), trace["max_pool2"])


@pytest.mark.parametrize(
    ("outputs", "views", "words"),
    [
        ((), (), "at least one output and each once, not none"),
        (("shuffle0", "shuffle0"), (), "each once, not 'shuffle0', 'shuffle0'"),
        (("shuffle0", "other"), (), "has no tensor 'other'"),
        (("shuffle0",), ((72,), (72,)), "1 outputs and 2 views"),
        (two_outputs().outputs, (), "2 outputs and 1 orders"),
        (("shuffle0",), ((71,),), "must be a shape of the 72 elements"),
    ],
)
def test_outputs_that_are_none_are_refused(outputs, views, words):
    with pytest.raises(UserError, match=words):
        orders = (False,) * (1 if "orders" in words else len(outputs))
        replace(two_outputs(), outputs=outputs, output_views=views, outputs_last=orders)
