"""Mapping onto crossbars: exact, without overlap, inside the crossbars, and decodable."""

import numpy as np
import pytest

from steelyard.engines.crossbar import (
    MAPPINGS,
    CrossbarConfig,
    decode_index,
    decode_places,
    map_layer,
    map_network,
    matrix_of,
    operation_units,
    placing,
    row_sets,
    unmap,
)
from steelyard.engines.crossbar.index import IndexReader, IndexWriter
from steelyard.engines.crossbar.packing import pack
from steelyard.engines.crossbar.placing import CUTS, Cut, decode_cut
from steelyard.errors import UserError
from steelyard.network import NetworkBuilder
from steelyard.network.random import random_network

SHAPES = [
    ((24, 10, 3, 3), False),
    ((9, 20, 1, 1), False),
    ((7, 5, 4, 4), True),
    ((6, 4, 5, 5), False),
    ((5, 3, 7, 7), False),
    ((70, 40, 3, 3), False),
    ((1, 1, 1, 1), False),
]
CONFIGS = [
    CrossbarConfig(),
    CrossbarConfig(rows=40, columns=48, ou_rows=9, ou_columns=8, cell_bits=4),
    CrossbarConfig(rows=16, columns=20, ou_rows=16, ou_columns=8, cell_bits=8, signed="offset"),
    CrossbarConfig(rows=20, columns=70, ou_rows=3, ou_columns=16, cell_bits=1),
]


