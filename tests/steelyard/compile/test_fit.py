"""Memories grown to a network, and the largest batch of a configuration."""

import numpy as np
import pytest

from steelyard.compile import compile, compile_largest_batch, compile_with_memories
from steelyard.contract import configure
from steelyard.errors import DoesNotFit
from steelyard.network import Network
from steelyard.network.random import random_network

CONFIG = configure(
    "array",
    lanes=4,
    columns=2,
    requantizers=4,
    activation_words=512,
    weight_words=1024,
    parameter_words=64,
    partial_sum_channels=16,
    max_layers=16,
)


@pytest.fixture
def network() -> Network:
    return random_network(1, layers=3, max_channels=6, max_pixels=40, group=CONFIG.engine.group)


def test_a_fitted_program_is_what_the_compiler_makes_for_its_configuration(network):
    small = CONFIG.with_(weight_words=16, max_layers=1)
    grown = compile_with_memories(network, small, batch=3)
    assert grown.config.memory.weight_words > 16 and grown.config.memory.max_layers == 4
    assert grown.config.memory.activation_words == CONFIG.memory.activation_words
    program = compile(network, grown.config, batch=3)
    assert np.array_equal(grown.descriptors, program.descriptors)
    assert np.array_equal(grown.weights, program.weights)
    assert grown.layers == program.layers
    with pytest.raises(DoesNotFit):
        half = grown.config.memory.weight_words // 2
        compile(network, grown.config.with_(weight_words=half), batch=3)


def test_the_largest_batch_fits_and_one_more_image_does_not(network):
    program = compile_largest_batch(network, CONFIG, 64)
    assert 1 < program.batch < 64
    with pytest.raises(DoesNotFit):
        compile(network, CONFIG, batch=program.batch + 1)
    assert compile_largest_batch(network, CONFIG, 2).batch == 2
