"""Cycles of convolutions that are kept are those that the model would count again."""

import random
from collections import Counter

import pytest

from steelyard.compile.plans import planned
from steelyard.contract import configure
from steelyard.contract.descriptor import Operation
from steelyard.engines.array.cycles import Convolution, convolution_cycles
from steelyard.engines.timing import follow
from steelyard.errors import UserError
from steelyard.network.random import random_network
from steelyard_cli.bench.networks import resnet8

CHOICES = {
    "lanes": (4, 8, 16, 32),
    "columns": (1, 3, 8, 9, 16, 40),
    "group": (4, 8, 16, 32),
    "window_groups": (2, 8, 32, 64),
    "requantizers": (1, 2, 4, 8),
    "multiplier_stages": (2, 3, 4),
    "carry_registers": (False, True),
    "ahead": (False, True),
    "read_registers": (False, True),
    "loading": ((False, False), (True, False), (True, True)),
    "fused_additions": (False, True),
    "accumulator_bits": (18, 24),
}
PLAIN = {"weight_words": 1 << 20, "activation_words": 1 << 18, "parameter_words": 4096}


# ResNet-8 has strides of 2 and fused additions for sure.
@pytest.mark.parametrize("seed", ["resnet8", *range(5)])
def test_kept_cycles_are_those_of_the_model(seed):
    draw = random.Random(seed)
    network = (
        resnet8(4)
        if seed == "resnet8"
        else random_network(seed, layers=6, max_channels=40, max_pixels=200)
    )
    config = None
    counted: Counter[int] = Counter()
    while sum(counted.values()) < (1500 if seed == "resnet8" else 150):
        changed = {name: draw.choice(values) for name, values in CHOICES.items()}
        if config is not None and draw.random() < 0.8:
            # Neighbours are what could be taken for one another.
            name = draw.choice(["loading", *CHOICES])
            changed = {name: changed[name]}
        if "loading" in changed:
            changed["wide_reads"], changed["shared_taps"] = changed.pop("loading")
        try:
            base = config or configure("array", partial_sum_channels=64, **PLAIN)
            tried = base.with_(**changed)
            plan = planned(network, tried, draw.choice((1, 1, 2)), {})
        except UserError:
            continue
        config = tried
        for each in plan.plans:
            for step in each.steps:
                d = step.descriptor
                if d.op == Operation.CONV:
                    direct = follow(Convolution(d, tried), d, tried)
                    assert convolution_cycles(d, tried) == direct, (d, tried)
                    counted[d.fused] += 1
    assert counted[0] > 100 and (seed != "resnet8" or counted[1] > 20)
