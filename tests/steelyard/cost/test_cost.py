"""The cost model: follows the actual weights and activations, under cited constants."""

from itertools import pairwise

import numpy as np
import pytest

from steelyard.cost import CONSTANTS, compare, constant_set, price
from steelyard.engines.crossbar import MAPPINGS, CrossbarConfig, activity, map_network
from steelyard.errors import UserError
from steelyard.network import NetworkBuilder, golden

CONFIG = CrossbarConfig(rows=128, columns=128)
SPARSE = [mapping for mapping in MAPPINGS if mapping != "traditional"]


def network_of(*weights):
    """Chain of 3x3 convolutions with ReLU on an 8x8 map; zero points as behind a ReLU."""
    builder = NetworkBuilder("chain", (weights[0].shape[1], 8, 8), zero_point=-128)
    for weight in weights:
        builder.conv(weight, padding=1, multiplier=1, shift=10)
    return builder.network()


def weights(share, seed=0, channels=(16, 64, 64)):
    """Weights with about `share` of whole kernels and, in the rest, of a few patterns kept."""
    rng = np.random.default_rng(seed)
    made = []
    for inputs, outputs in pairwise(channels):
        weight = rng.integers(1, 128, (outputs, inputs, 3, 3))
        weight *= rng.choice([-1, 1], weight.shape)
        if share < 1:
            masks = np.zeros((4, 9), bool)
            for mask in masks:
                mask[rng.choice(9, 4, replace=False)] = True
            weight[~masks.reshape(4, 3, 3)[rng.integers(0, 4, (outputs, inputs))]] = 0
            weight[rng.random((outputs, inputs)) >= share * 9 / 4] = 0
        made.append(weight.astype(np.int8))
    return made


def priced(mapping, network, x=None, config=CONFIG, constants="isaac32"):
    if x is None:
        shape = (2, *network.tensor("input").shape)
        x = np.random.default_rng(9).integers(-128, 128, shape).astype(np.int8)
    mapped = map_network(network, config, mapping)
    works = activity(network, mapped, golden.run(network, x, trace=True))
    return price(mapped, works, constants)


@pytest.mark.parametrize("constants", CONSTANTS)
@pytest.mark.parametrize("mapping", ["pattern", "mixed", "ou_row"])
def test_a_network_of_90_percent_zeros_costs_less(mapping, constants):
    dense = priced(mapping, network_of(*weights(1.0)), constants=constants)
    sparse = priced(mapping, network_of(*weights(0.1)), constants=constants)
    ratios = compare(sparse, dense)
    assert ratios.area > 1.5
    assert ratios.energy > 2
    assert ratios.speed > 1.5
    assert ratios.cells > 2
    assert ratios.ou_steps > 1.5


def zeroed(share, seed=1):
    """Dense weights of which whole rows and channels, about `share` in all, are made zero."""
    rng = np.random.default_rng(seed)
    made = weights(1.0)
    for weight in made:
        kept = (1 - share) ** 0.5
        weight[rng.random(len(weight)) >= kept] = 0
        weight[:, rng.random(weight.shape[1]) >= kept] = 0
    return made


@pytest.mark.parametrize("constants", CONSTANTS)
@pytest.mark.parametrize("mapping", SPARSE)
def test_90_percent_zeros_take_less_of_everything_in_every_sparse_mapping(mapping, constants):
    network = network_of(*zeroed(0.9))
    assert sum(np.count_nonzero(each.weight) for each in network.layers) < 0.15 * 46080
    ratios = compare(
        priced(mapping, network, constants=constants),
        priced("traditional", network, constants=constants),
    )
    for name in ("area", "energy", "speed", "parallel_speed", "cells", "ou_steps", "crossbars"):
        assert getattr(ratios, name) > (1.5 if name == "area" else 2), name


@pytest.mark.parametrize("mapping", SPARSE)
def test_costs_fall_with_every_share_of_zeros(mapping):
    costs = [priced(mapping, network_of(*zeroed(share))) for share in (0.0, 0.5, 0.9, 1.0)]
    for more, less in pairwise(costs):
        for name in ("total_area", "total_energy", "serial_time", "parallel_time"):
            assert getattr(less.total, name) < getattr(more.total, name), name
        assert less.mapping.crossbars <= more.mapping.crossbars
    assert costs[-1].mapping.crossbars == 0


