"""Structures of known networks, from torch to compiled gateware, and against onnxruntime."""

import onnx
import pytest

from agreement.random_graphs import RandomGraph
from agreement.zoo import assert_zoo
from steelyard import driver, quantize
from steelyard.compare import agreements
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.importer import load
from steelyard.network.random import random_input
from structures import STRUCTURES

CONFIG = configure(
    "array", weight_words=65536, activation_words=32768, parameter_words=16384, max_layers=512
)
"""One for all, so that one simulation is built."""


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_is_exact_on_gateware_and_agrees_with_onnxruntime(name):
    structure = STRUCTURES[name]
    images = structure.images(16)
    model = onnx.load_from_string(quantize.quantize(structure.model(), images))
    network = load(model)
    assert_zoo(name, agreements(model, network, images[:4]))
    program = compile(network, CONFIG)
    x = random_input(network, 1, 1)
    with driver.open("sim", config=CONFIG) as device:
        assert driver.check_layers(program, x, device) is None
        assert driver.check_known_answer(program, device) is None
        cycles = [counters.cycles for counters in device.counters()]
    assert cycles == [entry.predicted_cycles for entry in program.layers]


SEVERAL = [seed for seed in range(20) if len(RandomGraph(seed).graph.graph.output) > 2]


@pytest.mark.parametrize("seed", SEVERAL)
def test_all_outputs_of_a_random_graph_are_exact_on_gateware(seed):
    """Also those that are views and parts of one another, or that layers read."""
    network = load(RandomGraph(seed).graph)
    program = compile(network, CONFIG)
    x = random_input(network, 2, seed)
    with driver.open("sim", config=CONFIG) as device:
        assert driver.check(program, x, device) is None
        assert driver.check_known_answer(program, device) is None
        assert tuple(device.infer_outputs(x)) == network.outputs
