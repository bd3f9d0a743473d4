"""Effects between levels: variation, drift, noise; what a converter makes of them."""

import math

import numpy as np
import pytest

from steelyard.engines.crossbar import (
    AnalogEffects,
    Converter,
    CrossbarConfig,
    DeviceEffects,
    effect_levels,
    map_layer,
    map_network,
    run,
)
from steelyard.engines.crossbar.analog import UNIT
from steelyard.engines.crossbar.arithmetic import Crossbars
from steelyard.engines.crossbar.cells import block_conductances
from steelyard.errors import UserError
from steelyard.network import golden
from steelyard.network.random import random_input, random_network

from .test_golden import random_config, spelled_out

CONFIG = CrossbarConfig()
WRITTEN = np.tile(np.arange(16, dtype=np.uint8), (512, 32))
WHOLE = UNIT * WRITTEN.astype(np.int32)


@pytest.mark.parametrize("seed", range(12))
def test_sums_between_levels_are_converted_as_the_contract_says(seed):
    rng = np.random.default_rng(seed)
    config = random_config(rng)
    weight = rng.integers(-127, 128, (3, 4, 2, 1)).astype(np.int8)
    mapping = map_layer(weight, config, "traditional")
    inputs = rng.integers(0, 256, (mapping.positions, 2)).astype(np.uint8)
    converter = Converter(int(rng.integers(1, 9)), int(rng.integers(1, 9)), bool(seed % 2))
    faults = DeviceEffects(seed=seed, stuck_at_one=100_000)
    analog = AnalogEffects(seed=seed, variation=0.3)

    def convert(total, factor):
        # In parts of a level; the lower code's threshold lies half a level below it.
        size = converter.step * UNIT
        code = (total + (size if converter.nearest else UNIT) // 2) // size
        return min(code, 2**converter.bits - 1) * converter.step

    cells = block_conductances(mapping, faults, analog)
    expected, _ = spelled_out(mapping, inputs, cells, convert)
    for times in (1, 40):
        crossbars = Crossbars(mapping, faults, converter, analog)
        found = crossbars.accumulate(np.tile(inputs, (1, times)))
        assert np.array_equal(found, np.tile(expected, (times, 1)))


def test_without_strength_nothing_changes():
    network = random_network(3, max_pixels=40, max_channels=6, layers=3)
    x = random_input(network, 2, 0)
    for config in (CONFIG, CONFIG.with_(adc_bits=4), CONFIG.with_(adc_bits=4, adc_range="full")):
        mapping = map_network(network, config, "pattern")
        same = run(network, mapping, x, analog=AnalogEffects(seed=5))
        assert np.array_equal(same.output, run(network, mapping, x).output)


def test_conductances_vary_as_stated_and_follow_from_seed_and_place():
    effects = AnalogEffects(seed=3, variation=0.1)
    held = effects.held(WRITTEN, CONFIG, 0)
    assert not held[WRITTEN == 0].any()
    strong = WRITTEN >= 8
    logarithms = np.log(held[strong] / WHOLE[strong])
    assert logarithms.mean() == pytest.approx(0, abs=0.002)
    assert logarithms.std() == pytest.approx(0.1, rel=0.01)
    assert np.array_equal(held, effects.held(WRITTEN, CONFIG, 0))
    assert (held != effects.held(WRITTEN, CONFIG, 1))[strong].mean() > 0.9
    other = AnalogEffects(seed=4, variation=0.1)
    assert (held != other.held(WRITTEN, CONFIG, 0))[strong].mean() > 0.9


def test_conductances_drift_by_a_power_of_time():
    drifted = AnalogEffects(drift=0.05, drift_seconds=1e4).held(WRITTEN, CONFIG, 0)
    assert np.array_equal(drifted, np.rint(WHOLE * 1e4**-0.05).astype(int))
    spread = AnalogEffects(drift=0.05, drift_spread=0.01, drift_seconds=1e4)
    strong = WRITTEN >= 8
    exponents = np.log(spread.held(WRITTEN, CONFIG, 0)[strong] / WHOLE[strong])
    exponents /= -math.log(1e4)
    assert exponents.mean() == pytest.approx(0.05, rel=0.01)
    assert exponents.std() == pytest.approx(0.01, rel=0.02)
    fresh = AnalogEffects(drift=0.05, drift_spread=0.01, drift_seconds=1)
    assert np.array_equal(fresh.held(WRITTEN, CONFIG, 0), WHOLE)


@pytest.mark.parametrize("pixels", [200, 20_000])
def test_noise_is_drawn_for_every_conversion_of_an_executed_step(pixels):
    """Few pixels are computed, many looked up; both have the same noise."""
    config = CrossbarConfig(signed="offset", adc_bits=10)
    mapping = map_layer(np.full((4, 9, 1, 1), 37, np.int8), config, "traditional")
    inputs = np.random.default_rng(0).integers(0, 256, (9, pixels)).astype(np.uint8)
    inputs[:, ::2] = 0
    noisy = Crossbars(mapping, analog=AnalogEffects(seed=1, read_noise=1.5))
    found = noisy.accumulate(inputs)
    assert not found[::2].any()
    # 37 + 128 is 10 and 5 in its slices: sums are so far above 0 that noise is symmetric.
    error = (found - Crossbars(mapping).accumulate(inputs))[1::2]
    places = math.sqrt(sum(4**step for step in range(8))) * math.sqrt(1 + 16**2)
    rounding = 1 / 12
    assert error.std() == pytest.approx(places * math.sqrt(1.5**2 + rounding), rel=0.1)
    assert abs(error.mean()) < 0.15 * error.std()
    # Channels and pixels do not share it.
    across = np.corrcoef(error.T) - np.eye(4)
    assert np.abs(across).max() < 0.25
    assert np.abs(np.corrcoef(error[:-1, 0], error[1:, 0])[0, 1]) < 0.25


def test_reads_have_noise_of_their_own_and_the_same_cells():
    network = random_network(3, max_pixels=40, max_channels=6, layers=3)
    x = random_input(network, 4, 0)
    mapping = map_network(network, CONFIG, "traditional")

    def output(**fields):
        return run(network, mapping, x, analog=AnalogEffects(**fields)).output

    assert np.array_equal(output(read_noise=1), output(read_noise=1))
    assert (output(read_noise=1) != output(read_noise=1, reads=1)).any()
    assert np.array_equal(output(variation=0.1), output(variation=0.1, reads=1))
    assert (output(read_noise=1) != golden.run(network, x)).any()


def test_lists_of_strengths_are_levels():
    found = effect_levels({"stuck_at_zero": [10, 20], "variation": 0.1, "deviation": [3]})
    assert [level.values for level in found] == [
        {"stuck_at_zero": 10, "variation": 0.1, "deviation": 3},
        {"stuck_at_zero": 20, "variation": 0.1, "deviation": 3},
    ]
    assert found[1].faults(7) == DeviceEffects(seed=7, stuck_at_zero=20, deviation=3)
    assert found[1].analog(7, 2) == AnalogEffects(seed=7, variation=0.1, reads=2)
    assert str(found[0]) == "stuck_at_zero 10, variation 0.1, deviation 3"
    assert effect_levels({}) == ()
    (only,) = effect_levels({"drift": 0})
    assert only.faults(1) is None


@pytest.mark.parametrize(
    "values, sentence",
    [
        ({"stuck": 1}, "^Device effect 'stuck' is unknown; use one of stuck_at_zero, "),
        ({"drift": [0, 1], "variation": [0, 0, 1]}, "^Device effect 'drift' has 2 levels where"),
        ({"drift": []}, "^Device effect 'drift' has 0 levels"),
        ({"drift": "much"}, "^Device effect 'drift' must be a number from 0, not 'much'; "),
        ({"drift": -0.1}, "^Device effect 'drift' must be a number from 0, not -0.1; "),
        ({"drift": float("nan")}, "^Device effect 'drift' must be a number from 0, not nan; "),
        ({"variation": 3}, "^Device effect 'variation' must not be above 2, but is 3; lower it"),
        ({"stuck_at_one": 0.5}, "^Device effect 'stuck_at_one' must be a whole number from 0"),
    ],
)
def test_effects_that_there_are_not_are_refused(values, sentence):
    with pytest.raises(UserError, match=sentence):
        effect_levels(values)