@pytest.mark.parametrize("mapping", SPARSE)
def test_a_network_of_zeros_costs_only_its_outputs(mapping):
    cost = priced(mapping, network_of(*(0 * weight for weight in weights(1.0))))
    total = cost.total
    assert total.area["cells"] == total.area["converters"] == 0
    assert total.serial_time == total.parallel_time == 0
    spent = {part for part, value in total.energy.items() if value}
    assert spent <= {"buffer", "index"}
    traditional = priced("traditional", network_of(*(0 * weight for weight in weights(1.0))))
    assert compare(cost, traditional).speed == float("inf")
    assert compare(cost, traditional).energy > 100


def test_the_traditional_mapping_stores_zeros_at_full_price():
    dense, zero = (priced("traditional", network_of(*weights(s, channels=(16, 64))))
                   for s in (1.0, 0.0))  # fmt: skip
    assert compare(zero, dense) == compare(dense, dense)


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_inputs_of_zero_take_neither_time_nor_conversions(mapping):
    network = network_of(*weights(0.3, channels=(16, 64)))
    x = np.full((1, 16, 8, 8), -128, np.int8)
    cost = priced(mapping, network, x).total
    assert cost.serial_time == cost.parallel_time == 0
    assert cost.energy["adc"] == cost.energy["dac"] == cost.energy["cells"] == 0
    assert cost.total_area == priced(mapping, network).total.total_area


def test_the_two_mechanisms_are_told_apart():
    ratios = compare(
        priced("pattern", network_of(*weights(0.2))),
        priced("traditional", network_of(*weights(0.2))),
    )
    # 4 of 9 rows of kernels, of which 45 % are kept: cells see both, steps only whole kernels.
    assert ratios.cells == pytest.approx(9 / 4 / 0.45, rel=0.05)
    assert ratios.ou_steps == pytest.approx(1 / 0.45, rel=0.15)
    assert ratios.speed == pytest.approx(ratios.executed_steps)


def test_energy_is_the_counts_times_the_constants():
    network = network_of(*weights(0.3))
    cost = priced("pattern", network, constants="yu2020")
    constants = constant_set("yu2020")
    for name, work in cost.activities.items():
        counts, energy = work.counts, cost.layers[name].energy
        index = cost.mapping.layers[name].index_bits
        assert energy["adc"] == pytest.approx(counts.adc_conversions * (1.67 + 9.7e-4), rel=1e-6)
        assert energy["dac"] == pytest.approx(counts.dac_drives * 0.0182)
        assert energy["cells"] == pytest.approx(counts.cell_reads * 4.8 / 72)
        bit = constants.buffer_energy.value + constants.bus_energy.value
        assert energy["index"] == pytest.approx(index * work.pixels * bit)
        assert energy["buffer"] == pytest.approx(
            8 * counts.input_bytes * bit + 8 * counts.outputs * constants.buffer_energy.value
        )
        assert energy["shift_add"] == pytest.approx(
            0.021 * (counts.adc_conversions + 2 * counts.products)
        )
    assert cost.total.total_energy == pytest.approx(
        sum(layer.total_energy for layer in cost.layers.values())
    )


def test_inputs_and_index_pay_the_bus_and_outputs_do_not():
    """The figures themselves: eDRAM of 20.45 pJ for 256 bits, and a bus of 0.054 pJ a bit."""
    cost = priced("pattern", network_of(*weights(0.3)))
    read = 20.45 / 256
    for name, work in cost.activities.items():
        energy, counts = cost.layers[name].energy, work.counts
        index = cost.mapping.layers[name].index_bits * work.pixels
        assert energy["index"] == pytest.approx(index * (read + 0.054)) != 0
        assert energy["buffer"] == pytest.approx(
            8 * counts.input_bytes * (read + 0.054) + 8 * counts.outputs * read
        )


REACH = CONFIG.with_(adc_resolve="reach")


@pytest.mark.parametrize("constants", CONSTANTS)
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_a_conversion_is_priced_by_the_bits_that_it_resolves(mapping, constants):
    network = network_of(*weights(0.3))
    cost = priced(mapping, network, config=REACH, constants=constants)
    whole = priced(mapping, network, constants=constants)
    adc, _ = constant_set(constants).adc(8)
    bitline = constant_set(constants).bitline_energy
    for name, work in cost.activities.items():
        spent = sum(
            conversions * ((bits + 2) / 10 * adc.value + bitline.value)
            for bits, conversions in enumerate(work.conversions.tolist())
            if bits
        )
        energy, before = cost.layers[name].energy, whole.layers[name].energy
        assert energy["adc"] == pytest.approx(spent)
        counts, others = work.counts, whole.activities[name].counts
        assert energy["shift_add"] == pytest.approx(
            constant_set(constants).shift_add_energy.value
            * (counts.adc_conversions + 2 * counts.products)
        )
        assert counts.adc_conversions + counts.adc_left_out == others.adc_conversions
        # What is saved is not the half of it: sampling stays, and the bits are looked up.
        assert 0.3 * before["adc"] < energy["adc"] < 0.7 * before["adc"]
        assert energy["index"] >= before["index"]
        for part in ("dac", "cells", "buffer"):
            assert energy[part] == before[part]
    assert cost.total.area["converters"] == whole.total.area["converters"]
    added = cost.mapping.index_bits - whole.mapping.index_bits
    bit = constant_set(constants).buffer_area.value
    assert cost.total.area["index"] == pytest.approx(whole.total.area["index"] + added * bit)


