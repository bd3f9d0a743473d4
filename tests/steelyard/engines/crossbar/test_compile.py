"""Weight items of the crossbar tile, and programs for it."""

from dataclasses import replace

import numpy as np
import pytest

from steelyard import driver
from steelyard.compile import Descriptor, compile
from steelyard.contract import AcceleratorConfig, configure
from steelyard.engines.crossbar import (
    MAPPINGS,
    CrossbarConfig,
    DeviceEffects,
    block_cells,
    block_reaches,
    map_layer,
    map_network,
    operation_units,
    run,
)
from steelyard.engines.crossbar.weights import (
    Unit,
    cells_items,
    crossbar_convolution,
    pack_layer,
    unpack_items,
)
from steelyard.errors import DoesNotFit, UserError
from steelyard.network import golden
from steelyard.network.random import random_input, random_network
from steelyard.program import Program

CROSSBARS = {
    "default": CrossbarConfig(rows=32, columns=48),
    "2-bit cells": CrossbarConfig(rows=20, columns=16, cell_bits=2),
    "offset": CrossbarConfig(rows=9, columns=24, cell_bits=1, signed="offset", ou_rows=5),
    "wide": CrossbarConfig(rows=30, columns=30, cell_bits=8, ou_columns=10, ou_rows=1),
}
SMALL = configure(
    "crossbar",
    lanes=4,
    group=4,
    requantizers=2,
    window_groups=64,
    activation_words=512,
    weight_words=2048,
    parameter_words=48,
    partial_sum_channels=16,
    max_layers=8,
    crossbar=CROSSBARS["default"],
)


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("name", CROSSBARS)
def test_items_hold_the_operation_units_in_order(name, mapping, parallel):
    config = SMALL.with_(crossbar=CROSSBARS[name], ou_parallel=parallel)
    each = config.engine.crossbar.ou_weights
    rng = np.random.default_rng([len(name), len(mapping)])
    for density in (1.0, 0.3, 0.0):
        weight = rng.integers(-127, 128, (13, 5, 3, 3)).astype(np.int8)
        weight[rng.random(weight.shape) >= density] = 0
        mapped = map_layer(weight, config.engine.crossbar, mapping)
        units = [
            Unit(
                item.rows, item.channels[first : first + each], item.cells[:, first : first + each]
            )
            for item in unpack_items(pack_layer(mapped, config), config)
            for first in range(0, len(item.channels), each)
        ]
        cells = block_cells(mapped)
        expected = list(operation_units(mapped))
        assert len(units) == len(expected)
        for unit, wanted in zip(units, expected, strict=True):
            assert unit.rows.tolist() == wanted.rows.tolist()
            assert unit.channels.tolist() == wanted.channels.tolist()
            assert (unit.cells == cells[wanted.block][wanted.within]).all()


