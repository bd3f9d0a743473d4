"""Networks whose activations do not fit the chip: compiled gateware with controller and chip."""

import numpy as np

from steelyard import driver
from steelyard.check import assess
from steelyard.compile import compile
from steelyard.compile.cycles import predict_program
from steelyard.contract import configure
from steelyard.network import NetworkBuilder
from steelyard.network.random import random_input, random_weight

CONFIG = configure(
    "array", lanes=4, columns=4, requantizers=2, weight_words=1024, parameter_words=640,
    activation_words=16384, max_layers=1024, external_words=1 << 20,
)  # fmt: skip
"""That of test_external.py, so that one simulation is built."""


def network():
    """A stem whose map takes one and a half times the chip, a pooling, and a residual block."""
    rng = np.random.default_rng(8)
    net = NetworkBuilder("large", (3, 64, 64))

    def conv(source, channels, name):
        shape = (channels, net.tensors[source].shape[0], 3, 3)
        weight = random_weight(rng, shape, group=16, k=4)
        scale = {"multiplier": 1 << 22, "shift": 32}
        return net.conv(weight, source, name=name, padding=(1, 1, 1, 1), **scale)

    x = net.max_pool(2, conv("input", 24, "stem"), stride=2)
    y = conv(conv(x, 24, "a"), 24, "b")
    net.max_pool(3, net.add(y, x, multipliers=(1 << 20, 1 << 20), shift=21), stride=2)
    conv(net.last.name, 40, "c")
    return net.network()


def test_a_network_in_strips_is_exact():
    program = compile(network(), CONFIG)
    cost, problems = assess(program.network, CONFIG)
    assert not problems and cost.stored_words and cost.moved_words and program.external.size
    x = random_input(program.network, 2, 1)
    with driver.open("sim", config=CONFIG) as device:
        assert driver.check(program, x, device) is None
        assert driver.check_layers(program, x[:1], device) is None
        assert driver.check_known_answer(program, device) is None
        device.load(program, verify=True)
        device.infer(x[:1])
        cycles = device.cycles
        device.infer(x[:1])
        assert device.cycles == cycles, "a run does not repeat"
        counted = device.counters()
        assert len(counted) == len(program.layers)
    predicted = predict_program(program)
    print(f"{cycles} cycles, estimated {predicted}")
    assert 0.98 * predicted < cycles < 1.02 * predicted
    assert cost.cycles == predicted