@pytest.mark.parametrize("constants", CONSTANTS)
@pytest.mark.parametrize("mapping", MAPPINGS)
def test_units_of_rows_with_a_bit_cost_their_selection_and_save_steps(mapping, constants):
    network = network_of(*weights(0.3))
    dynamic = CONFIG.with_(ou_formation="dynamic")
    cost = priced(mapping, network, config=dynamic, constants=constants)
    static = priced(mapping, network, constants=constants)
    rows = constant_set(constants)
    for name, work in cost.activities.items():
        drives = work.counts.dac_drives * rows.dac_energy.value
        found = cost.layers[name].energy["dac"] - drives
        # Eight steps at each of two images' pixels pass every row of every unit.
        layer = cost.mapping.layers[name]
        passed = sum(
            len(block.rows) * len(range(0, len(block.channels), 2)) for block in layer.blocks
        )
        assert found == pytest.approx(passed * 8 * 2 * 64 * rows.shift_add_energy.value / 16)
        assert 0 < work.counts.dac_drives < static.activities[name].counts.dac_drives
    per_crossbar = 128 * (rows.shift_add_area.value / 16 + 8 * rows.buffer_area.value)
    assert cost.total.area["converters"] - static.total.area["converters"] == pytest.approx(
        cost.mapping.crossbars * per_crossbar
    )
    assert cost.total.area["cells"] == static.total.area["cells"]
    assert cost.total.total_energy < static.total.total_energy
    assert compare(cost, static).speed >= 1


def test_full_cells_take_whole_conversions():
    """Nothing is saved where every bitline reaches all bits, and the index costs."""
    full = np.full((8, 16, 3, 3), -1, np.int8)
    config = CONFIG.with_(signed="offset", adc_bits=6)
    own, other = (
        priced("traditional", network_of(full), config=config.with_(adc_resolve=resolve)).total
        for resolve in ("reach", "all")
    )
    for part in own.energy.keys() - {"index"}:
        assert own.energy[part] == other.energy[part]
    assert own.energy["index"] > other.energy["index"]
    assert (own.serial_time, own.parallel_time) == (other.serial_time, other.parallel_time)


def test_a_step_lasts_as_long_as_its_slowest_conversion():
    """Weights of 5 in 9 rows reach 6 bits; in MNSIM's set these take longer than to settle."""
    network = network_of(np.full((8, 16, 3, 3), 5, np.int8))
    for constants, long, short in (("mnsim", 10 / 1.1, 8 / 1.1), ("yu2020", 100, 100)):
        own, other = (
            priced("traditional", network, config=config, constants=constants)
            for config in (REACH, CONFIG)
        )
        (steps,) = (work.crossbar_steps for work in own.activities.values())
        assert other.total.serial_time == pytest.approx(steps.sum() * long)
        assert own.total.serial_time == pytest.approx(steps.sum() * short)
        assert own.total.parallel_time == pytest.approx(steps.max() * short)


def test_times_are_the_steps_of_all_and_of_the_busiest_crossbar():
    cost = priced("traditional", network_of(*weights(1.0)))
    steps = [work.crossbar_steps for work in cost.activities.values()]
    assert cost.total.serial_time == 100 * sum(each.sum() for each in steps)
    assert cost.total.parallel_time == 100 * sum(each.max() for each in steps)


def test_area_counts_whole_crossbars_and_the_index():
    cost = priced("pattern", network_of(*weights(0.2)))
    crossbars, area = cost.mapping.crossbars, cost.total.area
    assert area["cells"] == pytest.approx(25 * crossbars)
    assert area["converters"] == pytest.approx(
        crossbars * (128 * 0.166 + 128 * 0.039 + 8 * (1200 + 60))
    )
    assert area["index"] == pytest.approx(cost.mapping.index_bits * 83000 / 2**19)
    traditional = priced("traditional", network_of(*weights(0.2)))
    own, other = (
        each.mapping.crossbars * 128 * 128 + each.mapping.index_bits / 4
        for each in (cost, traditional)
    )
    assert compare(cost, traditional).crossbar_area == pytest.approx(other / own)


