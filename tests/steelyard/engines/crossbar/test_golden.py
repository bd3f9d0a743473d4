"""The golden crossbar: equal to the contract spelled out, and to the integer network."""

import numpy as np
import pytest

from crossbars import approximated, random_config
from steelyard.engines.crossbar import (
    MAPPINGS,
    Converter,
    CrossbarConfig,
    DeviceEffects,
    accumulator_bound,
    activity,
    fit_converters,
    map_layer,
    map_network,
    operation_units,
    run,
)
from steelyard.engines.crossbar.arithmetic import Crossbars
from steelyard.engines.crossbar.cells import bit_slices, block_cells
from steelyard.engines.crossbar.counts import count
from steelyard.engines.crossbar.fitting import fitted as fit_to
from steelyard.engines.crossbar.golden import windows
from steelyard.errors import UserError
from steelyard.network import golden
from steelyard.network.random import random_conv, random_input, random_network


def resolved(config, levels):
    """Bits that the converter of one bitline resolves, of the levels of its cells."""
    if config.adc_resolve == "all":
        return config.adc_bits
    greatest = int(levels.sum()) * ((1 << config.dac_bits) - 1)
    return (int(config.convert(greatest)) >> config.adc_shift).bit_length()


def spelled_out(mapping, inputs, cells, convert=None):
    """Sums and counts by the contract's sentences, one operation unit, step and bitline a time.

    `convert` takes a bitline sum and its factor, the configuration's converter unless given.
    """
    config = mapping.config
    pixels = inputs.shape[1]
    sums = np.zeros((pixels, mapping.shape[0]), np.int64)
    names = ("steps", "skipped", "conversions", "drives", "reads", "products", "left", "decisions")
    counts = dict.fromkeys(names, 0)
    for unit in operation_units(mapping):
        levels = cells[unit.block][unit.within]
        for pixel in range(pixels):
            u = inputs[unit.rows, pixel].astype(int)
            worked = False
            for step in range(config.steps):
                bits = (u >> (step * config.dac_bits)) & ((1 << config.dac_bits) - 1)
                if not bits.any():
                    counts["skipped"] += 1
                    continue
                worked = True
                bitlines = len(unit.channels) * config.weight_bitlines
                counts["steps"] += 1
                counts["drives"] += len(unit.rows)
                counts["reads"] += len(unit.rows) * bitlines
                for c, channel in enumerate(unit.channels):
                    for line in range(config.weight_bitlines):
                        total = int(bits @ levels[:, c, line].astype(int))
                        tried = resolved(config, levels[:, c, line].astype(int))
                        counts["conversions" if tried else "left"] += 1
                        counts["decisions"] += tried
                        code = approximated(config, total, tried)
                        shift = line % config.slices * config.cell_bits + step * config.dac_bits
                        sign = -1 if line >= config.slices else 1
                        if convert is not None:
                            code = convert(total, 1 << shift)
                        sums[pixel, channel] += sign * (code << shift)
            if config.signed == "offset":
                sums[pixel, unit.channels] -= 128 * u.sum()
            counts["products"] += worked * len(unit.channels)
    return sums, counts


@pytest.mark.parametrize("seed", range(40))
def test_arithmetic_and_counts_follow_the_contract(seed):
    rng = np.random.default_rng(seed)
    config = random_config(rng)
    shape = (int(rng.integers(1, 9)), int(rng.integers(1, 5)), *rng.integers(1, 4, 2).tolist())
    weight = rng.integers(-127, 128, shape).astype(np.int8)
    weight[rng.random(shape) < rng.choice([0.0, 0.5, 0.9])] = 0
    mapping = map_layer(weight, config, str(rng.choice(list(MAPPINGS))))
    inputs = rng.integers(0, 256, (mapping.positions, int(rng.integers(1, 4)))).astype(np.uint8)
    inputs[rng.random(inputs.shape) < 0.5] &= 5
    effects = None
    if rng.random() < 0.5:
        effects = DeviceEffects(
            seed=seed, stuck_at_zero=50000, stuck_at_one=50000, deviating=300000, deviation=2
        )
    sums, counts = spelled_out(mapping, inputs, block_cells(mapping, effects))
    # Both ways of computing: tables pay only from many pixels.
    for times in (1, 40):
        repeated = np.tile(inputs, (1, times))
        found = Crossbars(mapping, effects).accumulate(repeated)
        assert np.array_equal(found, np.tile(sums, (times, 1)))
    assert (np.abs(sums).max(axis=0) <= accumulator_bound(mapping, effects)).all()
    work = count(mapping, inputs, effects)
    names = (
        "ou_steps", "ou_skipped", "adc_conversions", "dac_drives", "cell_reads", "products",
        "adc_left_out", "adc_decisions",
    )  # fmt: skip
    assert [getattr(work.counts, name) for name in names] == list(counts.values())
    assert work.crossbar_steps.sum() == work.counts.ou_steps
    assert work.counts.input_bytes == sum(len(b.rows) for b in mapping.blocks) * inputs.shape[1]
    assert work.counts.outputs == shape[0] * inputs.shape[1]


