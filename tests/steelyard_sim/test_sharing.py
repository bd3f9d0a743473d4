"""Three taps of a row from one word: on compiled gateware, against the golden and cycle models."""

import numpy as np
import pytest

from steelyard import driver
from steelyard.compile import Descriptor, compile
from steelyard.contract import PRESETS, configure
from steelyard.network import Network, NetworkBuilder
from steelyard.network.random import random_input, random_weight

SMALL = configure(
    "array", lanes=4, columns=4, group=4, requantizers=2, window_groups=8, weight_words=1 << 14,
    partial_sum_channels=64,
)  # fmt: skip
"""Few words a tile: rings of groups and their ends are used again and again."""
CONFIGS = {
    "small": SMALL,
    "broadcast": SMALL.with_(columns=10, lanes=8, group=8, partial_sum_channels=80),
    "no carry": SMALL.with_(carry_registers=False, ahead=False),
    "compact but for taps": SMALL.with_(
        **PRESETS["compact"] | {"wide_reads": True, "shared_taps": True}, requantizers=1
    ),
}


def network(seed: int, group: int) -> Network:
    """Convolutions of stride 1 and 2 with kernels of 1x3 and 3x3, grouped and not."""
    rng = np.random.default_rng(seed)
    height, width = (int(n) for n in rng.integers(2, 14, 2))
    builder = NetworkBuilder("n", (group * int(rng.integers(1, 4)), height, width), zero_point=-128)
    for _ in range(3):
        inputs = builder.last.shape[0]
        outputs, kernel = group * int(rng.integers(1, 4)), int(rng.choice([1, 3, 3]))
        groups = inputs if rng.random() < 0.3 else 1
        shape = (inputs if groups > 1 else outputs, inputs // groups, kernel, 3)
        k = None if groups > 1 else int(rng.integers(1, group + 1))
        builder.conv(
            random_weight(rng, shape, group=group, k=k), multiplier=1 << 20, shift=29,
            stride=((1, 1), (1, 1), (2, 2), (1, 2))[rng.integers(4)],
            padding=(kernel // 2, 1, kernel // 2, 1),
            groups=groups, zero_point=-128,
        )  # fmt: skip
    return builder.network()


@pytest.mark.parametrize("name", CONFIGS)
def test_layers_whose_taps_share_words_are_right_and_as_fast_as_predicted(name):
    config = CONFIGS[name]
    shared = second = 0
    with driver.open("sim", config=config) as device:
        for seed in range(8):
            print(f"seed {seed}")
            program = compile(network(seed, config.engine.group), config)
            descriptors = [Descriptor.from_words(d) for d in program.descriptors]
            shared += sum(d.shared for d in descriptors)
            second += sum(d.ring > 1 for d in descriptors)
            device.load(program)
            x = random_input(program.network, 1, seed)
            assert driver.check_layers(program, x, device) is None
            device.infer(x)
            counted = [counters.cycles for counters in device.counters()]
            assert counted == [entry.predicted_cycles for entry in program.layers]
    assert shared > 12 and second > 5


def one(**changes):
    """Program of a convolution whose words can be shared, but for some changes."""
    values = {"channels": 8, "batch": 1, "zero": -128, "padding": 1, "stride": 1, "kernel": 3}
    values["width"] = 8
    values |= changes
    side = values["kernel"]
    shape = (4, values["channels"], side, side)
    weight = random_weight(np.random.default_rng(1), shape, group=4, k=1)
    shape = (values["channels"], 8, values["width"])
    builder = NetworkBuilder("n", shape, zero_point=values["zero"])
    builder.conv(weight, padding=values["padding"], stride=values["stride"])
    program = compile(builder.network(), SMALL, batch=values["batch"])
    return Descriptor.from_words(program.descriptors[0]), program.layers[0].predicted_cycles


def test_a_layer_is_loaded_with_a_third_of_the_words():
    shared, fast = one()
    plain, slow = one(zero=-127)
    assert shared.shared and not plain.shared
    assert 3 * shared.groups == plain.groups
    assert shared.weight_count == plain.weight_count
    assert 2.2 * fast < slow


def test_at_stride_2_two_words_make_three_taps():
    shared, fast = one(stride=2)
    plain, slow = one(stride=2, zero=-127)
    assert shared.ring == 2 and not plain.shared
    assert 3 * shared.groups == plain.groups
    assert shared.weight_count == plain.weight_count
    assert 1.2 * fast < slow


@pytest.mark.parametrize(
    "changes",
    [
        {"channels": 6},
        {"batch": 2},
        {"zero": 0},
        {"padding": 0},
        {"padding": (1, 2, 1, 0)},
        {"stride": 3},
        {"stride": 2, "padding": (1, 0, 1, 1)},
        {"stride": 2, "padding": (1, 1, 1, 2), "width": 6},
        {"kernel": 5, "padding": 2},
    ],
    ids=str,
)
def test_layers_that_cannot_share_words_do_not(changes):
    descriptor, _ = one(**changes)
    assert not descriptor.shared
