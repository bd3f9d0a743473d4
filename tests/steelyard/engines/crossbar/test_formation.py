"""Operation units formed of the rows with an input bit, against the contract spelled out."""

from collections import Counter

import numpy as np
import pytest

from crossbars import approximated, random_config
from steelyard.engines.crossbar import (
    MAPPINGS,
    Converter,
    CrossbarConfig,
    DeviceEffects,
    accumulator_bound,
    block_cells,
    block_reaches,
    count,
    decode_reaches,
    greatest_sum,
    map_layer,
    map_network,
    run,
)
from steelyard.engines.crossbar.arithmetic import Crossbars
from steelyard.engines.crossbar.counts import Tally
from steelyard.network import golden
from steelyard.network.random import random_input, random_network

DYNAMIC = CrossbarConfig(ou_formation="dynamic")


def reached(config, levels):
    """Bits that a bitline of any operation unit of a block resolves, of the cells of the block."""
    if config.adc_resolve == "all":
        return config.adc_bits
    most = sum(sorted(levels.tolist(), reverse=True)[: config.ou_rows])
    code = int(config.convert(most * ((1 << config.dac_bits) - 1))) >> config.adc_shift
    return code.bit_length()


def spelled_out(mapping, inputs, cells, convert=None):
    """Sums, counts, conversions by bits, and steps of each pixel in each crossbar by their slowest
    conversion, one operation unit, step and bitline a time."""
    config = mapping.config
    sums = np.zeros((inputs.shape[1], mapping.shape[0]), np.int64)
    found, by_bits, slowest = Counter(), Counter(), Counter()
    for block, levels, place in zip(mapping.blocks, cells, mapping.places, strict=True):
        levels = levels.astype(int)
        for left in range(0, len(block.channels), config.ou_weights):
            channels = range(left, min(left + config.ou_weights, len(block.channels)))
            tried = {
                (c, line): reached(config, levels[:, c, line])
                for c in channels for line in range(config.weight_bitlines)
            }  # fmt: skip
            for pixel in range(inputs.shape[1]):
                u = [int(value) for value in inputs[block.rows, pixel]]
                before = found["steps"]
                for step in range(config.steps):
                    bits = [(v >> step * config.dac_bits) % (1 << config.dac_bits) for v in u]
                    waiting = [row for row, bit in enumerate(bits) if bit]
                    found["skipped"] += -(-len(bits) // config.ou_rows)
                    while waiting:
                        unit, waiting = waiting[: config.ou_rows], waiting[config.ou_rows :]
                        found["steps"] += 1
                        found["skipped"] -= 1
                        found["drives"] += len(unit)
                        found["reads"] += len(unit) * len(tried)
                        slowest[int(place[0]), pixel, max(tried.values())] += 1
                        for (c, line), resolves in tried.items():
                            total = sum(bits[row] * levels[row, c, line] for row in unit)
                            by_bits[resolves] += 1
                            code = approximated(config, total, resolves)
                            shift = line % config.slices * config.cell_bits
                            shift += step * config.dac_bits
                            if convert is not None:
                                code = convert(total, 1 << shift)
                            sign = -1 if line >= config.slices else 1
                            sums[pixel, block.channels[c]] += sign * (code << shift)
                if config.signed == "offset":
                    for c in channels:
                        sums[pixel, block.channels[c]] -= 128 * sum(u)
                found["products"] += (found["steps"] > before) * len(channels)
    return sums, found, by_bits, slowest


@pytest.mark.parametrize("first", range(0, 300, 50))
def test_arithmetic_and_counts_of_300_layers_follow_the_contract(first):
    kinds = Counter()
    for seed in range(first, first + 50):
        rng = np.random.default_rng([seed, 18])
        config = random_config(rng).with_(ou_formation="dynamic")
        shape = (int(rng.integers(1, 6)), int(rng.integers(1, 5)), *rng.integers(1, 4, 2).tolist())
        weight = rng.integers(-127, 128, shape).astype(np.int8)
        weight[rng.random(shape) < rng.choice([0.0, 0.5, 0.9])] = 0
        mapping = map_layer(weight, config, str(rng.choice(list(MAPPINGS))))
        inputs = rng.integers(0, 256, (mapping.positions, 2)).astype(np.uint8)
        inputs[rng.random(inputs.shape) < rng.choice([0.2, 0.5, 1.0])] &= 5
        effects = None
        if rng.random() < 0.3:
            effects = DeviceEffects(seed=seed, stuck_at_zero=50000, deviating=300000, deviation=2)
        cells = block_cells(mapping, effects)
        sums, found, by_bits, slowest = spelled_out(mapping, inputs, cells)
        message = f"seed {seed}: {config}, {mapping.mapping}"
        # Blocks of few rows are looked up in tables, which pays only from many pixels.
        for times in (1, 20):
            repeated = np.tile(inputs, (1, times))
            accumulated = Crossbars(mapping, effects).accumulate(repeated)
            assert np.array_equal(accumulated, np.tile(sums, (times, 1))), message
        assert (np.abs(sums).max(axis=0) <= accumulator_bound(mapping, effects)).all(), message
        work = count(mapping, inputs, effects)
        names = {
            "steps": "ou_steps", "skipped": "ou_skipped", "drives": "dac_drives",
            "reads": "cell_reads", "products": "products",
        }  # fmt: skip
        for own, name in names.items():
            assert getattr(work.counts, name) == found[own], f"{message}: {name}"
        assert work.conversions.tolist() == [by_bits[n] for n in range(config.adc_bits + 1)]
        assert work.counts.adc_conversions == sum(by_bits.values()) - by_bits[0]
        assert work.counts.adc_decisions == sum(bits * n for bits, n in by_bits.items())
        for place, number in enumerate(mapping.crossbar_numbers.tolist()):
            own = [sum(n for (crossbar, _, bits), n in slowest.items() if (crossbar, bits) ==
                   (number, each)) for each in range(config.adc_bits + 1)]  # fmt: skip
            assert work.slowest[place].tolist() == own, message
        times = np.arange(config.adc_bits + 1) + 1.0
        longest = [
            max((sum(times[bits] * n for (crossbar, at, bits), n in slowest.items()
                 if (crossbar, at) == (number, pixel)) for number in mapping.crossbar_numbers),
                default=0) for pixel in range(2)
        ]  # fmt: skip
        assert Tally(mapping, effects).pixel_times(inputs, times[None])[0].tolist() == longest
        tall = any(len(block.rows) > config.ou_rows for block in mapping.blocks)
        kinds.update({
            mapping.mapping, config.signed, config.adc_resolve, config.adc_rounding, tall,
            "ideal" if config.adc_is_ideal else config.adc_range,
        })  # fmt: skip
    assert kinds[True] > 8 and len(kinds) >= 14, kinds


def test_units_form_across_the_rows_of_a_block():
    """Twelve rows of which every second has a bit: one unit of six in place of two of three."""
    weight = np.full((1, 12, 1, 1), 17, np.int8)
    inputs = np.array([[1], [0]] * 6, np.uint8)
    counts = {
        name: count(map_layer(weight, CrossbarConfig(ou_rows=6, ou_formation=name), "traditional"),
                    inputs).counts
        for name in ("static", "dynamic")
    }  # fmt: skip
    assert [each.ou_steps for each in counts.values()] == [2, 1]
    assert [each.dac_drives for each in counts.values()] == [12, 6]
    assert [each.cell_reads for each in counts.values()] == [12 * 4, 6 * 4]
    assert [each.adc_conversions for each in counts.values()] == [8, 4]
    assert [each.ou_skipped for each in counts.values()] == [14, 15]


def test_converters_see_the_sums_of_formed_units():
    """Two rows with a bit, in different runs: a converter of one bit clips their sum."""
    weight = np.ones((1, 8, 1, 1), np.int8)
    inputs = np.zeros((8, 1), np.uint8)
    inputs[[1, 6]] = 1
    sums = {}
    for name in ("static", "dynamic"):
        config = CrossbarConfig(ou_rows=4, adc_bits=1, ou_formation=name)
        mapping = map_layer(weight, config, "traditional")
        sums[name] = int(Crossbars(mapping).accumulate(inputs)[0, 0])
    assert sums == {"static": 2, "dynamic": 1}


@pytest.mark.parametrize("seed", range(5))
def test_with_an_ideal_adc_every_tensor_equals_the_integer_network(seed):
    network = random_network(seed, max_pixels=60, max_channels=12, layers=5)
    x = random_input(network, 3, seed)
    config = DYNAMIC.with_(ou_rows=5, signed=("offset", "differential")[seed % 2])
    result = run(network, map_network(network, config, list(MAPPINGS)[seed]), x)
    for name, expected in golden.run(network, x, trace=True).items():
        assert np.array_equal(result.tensors[name], expected), name
    plain = config.with_(ou_formation="static")
    static = run(network, map_network(network, plain, list(MAPPINGS)[seed]), x)
    for name, work in result.layers.items():
        counts, other = work.counts, static.layers[name].counts
        assert counts.ou_steps <= other.ou_steps and counts.dac_drives <= other.dac_drives
        assert counts.ou_steps + counts.ou_skipped == other.ou_steps + other.ou_skipped


def test_any_converter_is_applied_and_all_sums_are_known():
    rng = np.random.default_rng(3)
    config = DYNAMIC.with_(rows=40, ou_rows=5, dac_bits=2)
    weight = rng.integers(-127, 128, (3, 30, 1, 1)).astype(np.int8)
    mapping = map_layer(weight, config, "traditional")
    inputs = rng.integers(0, 256, (30, 4)).astype(np.uint8)
    inputs[rng.random(inputs.shape) < 0.5] = 0
    converter, seen = Converter(4, 7), []

    def convert(total, factor):
        seen.append((total, factor))
        return min((total + 3) // 7, 15) * 7

    expected, *_ = spelled_out(mapping, inputs, block_cells(mapping), convert)
    crossbars = Crossbars(mapping, converter=converter)
    assert np.array_equal(crossbars.accumulate(inputs), expected)
    weights = np.zeros(1 << 10)
    for total, factor in seen:
        weights[total] += factor**2
    assert crossbars.weighted_sums(inputs, 1, 1 << 10) == pytest.approx(weights)


def test_reaches_are_of_a_blocks_greatest_cells_and_decoded_again():
    config = DYNAMIC.with_(adc_resolve="reach", ou_rows=2)
    weight = np.array([1, 3, 0, 2, 7], np.int8).reshape(1, 5, 1, 1)
    mapping = map_layer(weight, config, "traditional")
    (reaches,) = block_reaches(block_cells(mapping), config)
    # The low slice of p reaches 7 + 3, no other slice anything.
    assert reaches.tolist() == [[[4, 0, 0, 0]]]
    assert greatest_sum(mapping) == 10
    (decoded,) = decode_reaches(mapping.reach_index, [(5, 1)], config)
    assert decoded.tolist() == reaches.tolist()
    plain = map_layer(weight, config.with_(ou_formation="static"), "traditional")
    assert greatest_sum(plain) == 7 and mapping.reach_index.bits < plain.reach_index.bits