def weights(shape, kind, seed):
    """Random weights: dense, sparse, patterned, without some rows and channels, or all zero."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    if kind == "sparse":
        weight[rng.random(shape) < 0.85] = 0
    elif kind == "patterned":
        patterns = rng.random((4, 1, 1, *shape[2:])) < 0.4
        patterns[0] = False
        weight[~patterns[rng.integers(0, 4, shape[:2])][:, :, 0, 0]] = 0
    elif kind == "structured":
        weight[rng.random(shape[0]) < 0.5] = 0
        weight[:, rng.random(shape[1]) < 0.3] = 0
    elif kind == "zero":
        weight[:] = 0
    return weight


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("kind", ["dense", "sparse", "patterned", "structured", "zero"])
def test_unmapping_returns_the_weights_and_the_index_says_where_they_are(mapping, kind):
    for seed, (shape, fully_connected) in enumerate(SHAPES):
        weight = weights(shape, kind, seed)
        for config in CONFIGS:
            mapped = map_layer(weight, config, mapping, fully_connected=fully_connected)
            assert np.array_equal(unmap(mapped), weight)
            decoded = decode_index(mapped, fully_connected=fully_connected)
            assert len(decoded) == len(mapped.blocks)
            for block, (rows, channels) in zip(mapped.blocks, decoded, strict=True):
                assert np.array_equal(block.rows, rows)
                assert np.array_equal(block.channels, channels)
            assert 8 * len(mapped.index.data) - mapped.index.bits in range(8)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_blocks_lie_inside_the_crossbars_without_overlap(mapping):
    for config in CONFIGS[1:]:
        mapped = map_layer(weights((24, 10, 3, 3), "sparse", 5), config, mapping)
        taken = np.zeros((mapped.crossbars, config.rows, config.columns), np.int64)
        for block, (crossbar, row, column) in zip(mapped.blocks, mapped.places, strict=True):
            height = len(block.rows)
            width = len(block.channels) * config.weight_bitlines
            assert 0 < height <= config.rows - row and 0 < width <= config.columns - column
            taken[crossbar, row : row + height, column : column + width] += 1
        assert taken.max() == 1
        assert taken.any(axis=(1, 2)).all()
        assert taken.sum() == mapped.cells
        assert mapped.fill == pytest.approx(taken.mean())
        for crossbar in range(mapped.crossbars):
            assert np.array_equal(mapped.occupancy(crossbar) >= 0, taken[crossbar] == 1)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_every_weight_belongs_to_at_most_one_block(mapping):
    mapped = map_layer(weights((24, 10, 3, 3), "sparse", 6), CONFIGS[1], mapping)
    owners = np.zeros((mapped.positions, 24), np.int64)
    for block in mapped.blocks:
        taps, inputs = np.divmod(block.rows, 10)  # by input channel, then by tap
        assert np.all(np.diff(inputs * 9 + taps) > 0)
        owners[np.ix_(block.rows, block.channels)] += 1
    assert owners.max() == 1


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_operation_units_cover_the_blocks_in_order(mapping):
    config = CONFIGS[1]
    weight = weights((24, 10, 3, 3), "sparse", 7)
    mapped = map_layer(weight, config, mapping)
    matrix, order = np.zeros_like(matrix_of(weight)), []
    for unit in operation_units(mapped):
        assert len(unit.rows) <= config.ou_rows
        assert len(unit.channels) <= config.ou_weights
        matrix[np.ix_(unit.rows, unit.channels)] += unit.weights
        crossbar, row, column = mapped.places[unit.block]
        assert unit.crossbar == crossbar
        order.append((unit.block, unit.row - row, unit.column - column))
    assert order == sorted(order)
    assert len(order) == mapped.operation_units
    assert np.array_equal(matrix, matrix_of(weight))


def test_the_traditional_mapping_stores_every_zero_and_needs_no_index():
    mapping = map_layer(weights((24, 10, 3, 3), "zero", 0), CONFIGS[0], "traditional")
    assert mapping.weights == 24 * 90
    assert mapping.index.bits == 0
    assert mapping.operation_units == 10 * 12


@pytest.mark.parametrize("mapping", ["pattern", "mixed", "ou_row", "structured"])
def test_a_layer_of_zeros_takes_no_cells(mapping):
    mapped = map_layer(weights((24, 10, 3, 3), "zero", 0), CONFIGS[0], mapping)
    assert (mapped.crossbars, mapped.cells, mapped.blocks, mapped.fill) == (0, 0, (), 0.0)


def test_kernels_are_reordered_by_pattern_inside_an_input_channel():
    weight = np.zeros((6, 2, 3, 3), np.int8)
    weight[[0, 3, 5], 0, 0] = 1  # top row of input channel 0
    weight[[1, 4], 0, :, 1] = 2  # middle column of input channel 0
    weight[2, 1, 0] = 3  # top row of input channel 1
    mapping = map_layer(weight, CrossbarConfig(), "pattern")
    blocks = [(block.rows.tolist(), block.channels.tolist()) for block in mapping.blocks]
    # Position (ky*3 + kx)*2 + ic; the more frequent pattern comes first.
    assert blocks == [([0, 2, 4], [0, 3, 5]), ([2, 8, 14], [1, 4]), ([1, 3, 5], [2])]
    assert mapping.weights == 18


def test_a_weight_that_quantized_to_zero_opens_no_pattern():
    rng = np.random.default_rng(3)
    weight = weights((64, 16, 3, 3), "patterned", 3)
    before = map_layer(weight, CrossbarConfig(), "pattern")
    kept = np.flatnonzero(weight)
    weight.flat[rng.choice(kept, 3, replace=False)] = 0
    after = map_layer(weight, CrossbarConfig(), "pattern")
    assert len(after.blocks) == len(before.blocks)
    assert after.cells == before.cells
    assert np.array_equal(unmap(after), weight)


def pattern_index(weight):
    """Index parts of a pattern mapping after a round trip."""
    mapping = map_layer(weight, CrossbarConfig(), "pattern")
    for block, (rows, channels) in zip(mapping.blocks, decode_index(mapping), strict=True):
        assert np.array_equal(block.rows, rows) and np.array_equal(block.channels, channels)
    return mapping.index.parts


def test_the_index_of_patterns_takes_the_shortest_form():
    masks = np.zeros((4, 3, 3), np.int8)
    masks[1, 0], masks[2, :, 1], masks[3, 2] = 1, 1, 1
    rng = np.random.default_rng(0)
    header = 9 + 9 * 3 + 2
    few = np.zeros((1024, 2, 3, 3), np.int8)
    few[:30, 0] = np.repeat(masks[1:], 10, axis=0)  # lists: 2 sets by 3 counts, and channels
    assert pattern_index(few) == {
        "patterns": header, "kernels": 2 * 3 * 11, "channels": 30 * 10
    }  # fmt: skip
    equal = masks[rng.integers(0, 4, (64, 8))]  # numbers 0 to 3
    assert pattern_index(equal) == {"patterns": header, "kernels": 512 * 2}
    rare = masks[rng.integers(1, 4, (64, 8)) * (rng.random((64, 8)) < 0.3)]
    kernels = int(rare.any(axis=(2, 3)).sum())  # a bit each, and numbers of those present
    assert pattern_index(rare) == {"patterns": header, "kernels": 512 + 2 * kernels}
    dense = np.ones((64, 8, 3, 3), np.int8)  # one pattern, no zeros: nothing to say
    assert pattern_index(dense) == {"patterns": 9 + 9 + 2, "kernels": 0}


@pytest.mark.parametrize("seed", range(30))
def test_subsets_of_any_density_are_read_back(seed):
    rng = np.random.default_rng(seed)
    sets = []
    for size in rng.integers(1, 700, 20).tolist():
        members = np.flatnonzero(rng.random(size) < rng.random() ** 3)
        sets.append((size, members))
    writer = IndexWriter()
    for size, members in sets:
        writer.write_subset("rows", members, size)
    reader = IndexReader(writer.finish())
    for size, members in sets:
        assert np.array_equal(reader.read_subset(size), members)


@pytest.mark.parametrize(
    "share, bits",
    [
        (0.5, 512),  # a bit for each
        (0.004, 10 + 2 * 9),  # the members
        (0.999, 10 + 9),  # the others
        (0.0625, 10 + 32 * (4 + 1) + 32 + 1),  # four low bits each, and 32 values of the others
    ],
)
def test_a_subset_takes_the_shortest_form(share, bits):
    writer = IndexWriter()
    writer.write_subset("rows", np.arange(round(512 * share)) * int(1 / share), 512)
    assert writer.finish().bits == 2 + bits


def test_row_sets_are_taps_of_a_kernel_or_runs_of_positions():
    config = CrossbarConfig()
    assert row_sets((4, 2, 3, 3), config).tolist() == [
        list(range(0, 18, 2)),
        list(range(1, 18, 2)),
    ]
    runs = [list(range(9)), [9, 10, -1, -1, -1, -1, -1, -1, -1]]
    assert row_sets((4, 11, 1, 1), config).tolist() == runs
    assert row_sets((4, 1, 11, 1), config, fully_connected=True).tolist() == runs


def test_mixed_treats_the_columns_of_each_part_by_their_class():
    config = CrossbarConfig(rows=18, columns=32, ou_rows=9, ou_columns=8)
    weight = np.zeros((8, 4, 3, 3), np.int8)
    matrix = np.zeros((36, 8), np.int8)
    matrix[:, [1, 6]] = 5  # kept
    matrix[:4, [0, 7]] = 3  # fine, pruned alike, only in the upper part
    matrix[9:12, [2, 5]] = 4
    weight = matrix.reshape(3, 3, 4, 8).transpose(3, 2, 0, 1)
    mapping = map_layer(weight, config, "mixed")
    blocks = [(sorted(block.rows.tolist()), block.channels.tolist()) for block in mapping.blocks]
    assert blocks == [
        (list(range(18)), [1, 6]),
        ([0, 1, 2, 3], [0, 7]),
        ([9, 10, 11], [2, 5]),
        (list(range(18, 36)), [1, 6]),
    ]


def test_mixed_joins_columns_only_where_little_is_zero():
    config = CrossbarConfig(rows=20, columns=32, ou_rows=5, ou_columns=8)
    matrix = np.zeros((20, 5), np.int8)
    matrix[:5, 0] = 1
    matrix[5:10, 1] = 2  # no row in common with column 0
    matrix[1:5, 2] = 3  # 4 of the 5 rows of column 0: 9 of 10 cells
    matrix[8:14, 3] = 4  # 2 rows in common with column 1: 11 of 18 cells
    mapping = map_layer(matrix.T.reshape(5, 20, 1, 1), config, "mixed")
    blocks = [(block.rows.tolist(), block.channels.tolist()) for block in mapping.blocks]
    assert blocks == [
        ([0, 1, 2, 3, 4], [0, 2]),
        ([5, 6, 7, 8, 9], [1]),
        ([8, 9, 10, 11, 12, 13], [3]),
    ]
    found = [(rows.tolist(), channels.tolist()) for rows, channels in decode_index(mapping)]
    assert found == blocks


def test_operation_units_work_on_whole_kernels():
    mapping = map_layer(np.ones((2, 3, 3, 3), np.int8), CrossbarConfig(), "traditional")
    # Position (ky*3 + kx)*3 + ic.
    rows = [unit.rows.tolist() for unit in operation_units(mapping)]
    assert rows == [list(range(channel, 27, 3)) for channel in range(3)]


def test_tall_layers_are_cut_at_whole_operation_units():
    # 512 rows and 64 weights are no multiples of an operation unit of 9 x 3 weights.
    config = CrossbarConfig(columns=256, ou_columns=12)
    weight = np.ones((150, 130, 3, 3), np.int8)
    for mapping in MAPPINGS:
        for unit in operation_units(map_layer(weight, config, mapping)):
            if mapping == "mixed":  # whose parts are as large as a crossbar
                continue
            assert len(unit.rows) == 9 and len(set(unit.rows % 130)) == 1, mapping
            assert len(unit.channels) == 3, mapping
    blocks = map_layer(weight, config, "traditional").blocks
    assert [len(block.rows) for block in blocks[::3]] == [504, 504, 162]
    assert [len(block.channels) for block in blocks[:3]] == [63, 63, 24]


def test_ou_rows_drop_the_zero_rows_of_each_strip():
    weight = np.zeros((4, 20, 1, 1), np.int8)
    weight[0, [1, 5]] = 1
    weight[1, 7] = 1
    weight[3, 19] = 1
    mapping = map_layer(weight, CrossbarConfig(), "ou_row")
    blocks = [(block.rows.tolist(), block.channels.tolist()) for block in mapping.blocks]
    assert blocks == [([1, 5, 7], [0, 1]), ([19], [2, 3])]


def fill(places, heights, widths):
    """Share of the cells of crossbars of 512 x 512 that rectangles take."""
    return (heights * widths).sum() / ((places[:, 0].max() + 1) * 512 * 512)


def test_packing_fills_crossbars_with_pattern_blocks():
    rng = np.random.default_rng(0)
    heights, widths = rng.integers(1, 10, 2000), 4 * rng.integers(1, 60, 2000)
    places = pack(heights, widths, 512, 512)
    assert np.array_equal(places, pack(heights, widths, 512, 512))
    assert fill(places, heights, widths) > 0.9


def test_packing_fills_crossbars_with_narrow_strips():
    rng = np.random.default_rng(0)
    heights, widths = rng.integers(50, 512, 600), np.full(600, 8)
    assert fill(pack(heights, widths, 512, 512), heights, widths) > 0.85


def test_packing_fills_what_wide_blocks_leave_with_narrow_strips():
    rng = np.random.default_rng(1)
    heights = np.append(rng.integers(20, 200, 280), 9)
    widths = np.append(np.full(280, 8), 256)
    assert fill(pack(heights, widths, 512, 512), heights, widths) > 0.9


@pytest.mark.parametrize("seed", range(20))
def test_packed_rectangles_of_any_size_do_not_overlap(seed):
    rng = np.random.default_rng(seed)
    rows, columns, count = rng.integers(1, 60), rng.integers(1, 60), rng.integers(1, 400)
    heights = rng.integers(1, rng.integers(1, rows + 1) + 1, count)
    widths = rng.integers(1, rng.integers(1, columns + 1) + 1, count)
    places = pack(heights, widths, rows, columns)
    taken = np.zeros((places[:, 0].max() + 1, rows, columns), np.int64)
    for (crossbar, row, column), height, width in zip(places, heights, widths, strict=True):
        assert row + height <= rows and column + width <= columns
        taken[crossbar, row : row + height, column : column + width] += 1
    assert taken.max() == 1 and taken.any(axis=(1, 2)).all()


def test_networks_map_layer_by_layer():
    network = random_network(4)
    mapping = map_network(network, CrossbarConfig(), "pattern")
    for layer in network.layers:
        if layer.kind in ("conv", "fc"):
            assert np.array_equal(unmap(mapping.layers[layer.name]), layer.weight)
    parts = [part for each in mapping.layers.values() for part in (each.index, each.place_index)]
    assert mapping.index_bits == sum(part.bits for part in parts)


def test_only_bands_of_blocks_need_their_places_in_the_index():
    weight = np.zeros((200, 1, 3, 3), np.int8)
    weight[:100, 0, 0] = 1
    weight[100:150, 0, 1, :2] = 1
    weight[150:, 0, 2] = 1
    mapping = map_layer(weight, CrossbarConfig(), "pattern")
    places = {
        tuple(block.rows): place
        for block, place in zip(mapping.blocks, mapping.places.tolist(), strict=True)
    }
    assert places == {(0, 1, 2): [0, 0, 0], (6, 7, 8): [0, 3, 0], (3, 4): [0, 3, 200]}
    # How blocks are cut; 400 and 200 bitlines of 3 wordlines, which one band does not hold, and a
    # band of 2.
    assert mapping.place_index.parts == {"places": 2 + 3 * (0 + 9 + 7)}
    joined = map_layer(weight, CrossbarConfig(columns=1024), "pattern")
    assert joined.place_index.parts == {"places": 2 + 2 * (0 + 9 + 8)}


def layers_of(weights):
    """Chain of convolutions on an 8x8 map."""
    builder = NetworkBuilder("layers", (weights[0].shape[1], 8, 8))
    for weight in weights:
        builder.conv(weight, padding=weight.shape[2] // 2, multiplier=1, shift=1)
    return builder.network()


def units_of(mapping):
    """Rows and channels of all operation units, whatever their order."""
    return sorted((unit.rows.tolist(), unit.channels.tolist()) for unit in operation_units(mapping))


CHAIN = [(24, 3, 3, 3), (40, 24, 3, 3), (70, 40, 3, 3), (10, 70, 1, 1)]


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_layers_of_a_network_stand_in_numbered_crossbars_without_overlap(mapping, share):
    config = CrossbarConfig(rows=64, columns=64)
    made = [weights(shape, "sparse", seed) for seed, shape in enumerate(CHAIN)]
    mapped = map_network(layers_of(made), config, mapping, share=share)
    taken = np.zeros((mapped.crossbars, 64, 64), np.int64)
    for layer in mapped.layers.values():
        for number, place in enumerate(layer.places):
            taken[place[0]][layer.window(number)] += 1
    assert taken.max() == 1
    assert np.array_equal(mapped.fills, taken.mean(axis=(1, 2))) and mapped.fills.min() > 0
    owners = [set(layer.crossbar_numbers.tolist()) for layer in mapped.layers.values()]
    assert set().union(*owners) == set(range(mapped.crossbars))
    assert (sum(map(len, owners)) > mapped.crossbars) is share
    for crossbar in range(mapped.crossbars):
        found = mapped.occupancy(crossbar)
        assert np.array_equal(found >= 0, taken[crossbar] == 1)
        assert {n for n, own in enumerate(owners) if crossbar in own} == set(found.ravel()) - {-1}
    for own in mapped.layers.values():
        sizes = [(len(rows), len(channels)) for rows, channels in decode_index(own)]
        found = decode_places(own.place_index, sizes, config, mapped.crossbars)
        assert np.array_equal(found, own.places)
    shares = mapped.shares()
    assert sum(shares.values()) == pytest.approx(mapped.crossbars)
    if not share:
        assert shares == {name: each.crossbars for name, each in mapped.layers.items()}


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_sharing_changes_cuts_and_places_alone(mapping):
    made = [weights(shape, "patterned", seed) for seed, shape in enumerate(CHAIN)]
    network, config = layers_of(made), CrossbarConfig(rows=64, columns=64)
    shared, apart = (map_network(network, config, mapping, share=s) for s in (True, False))
    assert shared.crossbars < apart.crossbars
    for weight, own, other in zip(made, shared.layers.values(), apart.layers.values(), strict=True):
        alone = map_layer(weight, config, mapping, name=own.name)
        assert np.array_equal(unmap(own), weight)
        assert own.index == other.index == alone.index
        assert np.array_equal(other.places[:, 1:], alone.places[:, 1:])
        assert units_of(own) == units_of(other)


def test_tall_blocks_are_cut_where_that_saves_crossbars(monkeypatch):
    # Three areas of 300 rows and all bitlines: no two of them stand in one crossbar.
    weight = np.zeros((384, 900, 1, 1), np.int8)
    for third in range(3):
        weight[128 * third : 128 * third + 128, 300 * third : 300 * third + 300] = 1
    config = CrossbarConfig(columns=512, ou_columns=512)
    mapping = map_layer(weight, config, "ou_row")
    assert mapping.crossbars == 2
    assert decode_cut(mapping.place_index) == Cut(2, 1)
    assert [len(block.rows) for block in mapping.blocks] == 3 * [252, 48]
    # Two of 252 rows fill a crossbar; what is left is cut in vain.
    few = map_layer(weight[:256, :600], config, "ou_row")
    assert few.crossbars == 2
    assert decode_cut(few.place_index) == Cut(1, 1)
    # Six places of 17 bits in place of three of 18, each bit a 40th of a crossbar.
    monkeypatch.setattr(placing, "BIT_CELLS", 512 * 512 / 40)
    dear = map_layer(weight, config, "ou_row")
    assert dear.crossbars == 3
    assert decode_cut(dear.place_index) == Cut(1, 1)


@pytest.mark.parametrize("cut", CUTS, ids=str)
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_cuts_change_neither_weights_nor_operation_units(mapping, cut, monkeypatch):
    config = CrossbarConfig(rows=64, columns=64)
    made = [weights(shape, "sparse", seed) for seed, shape in enumerate(CHAIN)]
    network = layers_of(made)
    free = map_network(network, config, mapping)
    monkeypatch.setattr(placing, "CUTS", (cut,))
    forced = map_network(network, config, mapping)
    assert free.crossbars <= forced.crossbars
    for weight, own, other in zip(made, free.layers.values(), forced.layers.values(), strict=True):
        assert np.array_equal(unmap(other), weight)
        assert max(len(block.rows) for block in other.blocks) <= cut.block_rows(config)
        assert units_of(own) == units_of(other)


def test_narrow_bands_take_a_part_of_the_bitlines(monkeypatch):
    weight = np.zeros((16, 1, 3, 3), np.int8)
    weight[:, 0, 0] = np.arange(1, 49).reshape(16, 3)
    weight[8:, 0, 1] = 1  # two patterns, 8 channels each: 32 bitlines
    config = CrossbarConfig(rows=64, columns=64)
    assert map_layer(weight, config, "pattern").place_index.bits == 2 + 2 * (0 + 6 + 4)
    bands = placing._bands([(3, 1), (3, 3), (3, 2), (3, 5), (3, 1)], config, Cut(4, 4))
    # 16 bitlines hold 4 weights; a block of 5 stands alone.
    assert bands.widths == [16, 12, 20]
    assert bands.owners == [0, 0, 1, 2, 1]


def test_vgg_small_fills_its_crossbars():
    shapes = [(64, 1), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (10, 256)]
    network = layers_of([np.ones((*shape, 3, 3), np.int8) for shape in shapes])
    mapping = map_network(network, CrossbarConfig(), "traditional")
    # 17.8 in cells, 18.1 in operation units: a crossbar of 512 rows holds 56 of 9 rows.
    assert mapping.crossbars == 19
    assert map_network(network, CrossbarConfig(), "traditional", share=False).crossbars == 23


@pytest.mark.parametrize("mapping", [mapping for mapping in MAPPINGS if mapping != "traditional"])
def test_a_network_of_zeros_takes_no_crossbars(mapping):
    network = layers_of([np.zeros(shape, np.int8) for shape in CHAIN])
    mapped = map_network(network, CrossbarConfig(), mapping)
    assert (mapped.crossbars, mapped.cells, len(mapped.fills)) == (0, 0, 0)
    assert set(mapped.shares().values()) == {0.0}


def test_an_unknown_method_is_refused():
    sentence = (
        "Crossbar mapping 'dense' is unknown; "
        "use one of traditional, pattern, mixed, ou_row, structured."
    )
    with pytest.raises(UserError, match=f"^{sentence}$"):
        map_layer(np.zeros((1, 1, 1, 1), np.int8), CrossbarConfig(), "dense")


def test_weights_that_are_not_int8_are_refused():
    with pytest.raises(UserError, match="^Weights of layer 'layer' must be int8 of four axes"):
        map_layer(np.zeros((1, 1, 1, 1)), CrossbarConfig(), "pattern")