@pytest.mark.parametrize("parallel", [1, 4])
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_rows_of_a_block_pass_for_each_item_of_channels_where_units_form_of_them(mapping, parallel):
    unit = CrossbarConfig(rows=40, columns=64, ou_formation="dynamic", adc_resolve="reach")
    config = SMALL.with_(crossbar=unit, ou_parallel=parallel)
    plain = SMALL.with_(crossbar=unit.with_(ou_formation="static"), ou_parallel=parallel)
    weight = np.random.default_rng(6).integers(-127, 128, (13, 5, 3, 3)).astype(np.int8)
    weight[:, :, 0] = 0
    mapped = map_layer(weight, unit, mapping)
    packed = pack_layer(mapped, config)
    assert len(packed) == crossbar_convolution(Descriptor(op=0), mapped, config).weight_count
    found, parts = unpack_items(packed, config), []
    flags = 2 + config.engine.count_bits
    behind = flags + 2 + config.engine.item_weights * config.engine.channel_bits
    behind += unit.ou_rows * config.engine.item_columns * unit.cell_bits
    for item in packed:
        word = int.from_bytes(item.astype("<u4").tobytes(), "little")
        held = [word >> (behind + 4 * n) & 15 for n in range(config.engine.item_columns)]
        if word & 1:
            parts.append((word >> flags & 1, word >> (flags + 1) & 1, held))
    width, number = config.engine.item_weights, 0
    for block, cells in zip(mapped.blocks, block_cells(mapped), strict=True):
        firsts = range(0, len(block.rows), unit.ou_rows)
        (reaches,) = block_reaches([cells], unit)
        for left in range(0, len(block.channels), width):
            for first in firsts:
                item, (begins, ends, reached) = found[number], parts[number]
                number += 1
                rows, channels = slice(first, first + unit.ou_rows), slice(left, left + width)
                assert item.rows.tolist() == block.rows[rows].tolist()
                assert item.channels.tolist() == block.channels[channels].tolist()
                assert (item.cells == cells[rows, channels]).all()
                assert (begins, ends) == (first == 0, first == firsts[-1])
                held = reaches[0, channels].ravel().tolist()
                assert reached == held + [0] * (len(reached) - len(held))
    assert number == len(found)
    # Blocks of no more rows than a unit, and those of one item of channels, are packed as before.
    again = sum(
        -(-len(block.rows) // unit.ou_rows) * ((len(block.channels) - 1) // width)
        for block in mapped.blocks
        if len(block.rows) > unit.ou_rows
    )
    before = pack_layer(map_layer(weight, plain.engine.crossbar, mapping), plain)
    assert len(packed) == len(before) + again
    assert (again > 0) == (mapping in ("traditional", "structured"))


def test_operation_units_in_parallel_take_fewer_items_and_cycles():
    network = random_network(3, layers=3, max_pixels=40, max_channels=16, kinds=("conv",))
    one, four = (
        compile(network, SMALL.with_(ou_parallel=n), mapping="traditional") for n in (1, 4)
    )
    assert one.mapping is not None
    mapping = next(iter(one.mapping.layers.values()))
    assert cells_items(mapping, one.config) == mapping.operation_units
    assert cells_items(mapping, four.config) < mapping.operation_units
    for slow, fast in zip(one.layers, four.layers, strict=True):
        assert fast.predicted_cycles < slow.predicted_cycles
        assert fast.weight_items < slow.weight_items
    with pytest.raises(UserError, match="'ou_parallel' must be one of 1, 2, 4, not 3"):
        SMALL.with_(ou_parallel=3)


def test_items_out_of_order_are_refused():
    weight = np.ones((4, 3, 3, 3), np.int8)
    items = pack_layer(map_layer(weight, SMALL.engine.crossbar, "traditional"), SMALL)
    with pytest.raises(ValueError, match="no rows came before"):
        unpack_items(items[1:], SMALL)
    with pytest.raises(ValueError, match="marked as the last"):
        unpack_items(items[:-1], SMALL)


def test_program_of_the_tile_survives_its_file(tmp_path):
    network = random_network(3, layers=3, max_pixels=40, max_channels=6)
    program = compile(network, SMALL, mapping="mixed")
    program.save(tmp_path / "tile.syp")
    again = Program.load(tmp_path / "tile.syp")
    assert (again.config, again.settings.mapping, again.layers) == (SMALL, "mixed", program.layers)
    assert (again.weights == program.weights).all()
    first = Descriptor.from_words(program.descriptors[0])
    assert first.weight_count == program.layers[0].weight_items


def test_hash_tells_crossbars_apart_but_not_their_constants():
    other = SMALL.with_(crossbar=SMALL.engine.crossbar.with_(adc_bits=3))
    priced = SMALL.with_(crossbar=SMALL.engine.crossbar.with_(constants="mnsim"))
    assert SMALL.hash() != other.hash()
    assert SMALL.hash() == priced.hash()


def test_layers_that_do_not_fit_are_named():
    network = random_network(3, layers=3, max_pixels=40, max_channels=6)
    with pytest.raises(DoesNotFit, match="raise window_groups or group"):
        compile(network, SMALL.with_(window_groups=2))
    with pytest.raises(DoesNotFit, match="raise partial_sum_channels to"):
        compile(network, SMALL.with_(partial_sum_channels=1))
    with pytest.raises(UserError, match="lower 'ou_parallel', 'ou_rows' or 'ou_columns'"):
        SMALL.with_(crossbar=CrossbarConfig(ou_rows=128, ou_columns=8))
    with pytest.raises(UserError, match="has no field 'columns'"):
        SMALL.with_(columns=2)
    with pytest.raises(UserError, match="must be a CrossbarConfig"):
        SMALL.with_(crossbar=8)


def test_configuration_survives_its_file(tmp_path):
    path = tmp_path / "tile.toml"
    config = SMALL.with_(crossbar=CROSSBARS["offset"])
    config.to_toml(path)
    assert AcceleratorConfig.from_toml(path) == config
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("[engine.crossbar]", "[crossbar]"), encoding="utf-8")
    with pytest.raises(UserError, match=r"'\[engine\]'.* not \['crossbar', 'engine', "):
        AcceleratorConfig.from_toml(path)


