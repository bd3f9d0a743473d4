"""Packed weight words: everything that went in comes out again, in the order of consumption."""

import numpy as np
import pytest
from numpy.typing import NDArray

from steelyard.compile import Descriptor, compile
from steelyard.contract import AcceleratorConfig, configure
from steelyard.errors import UserError
from steelyard.network import Conv, Network
from steelyard.network.random import random_conv
from steelyard.program import Program


def config(**changes: int) -> AcceleratorConfig:
    values = {
        "lanes": 4,
        "columns": 5,
        "group": 8,
        "requantizers": 2,
        "window_groups": 8,
        "weight_words": 1 << 16,
        "partial_sum_channels": 15,
    }
    return configure("array", **{**values, **changes})


def network(seed: int, out_channels: int, in_channels: int, group: int, k: int | None) -> Network:
    return random_conv(
        np.random.default_rng(seed),
        in_channels=in_channels,
        out_channels=out_channels,
        size=(4, 5),
        kernel=(3, 2),
        k=k,
        group=group,
    )


def fields(program: Program, item: int) -> list[tuple[int, int]]:
    """(value, index) of every column."""
    number = int.from_bytes(program.weights[item].astype("<u4").tobytes(), "little")
    width = program.config.engine.weight_bits
    pairs = []
    for column in range(program.config.engine.columns):
        pair = number >> column * width & (1 << width) - 1
        pairs.append(((pair & 255) - ((pair & 128) << 1), pair >> 8))
    return pairs


