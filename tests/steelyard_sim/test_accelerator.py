"""Whole networks on the compiled gateware against the golden model."""

import numpy as np
import pytest

from steelyard import driver
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.network import golden
from steelyard.network.random import random_input, random_network

CONFIG = configure("array", lanes=4, columns=4, requantizers=2, weight_words=16384)


@pytest.fixture(scope="module")
def device():
    # The user's cache, unlike a temporary one, spares the build when nothing changed.
    with driver.open("sim", config=CONFIG, timeout=60) as device:
        yield device


@pytest.mark.parametrize("seed", range(12))
def test_every_layer_of_a_random_network_equals_the_golden_model(device, seed):
    batch = 1 + seed % 3
    program = compile(random_network(seed, layers=5, max_channels=16), CONFIG, batch=batch)
    x = random_input(program.network, batch + 1, seed)
    mismatch = driver.check_layers(program, x, device)
    assert mismatch is None, str(mismatch)
    np.testing.assert_array_equal(device.infer(x), golden.run(program.network, x))


def test_counters_add_up(device):
    program = compile(random_network(0, layers=5, max_channels=16), CONFIG)
    device.load(program)
    device.infer(random_input(program.network, 1, 0))
    counters = device.counters()
    assert [each.name for each in counters] == [entry.name for entry in program.layers]
    total = device.cycles
    assert total is not None
    # Between layers the sequencer fetches the next descriptor's 32 words.
    between = total - sum(each.cycles for each in counters)
    assert 0 <= between <= 50 * len(program.descriptors)
    for each, entry in zip(counters, program.layers, strict=True):
        assert each.issue >= entry.ideal_cycles
        assert each.issue + each.stall_load + each.stall_weights + each.stall_drain <= each.cycles
        assert each.words_written == entry.output.words


def test_another_configuration_is_refused(device):
    program = compile(random_network(0, layers=3, max_channels=8), CONFIG.with_(columns=8))
    with pytest.raises(driver.ConfigurationMismatch, match="columns: 8 != 4 .program != device."):
        device.load(program)
