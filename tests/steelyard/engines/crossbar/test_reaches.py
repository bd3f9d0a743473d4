"""What bitlines reach, and the index that says it."""

import numpy as np
import pytest

from steelyard.engines.crossbar import (
    MAPPINGS,
    CrossbarConfig,
    block_cells,
    block_reaches,
    decode_index,
    decode_reaches,
    map_layer,
)

REACH = CrossbarConfig(adc_resolve="reach")


def layer(seed, zeros, shape=(13, 7, 3, 3)):
    rng = np.random.default_rng(seed)
    weight = rng.normal(0, 30, shape).round().clip(-127, 127).astype(np.int8)
    weight[rng.random(shape) < zeros] = 0
    return weight


@pytest.mark.parametrize("zeros", [0.0, 0.7, 0.99])
@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize(
    "config",
    [
        REACH,
        REACH.with_(cell_bits=2, ou_columns=16, ou_rows=4),
        REACH.with_(signed="offset", adc_bits=5, adc_range="full", adc_rounding="nearest"),
    ],
)
def test_the_index_says_what_every_bitline_reaches(config, mapping, zeros):
    mapped = map_layer(layer(3, zeros), config, mapping)
    reaches = block_reaches(block_cells(mapped), config)
    sizes = [(len(rows), len(channels)) for rows, channels in decode_index(mapped)]
    decoded = decode_reaches(mapped.reach_index, sizes, config)
    assert len(decoded) == len(reaches) == len(mapped.blocks)
    for own, other in zip(decoded, reaches, strict=True):
        assert np.array_equal(own, other)
    index = mapped.index.bits + mapped.place_index.bits
    assert mapped.index_bits == index + mapped.reach_index.bits
    assert mapped.reach_index.parts.keys() <= {"reaches"}


def test_reaches_take_little_more_than_their_entropy():
    config, weight = REACH, layer(1, 0.3, (64, 64, 3, 3))
    mapped = map_layer(weight, config, "traditional")
    reaches = [own.reshape(-1, 4) for own in block_reaches(block_cells(mapped), config)]
    least = 0.0
    for own in np.concatenate(reaches).T:
        share = np.bincount(own) / len(own)
        least -= len(own) * float((share * np.log2(share, where=share > 0, out=0 * share)).sum())
    header = 4 * 9 * 4
    assert least <= mapped.reach_index.bits - header < 1.06 * least
    # Four bits each would do without any code.
    assert mapped.reach_index.bits < 0.7 * 4 * mapped.cells / 9


def test_cells_of_one_kind_take_a_bit_a_bitline():
    mapped = map_layer(np.full((4, 9, 1, 1), 7, np.int8), REACH, "traditional")
    assert mapped.reach_index.bits == 4 * 9 * 4 + 16


def test_layers_without_cells_and_whole_converters_have_no_such_index():
    nothing = map_layer(np.zeros((4, 9, 1, 1), np.int8), REACH, "pattern")
    assert nothing.reach_index.bits == 0
    assert decode_reaches(nothing.reach_index, [], REACH) == []
    whole = map_layer(layer(2, 0.5), CrossbarConfig(), "pattern")
    assert whole.reach_index.bits == 0
    assert map_layer(layer(2, 0.5), REACH, "pattern").index_bits > whole.index_bits