def test_conversions_by_bits_are_those_of_every_bitline_of_300_layers():
    """Of cells as they are held, in every operation unit, step and pixel, by crossbar and bits."""
    kinds = set()
    for seed in range(300):
        rng = np.random.default_rng([seed, 11])
        config = random_config(rng).with_(adc_resolve="reach")
        shape = (int(rng.integers(1, 13)), int(rng.integers(1, 7)), *rng.integers(1, 4, 2).tolist())
        weight = rng.integers(-127, 128, shape).astype(np.int8)
        weight[rng.random(shape) < rng.choice([0.0, 0.5, 0.9])] = 0
        mapping = map_layer(weight, config, list(MAPPINGS)[seed % 5])
        inputs = rng.integers(0, 256, (mapping.positions, 3)).astype(np.uint8)
        inputs[rng.random(inputs.shape) < 0.5] &= 5
        effects = None
        if seed % 2:
            effects = DeviceEffects(seed=seed, stuck_at_zero=100_000, stuck_at_one=100_000)
        cells = block_cells(mapping, effects)
        conversions = np.zeros(config.adc_bits + 1, int)
        slowest = np.zeros((mapping.crossbars, config.adc_bits + 1), int)
        numbers = mapping.crossbar_numbers.tolist()
        for unit in operation_units(mapping):
            bits = np.bitwise_or.reduce(inputs[unit.rows])
            digits = bits[:, None] >> np.arange(0, 8, config.dac_bits)
            steps = int(np.count_nonzero(digits & ((1 << config.dac_bits) - 1)))
            levels = cells[unit.block][unit.within].reshape(len(unit.rows), -1).astype(int)
            tried = [resolved(config, line) for line in levels.T]
            np.add.at(conversions, tried, steps)
            slowest[numbers.index(unit.crossbar), max(tried)] += steps
        work = count(mapping, inputs, effects)
        message = f"seed {seed}: {config}, {mapping.mapping}"
        assert work.conversions.tolist() == conversions.tolist(), message
        assert work.slowest.tolist() == slowest.tolist(), message
        kinds |= {config.adc_range, config.adc_rounding, config.signed, config.adc_is_ideal}
    assert kinds == {"unit", "full", "floor", "nearest", "differential", "offset", True, False}


def test_converters_that_resolve_all_bits_have_one_kind_of_conversion():
    network = random_network(5, max_pixels=60, max_channels=12)
    x = random_input(network, 2, 5)
    mapping = map_network(network, CrossbarConfig(), "pattern")
    for work in run(network, mapping, x).layers.values():
        assert not work.conversions[:-1].any() and not work.slowest[:, :-1].any()
        assert work.conversions[-1] == work.counts.adc_conversions > 0
        assert work.counts.adc_left_out == 0
        assert work.counts.adc_decisions == 8 * work.counts.adc_conversions


def test_a_run_counts_what_cells_with_faults_reach():
    network = random_network(5, max_pixels=60, max_channels=12)
    x = random_input(network, 2, 5)
    mapping = map_network(network, CrossbarConfig(adc_resolve="reach"), "pattern")
    effects = DeviceEffects(seed=1, stuck_at_one=300_000)
    worn = run(network, mapping, x, effects=effects).layers
    clean = run(network, mapping, x).layers
    first = next(iter(worn))
    assert worn[first].counts.ou_steps == clean[first].counts.ou_steps
    assert worn[first].counts.adc_decisions > clean[first].counts.adc_decisions


