"""Configurations for small devices: what they compute, and what they refuse with a sentence."""

import numpy as np
import pytest

from steelyard import driver, golden
from steelyard.compile import compile
from steelyard.config import ArrayConfig
from steelyard.errors import UserError
from steelyard.randomnet import KINDS, random_input, random_network

CONFIG = ArrayConfig(
    lanes=4,
    columns=4,
    requantizers=1,
    requantizer_cycles=16,
    accumulator_bits=20,
    window_groups=16,
    weight_words=16384,
    activation_words=1024,
    partial_sum_channels=64,
    max_side=63,
    padded_kernel=3,
    vector_bits=16,
    link_words=256,
)
KINDS_OF_SMALL = tuple(kind for kind in KINDS if kind != "add")


def small_network(seed, kinds=KINDS_OF_SMALL):
    return random_network(seed, kinds=kinds, layers=5, max_channels=16, max_kernel=3)


@pytest.fixture(scope="module")
def device():
    with driver.open("sim", config=CONFIG, timeout=60) as device:
        yield device


@pytest.mark.parametrize("seed", range(10))
def test_every_layer_of_a_random_network_equals_the_golden_model(device, seed):
    batch = 1 + seed % 3
    program = compile(small_network(seed), CONFIG, batch=batch)
    x = random_input(program.network, batch + 1, seed)
    mismatch = driver.check_layers(program, x, device)
    assert mismatch is None, str(mismatch)
    np.testing.assert_array_equal(device.infer(x), golden.run(program.network, x))


@pytest.mark.parametrize(
    ("changes", "kinds", "sentence"),
    [
        ({}, ("add",), "is a residual addition, .*; set requantizer_cycles to 1"),
        ({"vector_bits": 8}, ("avg_pool",), "averages .* pixels, .*; raise vector_bits"),
        ({"max_side": 15}, ("conv",), "needs in_. = .* holds 0 to 15 with this configuration; "),
    ],
)
def test_what_the_device_lacks_is_refused(changes, kinds, sentence):
    config = CONFIG.with_(**changes)
    with pytest.raises(UserError, match=sentence):
        for seed in range(20):
            compile(small_network(seed, kinds), config)


def test_large_padded_kernels_are_refused():
    network = random_network(3, kinds=("conv",), layers=6, max_pixels=60, max_channels=4)
    with pytest.raises(UserError, match="padded kernel of side [4-7] .* raise padded_kernel"):
        compile(network, CONFIG)
