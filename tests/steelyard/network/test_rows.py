"""Rows that output rows depend on, against what changes when a row does."""

import itertools

import numpy as np
import pytest

from steelyard.network import Add, AvgPool, MaxPool, NetworkBuilder, Pad, Repeat, golden
from steelyard.network.random_shapes import random_shapes

HEIGHT = 7


def appended(kind, *sources, **fields):
    builder = NetworkBuilder("one", (4, HEIGHT, 3))
    builder.append(kind, *sources, **fields)
    return builder.network()


def convolved(kernel, stride, padding):
    builder = NetworkBuilder("one", (1, HEIGHT, 3))
    weight = np.ones((2, 1, kernel, 2), np.int8)
    builder.conv(weight, stride=stride, padding=padding, multiplier=1, shift=1)
    return builder.network()


ONE = [
    convolved(3, 1, 1),
    convolved(3, (2, 1), (0, 0, 2, 0)),
    convolved(2, (3, 1), (1, 0, 0, 1)),
    convolved(HEIGHT, 1, 0),
    appended(MaxPool, kernel=(3, 3), stride=(2, 2), padding=(1, 0, 2, 1)),
    appended(AvgPool, kernel=(2, 1), stride=(3, 1), multiplier=1, shift=1),
    appended(Add, "input", "input", multiplier_a=1, multiplier_b=1, shift=1),
    appended(Pad, padding=(3, 0, 2, 1)),
    appended(Pad, padding=(-2, 0, -1, 0)),
    appended(Repeat, axis=1, count=3),
    appended(Repeat, axis=2, count=3),
]


@pytest.mark.parametrize("network", ONE, ids=lambda network: network.layers[0].kind)
def test_an_output_row_changes_with_the_rows_that_it_reads_and_no_others(network):
    (layer,) = network.layers
    shape = network.tensor(network.input).shape
    before = golden.run(network, np.zeros((1, *shape), np.int8))
    for row in range(shape[1]):
        x = np.zeros((1, *shape), np.int8)
        x[:, :, row] = 100
        changed = (golden.run(network, x) != before).any(axis=(0, 1, 3))
        reading = [row in layer.rows_read(own, shape[1]) for own in range(len(changed))]
        assert changed.tolist() == reading, row


@pytest.mark.parametrize("seed", range(20))
def test_rows_that_are_read_only_ascend_and_are_all_that_matter(seed):
    network = random_shapes(seed)
    rng = np.random.default_rng(seed)
    traced = golden.run(
        network,
        rng.integers(-128, 128, (1, *network.tensor(network.input).shape)).astype(np.int8),
        trace=True,
    )
    for layer in network.layers:
        for place, name in enumerate(layer.inputs):
            height = network.tensor(name).shape[1]
            rows = [
                layer.rows_read(row, height) for row in range(network.tensor(layer.output).shape[1])
            ]
            for above, below in itertools.pairwise(rows):
                assert above.start <= below.start and above.stop <= below.stop
            blocks = [traced[each] for each in layer.inputs]
            row = int(rng.integers(height))
            blocks[place] = blocks[place].copy()
            blocks[place][:, :, row] = rng.integers(-128, 128, blocks[place][:, :, row].shape)
            moved = golden.layer(network, layer, *blocks) != traced[layer.output]
            for own in np.flatnonzero(moved.any(axis=(0, 1, 3))):
                assert row in rows[own], (layer.kind, own)