def test_conversions_stop_where_cells_end_and_change_no_output():
    """Bitlines of 9 cells: of nothing, of one small level, of 9 full ones."""
    weight = np.zeros((3, 9, 1, 1), np.int8)
    weight[1, 4], weight[2] = 5, 127
    config = CrossbarConfig(adc_resolve="reach")
    mapping = map_layer(weight, config, "traditional")
    work = count(mapping, np.full((9, 1), 1, np.uint8))
    # Slices of p, then of n: 5 takes 3 bits, 9 x 15 takes 8, 9 x 7 takes 6, all others none.
    assert work.conversions.tolist() == [9, 0, 0, 1, 0, 0, 1, 0, 1]
    assert work.slowest.tolist() == [[0, 0, 0, 1, 0, 0, 0, 0, 1]]
    assert (work.counts.adc_conversions, work.counts.adc_left_out) == (3, 9)
    assert work.counts.adc_decisions == 3 + 6 + 8


@pytest.mark.parametrize("seed", range(12))
def test_any_converter_is_applied_to_every_sum_and_all_sums_are_known(seed):
    rng = np.random.default_rng(seed)
    config = random_config(rng)
    weight = rng.integers(-127, 128, (3, 4, 2, 1)).astype(np.int8)
    mapping = map_layer(weight, config, "traditional")
    inputs = rng.integers(0, 256, (mapping.positions, 2)).astype(np.uint8)
    converter = Converter(int(rng.integers(1, 9)), int(rng.integers(1, 40)), bool(seed % 2))
    size, seen = int(rng.integers(1, 4)), []

    def convert(total, factor):
        seen.append((total, factor))
        # Halves upwards, as schools round.
        code = (2 * total + converter.step) // (2 * converter.step) if seed % 2 else (
            total // converter.step
        )  # fmt: skip
        return min(code, 2**converter.bits - 1) * converter.step

    expected, _ = spelled_out(mapping, inputs, block_cells(mapping), convert)
    bins = max(1 << 10, config.greatest_sum // size + 1)
    weights = np.zeros(bins)
    for total, factor in seen:
        weights[total // size] += factor**2
    for times in (1, 40):
        crossbars = Crossbars(mapping, converter=converter)
        repeated = np.tile(inputs, (1, times))
        assert np.array_equal(crossbars.accumulate(repeated), np.tile(expected, (times, 1)))
        found = crossbars.weighted_sums(repeated, size, bins)
        # Steps without inputs convert nothing; as sums of 0 they show nowhere else.
        assert found[1:] == pytest.approx(times * weights[1:])


def test_fitted_converters_have_the_least_error_of_all_steps():
    network = random_conv(np.random.default_rng(2), in_channels=6, out_channels=5)
    codes = random_input(network, 3, 1)
    mapping = map_network(network, CrossbarConfig(), "traditional")
    (layer,) = mapping.layers
    (conv,) = network.layers
    ((_, inputs),) = windows(network, conv, codes)
    cells = block_cells(mapping.layers[layer])
    fitted = fit_converters(network, mapping, codes, (2, 3, 4, 8))
    for bits, converters in fitted.items():

        def error(step, bits=bits):
            own, total = Converter(bits, step), 0

            def convert(sums, factor):
                nonlocal total
                total += (factor * (int(own.convert(sums)) - sums)) ** 2
                return 0

            spelled_out(mapping.layers[layer], inputs[:, ::7], cells, convert)
            return total

        thinned = Crossbars(mapping.layers[layer]).weighted_sums(inputs[:, ::7], 1, 1 << 12)
        chosen = fit_to(np.arange(1 << 12), thinned, bits).step
        errors = {step: error(step) for step in {1, chosen - 1, chosen, chosen + 1, 30} - {0}}
        assert errors[chosen] == min(errors.values())
        assert converters[layer].bits == bits and converters[layer].nearest
    assert fitted[2][layer].step > fitted[3][layer].step > fitted[8][layer].step == 1


def test_many_possible_sums_share_bins_when_ranges_are_fitted():
    config = CrossbarConfig(
        rows=512, ou_rows=512, columns=64, cell_bits=8, dac_bits=4, ou_columns=2, adc_bits=8
    )
    network = random_conv(np.random.default_rng(2), in_channels=60, out_channels=5)
    codes = random_input(network, 2, 1)
    mapping = map_network(network, config, "traditional")
    fitted = fit_converters(network, mapping, codes, (6, 8))
    (layer,) = mapping.layers
    exact = golden.run(network, codes).astype(int)

    def loss(converters):
        return np.abs(run(network, mapping, codes, converters=converters).output - exact).mean()

    coarse, fine = (loss(own) for own in fitted.values())
    assert fine < coarse
    # Nothing of the range is lost on sums that do not occur.
    full = {layer: Converter.of(config.with_(adc_range="full", adc_rounding="nearest"))}
    assert fitted[8][layer].step < full[layer].step and fine < loss(full)


@pytest.mark.parametrize("bits, step", [(0, 1), (25, 1), (4, 0)])
def test_converters_that_there_are_not_are_refused(bits, step):
    with pytest.raises(UserError, match="^A converter must have 1 to 24 bits and steps of 1 to"):
        Converter(bits, step)


@pytest.mark.parametrize("seed", range(12))
def test_with_an_ideal_adc_every_tensor_equals_the_integer_network(seed):
    rng = np.random.default_rng(seed)
    config = random_config(rng)
    config = config.with_(adc_bits=max(config.adc_bits, config.greatest_sum.bit_length()))
    assert config.adc_is_ideal
    network = random_network(seed, max_pixels=60, max_channels=12, layers=5)
    x = random_input(network, 3, seed)
    mapping, told = map_network(network, config, list(MAPPINGS)[seed % 5]), []
    result = run(network, mapping, x, progress=lambda *step: told.append(step))
    count = len(network.layers)
    assert told == [(n, count, each.name) for n, each in enumerate(network.layers, start=1)]
    for name, expected in golden.run(network, x, trace=True).items():
        assert np.array_equal(result.tensors[name], expected), name
    assert np.array_equal(result.output, result.tensors[network.output])


@pytest.mark.parametrize("signed", ["differential", "offset"])
def test_the_bound_of_accumulators_is_reached(signed):
    rng = np.random.default_rng(7)
    weight = rng.integers(-127, 128, (6, 5, 3, 3)).astype(np.int8)
    config = CrossbarConfig(signed=signed, adc_bits=5)
    for sign in (weight, np.abs(weight), -np.abs(weight)):
        mapping = map_layer(sign, config, "traditional")
        found = Crossbars(mapping).accumulate(np.full((45, 1), 255, np.uint8))[0]
        if signed == "differential" and sign is not weight:
            assert np.array_equal(np.abs(found), accumulator_bound(mapping))
        assert (np.abs(found) <= accumulator_bound(mapping)).all()


def test_large_operation_units_are_exact_too():
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (3, 3000, 1, 1)).astype(np.int8)
    inputs = rng.integers(0, 256, (3000, 4)).astype(np.uint8)
    config = CrossbarConfig(
        rows=4096, ou_rows=4096, columns=64, cell_bits=8, dac_bits=8, ou_columns=2, adc_bits=24
    )
    # Sums of 4096 rows could reach 28 bits, so these 3000 rows see the converter's steps.
    exact = inputs.T.astype(np.int64) @ weight[:, :, 0, 0].T.astype(np.int64)
    ideal = map_layer(weight, config.with_(ou_rows=256), "traditional")
    assert np.array_equal(Crossbars(ideal).accumulate(inputs), exact)
    rough = map_layer(weight, config.with_(adc_range="full"), "traditional")
    assert rough.config.adc_shift == 4
    difference = Crossbars(rough).accumulate(inputs) - exact
    assert difference.any() and np.abs(difference).max() < 16


def test_a_clipping_adc_changes_the_output():
    network = random_conv(np.random.default_rng(1), in_channels=8, out_channels=6)
    x = random_input(network, 2, 1)
    mapping = map_network(network, CrossbarConfig(adc_bits=3), "traditional")
    assert (run(network, mapping, x).output != golden.run(network, x)).any()


def test_activity_of_the_integer_networks_tensors_is_that_of_the_run():
    network = random_network(5, max_pixels=60, max_channels=12)
    x = random_input(network, 4, 5)
    mapping = map_network(network, CrossbarConfig(), "pattern")
    works = activity(network, mapping, golden.run(network, x, trace=True))
    layers = run(network, mapping, x).layers
    assert works.keys() == layers.keys()
    for name, work in works.items():
        assert work.counts == layers[name].counts
        assert np.array_equal(work.crossbar_steps, layers[name].crossbar_steps)


def test_inputs_of_zero_skip_every_step():
    mapping = map_layer(np.ones((4, 3, 3, 3), np.int8), CrossbarConfig(), "traditional")
    work = count(mapping, np.zeros((27, 5), np.uint8))
    assert work.counts.ou_steps == work.counts.adc_conversions == work.counts.products == 0
    assert work.counts.ou_skipped == mapping.operation_units * 8 * 5


def test_bit_slices_hold_the_weights_lowest_first():
    weights = np.array([0x5A, -0x5A, 0, -127], np.int8)
    differential = bit_slices(weights, CrossbarConfig(cell_bits=4))
    assert differential.tolist() == [[10, 5, 0, 0], [0, 0, 10, 5], [0, 0, 0, 0], [0, 0, 15, 7]]
    offset = bit_slices(weights, CrossbarConfig(cell_bits=2, signed="offset"))
    assert offset.tolist() == [[2, 2, 1, 3], [2, 1, 2, 0], [0, 0, 0, 2], [1, 0, 0, 0]]


def test_device_effects_touch_the_stated_share_of_cells():
    weight = np.random.default_rng(0).integers(-127, 128, (128, 64, 3, 3)).astype(np.int8)
    mapping = map_layer(weight, CrossbarConfig(), "traditional")
    clean = np.concatenate([cells.ravel() for cells in block_cells(mapping)])

    def held(**effects):
        cells = block_cells(mapping, DeviceEffects(seed=3, **effects))
        return np.concatenate([each.ravel() for each in cells]).astype(int)

    assert np.array_equal(held(), clean)
    stuck = held(stuck_at_one=100_000)
    assert set(stuck[stuck != clean]) == {15}
    assert np.mean(stuck == 15) == pytest.approx(0.1 + 0.9 * np.mean(clean == 15), abs=0.005)
    assert not held(stuck_at_zero=1_000_000).any()
    off = held(deviating=200_000, deviation=3) - clean
    inner = (clean >= 3) & (clean <= 12)
    assert np.mean(off[inner] != 0) == pytest.approx(0.2, abs=0.01)
    assert set(off[inner]) == {-3, -2, -1, 0, 1, 2, 3}


def test_layers_in_a_shared_crossbar_share_its_faults():
    """Cells of two layers, read back over the whole crossbar, are one draw of faults."""
    network = random_network(8, kinds=("conv",), layers=2, max_channels=8)
    mapping = map_network(network, CrossbarConfig(), "traditional")
    assert mapping.crossbars == 1
    effects = DeviceEffects(seed=4, stuck_at_one=500_000)
    stuck = effects.apply(np.zeros((512, 512), np.uint8), mapping.config, 0) == 15
    for layer_mapping in mapping.layers.values():
        cells = block_cells(layer_mapping, effects)
        clean = block_cells(layer_mapping)
        for number, (held, written) in enumerate(zip(cells, clean, strict=True)):
            own = stuck[layer_mapping.window(number)].reshape(held.shape)
            assert np.array_equal(held, np.where(own, 15, written))


def test_device_effects_follow_from_seed_and_place():
    mapping = map_layer(np.ones((8, 8, 3, 3), np.int8), CrossbarConfig(), "traditional")
    effects = [DeviceEffects(seed=seed, deviating=500_000) for seed in (1, 1, 2)]
    first, again, other = (block_cells(mapping, each)[0] for each in effects)
    assert np.array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize(
    "fields, sentence",
    [
        ({"stuck_at_one": -1}, "^Device effect 'stuck_at_one' must be a whole number from 0"),
        ({"stuck_at_one": 600_000, "deviating": 600_000}, "^Device effects must not touch more"),
        ({"deviation": 0}, "^Device effect 'deviation' must lie between 1 and 255, not 0; "),
    ],
)
def test_bad_device_effects_are_refused(fields, sentence):
    with pytest.raises(UserError, match=sentence):
        DeviceEffects(**fields)


def test_a_mapping_of_another_network_is_refused():
    network = random_network(1, kinds=("conv",), layers=1)
    mapping = map_network(random_network(2, kinds=("fc",), layers=1), CrossbarConfig(), "pattern")
    with pytest.raises(UserError, match="^The mapping has no layer 'conv0' of shape "):
        run(network, mapping, random_input(network, 1, 0))


def test_an_input_of_another_shape_is_refused():
    network = random_conv(np.random.default_rng(1))
    mapping = map_network(network, CrossbarConfig(), "pattern")
    with pytest.raises(UserError, match=r"must be int8 of shape \(images, 3, 6, 7\), not int8 of"):
        run(network, mapping, np.zeros((1, 3, 6, 6), np.int8))