def test_golden_device_is_the_golden_crossbar_of_the_program():
    config = SMALL.with_(crossbar=SMALL.engine.crossbar.with_(adc_bits=2))
    network = random_network(3, layers=3, max_pixels=40, max_channels=6)
    program = compile(network, config, mapping="ou_row")
    x = random_input(network, 3, 1)
    mapping = map_network(network, config.engine.crossbar, "ou_row")
    expected = run(network, mapping, x).output
    device = driver.open("golden")
    device.load(program)
    assert (device.infer(x) == expected).all()
    assert driver.check_layers(program, x, device) is None
    assert (expected != golden.run(network, x)).any()


def test_a_compiled_program_maps_its_network_once(tmp_path, monkeypatch):
    network = random_network(3, layers=3, max_pixels=40, max_channels=6)
    program = compile(network, SMALL, mapping="mixed")
    program.save(tmp_path / "tile.syp")
    loaded = Program.load(tmp_path / "tile.syp").mapping
    again = "steelyard.engines.crossbar.engine.map_network"
    monkeypatch.setattr(again, lambda *_: pytest.fail("mapped again"))
    for name, layer in program.mapping.layers.items():
        assert loaded.layers[name].cells == layer.cells
        assert loaded.layers[name].places.tolist() == layer.places.tolist()
    assert replace(program, config=SMALL.with_(max_layers=64)).mapping is program.mapping


EFFECTS = DeviceEffects(seed=4, stuck_at_zero=50_000, stuck_at_one=20_000, deviating=200_000)


def test_device_effects_are_in_the_cells_and_in_the_file(tmp_path):
    network = random_network(3, layers=3, max_pixels=40, max_channels=6)
    program = compile(network, SMALL, mapping="mixed", effects=EFFECTS)
    assert (program.weights != compile(network, SMALL, mapping="mixed").weights).any()
    program.save(tmp_path / "worn.syp")
    again = Program.load(tmp_path / "worn.syp")
    assert again.settings.effects == EFFECTS
    x = random_input(network, 3, 1)
    mapping = map_network(network, SMALL.engine.crossbar, "mixed")
    expected = run(network, mapping, x, effects=EFFECTS).output
    device = driver.open("golden")
    device.load(again)
    assert (device.infer(x) == expected).all()
    assert driver.check_layers(again, x, device) is None
    assert (expected != golden.run(network, x)).any()


def test_device_effects_need_a_crossbar():
    network = random_network(3, layers=3, max_pixels=40, max_channels=6)
    with pytest.raises(UserError, match="sparse array has no option 'effects'; its options are k"):
        compile(network, configure("array"), effects=EFFECTS)
