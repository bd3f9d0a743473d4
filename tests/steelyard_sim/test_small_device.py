"""Configurations for small devices: what they compute, and what they refuse with a sentence."""

import numpy as np
import pytest

from steelyard import driver
from steelyard.compile import Descriptor, compile, cycles
from steelyard.contract import configure
from steelyard.errors import UserError
from steelyard.network import golden
from steelyard.network.random import KINDS, random_chain, random_input, random_network
from steelyard_boards import board

CONFIG = configure(
    "array",
    "compact",
    lanes=4,
    columns=4,
    requantizers=1,
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
        (
            {},
            ("add",),
            "is a residual addition, .*; set additions to true, with requantizer_cycles = 1",
        ),
        ({"vector_bits": 8}, ("avg_pool",), "averages .* pixels, .*; raise vector_bits"),
        ({"vector_bits": 0}, ("max_pool",), "pools, and .* no vector unit; set vector_bits"),
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


@pytest.fixture(scope="module")
def icebreaker():
    """The iCEBreaker's configuration behind its serial port, at its clock and rate."""
    with driver.open("virtual:icebreaker", timeout=120) as device:
        yield device


# The networks of seeds 3 and 4 are larger than the board's memories.
@pytest.mark.parametrize("seed", [0, 1, 2, 5, 6, 7, 8, 9])
def test_every_convolution_on_the_smallest_board_equals_the_golden_model(icebreaker, seed):
    batch = 1 + seed % 3
    network = small_network(seed, ("conv", "fc"))
    program = compile(network, board("icebreaker").default, batch=batch)
    x = random_input(network, batch, seed)
    mismatch = driver.check_layers(program, x, icebreaker)
    assert mismatch is None, str(mismatch)


def test_a_network_for_28_by_28_images_runs_on_the_smallest_board(icebreaker):
    config = board("icebreaker").default
    network = random_chain(1, (1, 28, 28), [(12, 2), (24, 2), (32, 1), (48, 2)], 10, k=4)
    program = compile(network, config)
    x = random_input(network, 2, 1)
    icebreaker.load(program)
    np.testing.assert_array_equal(icebreaker.infer(x), golden.run(network, x))
    layers = [Descriptor.from_words(words) for words in program.descriptors]
    assert icebreaker.cycles == cycles.predict_total(layers, config)