def unpacked(program: Program, layer: Conv) -> NDArray[np.int8]:
    """Weights of the program's only layer, read in the order chunk, pass, group, j."""
    size, columns = program.config.engine.group, program.config.engine.columns
    channels, inputs, kernel_h, kernel_w = layer.weight.shape
    flat = np.zeros((channels, -(-layer.weight[0].size // size) * size), np.int8)
    top = 0
    for words in program.descriptors:
        d = Descriptor.from_words(words)
        item = d.weight_base
        for chunk in range(d.chunks):
            last = chunk == d.chunks - 1
            first = chunk * d.chunk_groups
            for p in range(d.passes):
                used = d.last_columns if p == d.passes - 1 else columns
                for group in range(
                    first, first + (d.last_chunk_groups if last else d.chunk_groups)
                ):
                    kept = d.k_last if group == d.groups - 1 else d.k
                    entries = [fields(program, item + j) for j in range(kept)]
                    item += kept
                    for column in range(columns):
                        place(flat, entries, column, top + p * columns + column, group * size, used)
        assert item == d.weight_base + d.weight_count
        top += (d.passes - 1) * columns + d.last_columns
    assert top == channels
    return flat[:, : layer.weight[0].size].reshape(
        channels, kernel_h, kernel_w, inputs
    ).transpose(0, 3, 1, 2)  # fmt: skip


def place(flat, entries, column: int, channel: int, start: int, used: int) -> None:
    pairs = [entry[column] for entry in entries]
    real = [pair for pair in pairs if pair[0]]
    assert pairs == real + [(0, 0)] * (len(pairs) - len(real)), "unused entries come last as 0/0"
    indices = [index for _, index in real]
    assert indices == sorted(set(indices)), "indices ascend"
    assert column < used or not real, "columns past the last channel are empty"
    for value, index in real:
        flat[channel, start + index] = value


@pytest.mark.parametrize("group", [4, 8, 16, 32])
@pytest.mark.parametrize("columns", [1, 3, 8, 11])
@pytest.mark.parametrize("k", [1, 3, None])
def test_unpacking_returns_the_weights(group, columns, k):
    seed = group * 100 + columns * 10 + (k or 0)
    net = network(seed, out_channels=13, in_channels=7, group=group, k=k)
    program = compile(net, config(group=group, columns=columns))
    assert np.array_equal(unpacked(program, net.layers[0]), net.layers[0].weight)


@pytest.mark.parametrize("k", range(3, 9))
def test_every_k_stores_the_same_weights(k):
    net = network(5, out_channels=6, in_channels=5, group=8, k=3)
    program = compile(net, config(), k=k)
    entry = program.layers[0]
    # 30 positions are three groups of 8 and one of 6.
    assert entry.k == k
    assert entry.weight_items == 2 * (3 * k + min(k, 6))
    assert entry.kept == 6 * (3 * k + min(k, 6))
    assert np.array_equal(unpacked(program, net.layers[0]), net.layers[0].weight)


@pytest.mark.parametrize("window_groups", [2, 4, 8, 16])
def test_chunks_and_split_channels_keep_the_weights(window_groups):
    net = network(6, out_channels=33, in_channels=9, group=8, k=4)
    program = compile(net, config(window_groups=window_groups))
    descriptors = [Descriptor.from_words(words) for words in program.descriptors]
    for d in descriptors:
        assert d.groups == 7
        assert d.chunk_groups <= window_groups
        assert d.chunks == 1 or d.passes * 5 <= 15
    assert (len(descriptors) > 1) == (descriptors[0].chunks > 1)
    assert np.array_equal(unpacked(program, net.layers[0]), net.layers[0].weight)


def test_auto_takes_the_fullest_group_of_each_layer():
    net = network(7, out_channels=4, in_channels=5, group=8, k=2)
    weight = net.layers[0].weight
    weight[2, :, 0, 0] = [1, 2, 3, 4, 0]
    weight[2, :3, 0, 1] = 0
    program = compile(net, config())
    assert program.layers[0].k == 4
    assert program.layers[0].nnz == np.count_nonzero(weight)


def test_a_layer_of_zeros_keeps_one_weight_a_group():
    net = network(8, out_channels=2, in_channels=4, group=8, k=1)
    net.layers[0].weight[:] = 0
    program = compile(net, config())
    assert program.layers[0].k == 1
    assert program.layers[0].nnz == 0
    assert not program.weights.any()


def test_dense_keeps_whole_groups():
    net = network(9, out_channels=40, in_channels=5, group=8, k=2)
    sparse, dense = compile(net, config()), compile(net, config(), k="dense")
    assert dense.layers[0].k == 8
    assert dense.layers[0].nnz == sparse.layers[0].nnz
    assert dense.layers[0].weight_items == 8 * 30
    assert dense.layers[0].predicted_cycles > sparse.layers[0].predicted_cycles


def test_k_too_small_names_layer_channel_and_group():
    net = network(10, out_channels=4, in_channels=5, group=8, k=2)
    weight = net.layers[0].weight
    weight[:] = 0
    weight[3, :, 1, 1] = 9
    with pytest.raises(UserError) as refusal:
        compile(net, config(), k=2)
    # Position (ky=1, kx=1, ic) is 3 * 5 + ic: one weight in group 1, four in group 2.
    assert str(refusal.value) == (
        "Layer 'conv0' cannot keep K = 2 of every 8 weights: output channel 3 has 4 nonzero "
        "weights in group 2; use a K of at least 4, or prune the layer to 2."
    )


@pytest.mark.parametrize("k", [0, 9, -1, True, 2.0, "full", {"conv0": 9}])
def test_impossible_k_is_refused(k):
    net = network(11, out_channels=4, in_channels=5, group=8, k=2)
    with pytest.raises(
        UserError, match=r"K must be 'auto', 'dense' or an integer from 1 to 8, not"
    ):
        compile(net, config(), k=k)


def test_k_of_an_unknown_layer_is_refused():
    net = network(12, out_channels=4, in_channels=5, group=8, k=2)
    with pytest.raises(
        UserError, match=r"K is given for 'fc9', but the layers with weights are conv0"
    ):
        compile(net, config(), k={"fc9": 3})
    assert compile(net, config(), k={"conv0": 5}).layers[0].k == 5