def test_fill_free_areas_are_those_of_cells_however_large_the_crossbars_are():
    """In one crossbar whole areas tell nothing apart; without fill they are those of small ones."""
    dense, sparse = network_of(*weights(1.0)), network_of(*weights(0.2))
    large = CrossbarConfig(rows=1024, columns=1024)
    own = priced("pattern", sparse, config=large)
    other = priced("traditional", dense, config=large)
    assert own.mapping.crossbars == other.mapping.crossbars == 1
    ratios = compare(own, other)
    crossbar = 25 / 128**2 * 1024**2 + 1024 * (0.166 + 0.039) + 8 * (1200 + 60)
    filled = [
        each.mapping.cells / 1024**2 * crossbar + each.total.area["index"] for each in (own, other)
    ]
    assert ratios.fill_free_area == pytest.approx(filled[1] / filled[0])
    # The index is in both.
    assert ratios.area < 1 < ratios.fill_free_area < ratios.cells


@pytest.mark.parametrize("mapping", ["traditional", "pattern", "mixed"])
def test_sharing_crossbars_saves_area_and_no_energy(mapping):
    network = network_of(*weights(0.3))
    x = np.random.default_rng(9).integers(-128, 128, (1, 16, 8, 8)).astype(np.int8)
    traced = golden.run(network, x, trace=True)
    shared, apart = (
        map_network(network, CrossbarConfig(), mapping, share=s) for s in (True, False)
    )
    own, other = (price(m, activity(network, m, traced)) for m in (shared, apart))
    for part in own.total.energy.keys() - {"index"}:  # which names the crossbars
        assert own.total.energy[part] == other.total.energy[part]
    assert own.total.serial_time == other.total.serial_time
    for name, work in own.activities.items():
        assert work.counts == other.activities[name].counts
        assert len(work.crossbar_steps) == shared.layers[name].crossbars
    ratio = other.total.area["cells"] / own.total.area["cells"]
    assert ratio == pytest.approx(apart.crossbars / shared.crossbars)
    assert ratio > 1


def test_every_constant_has_unit_and_source():
    for name, constants in CONSTANTS.items():
        rows = constants.rows()
        assert constants.name == name
        assert len(rows) > 20 or name == "mnsim"
        for _, row in rows:
            assert row.unit and row.source and row.value >= 0
            # Only figures of MNSIM 2.0 come without a node.
            assert row.node > 0 or (row.node == 0 and row.source.startswith("MNSIM 2.0"))
    assert [row for _, row in CONSTANTS["isaac32"].rows() if row.from_memory] == []
    assert [n for n, row in CONSTANTS["yu2020"].rows() if row.from_memory] == [
        "adc_energy of 8 bits", "dac_energy", "cell_energy",
    ]  # fmt: skip


def test_areas_of_mnsim_are_those_of_its_tables():
    # MNSIM-2.0 at ca39ccb: ADC_area_dict of ADC.py, `1150*self.xbar_row` of Crossbar.py.
    constants = constant_set("mnsim")
    assert {bits: row.value for bits, row in constants.adc_area.items()} == {
        4: 500, 6: 1650, 8: 1650,
    }  # fmt: skip
    assert constants.row_area.value == 1150


def test_yu2020_says_which_of_its_figures_the_paper_has():
    rows = [row for _, row in constant_set("yu2020").rows() if row.from_memory]
    assert len(rows) == 3
    assert all("is our choice" in row.source for row in rows)


def test_an_adc_without_a_row_takes_the_next_larger():
    constants = constant_set("isaac32")
    assert constants.adc(3)[0].value == constants.adc(4)[0].value == 0.79
    with pytest.raises(UserError, match="^Constant set 'isaac32' has no ADC of 11 bits, only up"):
        constants.adc(11)


def test_costs_of_two_sets_are_not_compared():
    network = network_of(*weights(1.0, channels=(16, 64)))
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(priced("pattern", network), priced("pattern", network, constants="mnsim"))


def test_an_unknown_set_is_refused():
    with pytest.raises(
        UserError, match="^Constant set 'tsmc' is unknown; use one of isaac32, mnsim, yu2020.$"
    ):
        constant_set("tsmc")
