"""Tables and residual additions behind convolutions, on compiled gateware: right, as predicted."""

import numpy as np
import pytest

from steelyard import driver
from steelyard.compile import Descriptor, compile
from steelyard.contract import configure
from steelyard.errors import UserError
from steelyard.network import Lookup, Network, NetworkBuilder
from steelyard.network.random import random_input, random_weight

SMALL = configure(
    "array", lanes=8, columns=4, group=4, requantizers=4, window_groups=8, weight_words=1 << 14,
    partial_sum_channels=64,
)  # fmt: skip
CONFIGS = {
    "two beats": SMALL,
    "four beats": SMALL.with_(requantizers=2),
    "eight beats": SMALL.with_(requantizers=1, columns=3),
    "sixteen beats": SMALL.with_(lanes=16, requantizers=1, columns=2, ahead=False),
    "broadcast": SMALL.with_(columns=10, partial_sum_channels=80),
    "no tables": SMALL.with_(tables=False),
    "one bank a lane": SMALL.with_(wide_reads=False, shared_taps=False, requantizers=2),
    "columns carry nothing": SMALL.with_(carry_registers=False),
}


def network(seed: int, tables: bool) -> Network:
    """Convolutions, tables and additions, of which some can be computed together."""
    rng = np.random.default_rng(seed)
    builder = NetworkBuilder("n", (int(rng.integers(3, 12)), *map(int, rng.integers(2, 12, 2))))
    made: list[str] = ["input"]
    for _ in range(4):
        source = made[-1]
        inputs, outputs = builder.last.shape[0], int(rng.integers(3, 12))
        if rng.random() < 0.7:
            # An addition wants its operands' shapes.
            outputs = inputs
        kernel, scale = int(rng.choice([1, 3])), float(np.exp(rng.uniform(-2, 2)))
        weight = random_weight(rng, (outputs, inputs, kernel, kernel), group=4, k=None)
        last = builder.conv(
            weight, source, multiplier=int(rng.integers(1 << 20, 1 << 22)), shift=29,
            padding=kernel // 2, zero_point=int(rng.integers(-128, 128)), scale=scale,
        )  # fmt: skip
        if tables and rng.random() < 0.4:
            table = rng.integers(-128, 128, 256).astype(np.int8)
            last = builder.append(Lookup, last, table=table)
        others = [n for n in made if builder.tensors[n].shape == builder.tensors[last].shape]
        if others:
            pair = [last, others[rng.integers(len(others))]]
            rng.shuffle(pair)
            last = builder.add(
                *pair, scale=float(np.exp(rng.uniform(-2, 2))), zero_point=int(rng.integers(-9, 9)),
                lo=int(rng.integers(-128, 0)), hi=int(rng.integers(0, 128)),
            )  # fmt: skip
        made.append(last)
    return builder.network()


@pytest.mark.parametrize("name", CONFIGS)
def test_what_is_computed_along_is_right_and_as_fast_as_predicted(name):
    config = CONFIGS[name]
    fused = together = 0
    with driver.open("sim", config=config) as device:
        for seed in range(10):
            print(f"seed {seed}")
            batch = 1 + seed % 3
            program = compile(network(seed, config.output.tables), config, batch=batch)
            descriptors = [Descriptor.from_words(d) for d in program.descriptors]
            fused += sum(d.fused for d in descriptors)
            together += sum(d.table and d.fused for d in descriptors)
            device.load(program)
            x = random_input(program.network, batch, seed)
            assert driver.check_layers(program, x, device) is None
            assert driver.check(program, x, device) is None
            counted = {each.name: each.cycles for each in device.counters()}
            predicted = {each.name: each.predicted_cycles for each in program.layers}
            assert counted == predicted
    assert fused > 10
    assert together > 2 or not config.output.tables


def test_the_output_of_a_layer_that_is_not_stored_is_refused():
    builder = NetworkBuilder("n", (4, 4, 4))
    weight = random_weight(np.random.default_rng(0), (4, 4, 3, 3), group=4, k=2)
    builder.conv(weight, name="a", padding=1)
    builder.add("a", "input", name="sum")
    program = compile(builder.network(), SMALL)
    sentence = (
        "^The output of layer 'a' gets into no memory: it goes on at once to layer 'sum'; "
        "read that layer's output.$"
    )
    with driver.open("sim") as device:
        device.load(program)
        device.infer(random_input(program.network, 1, 0))
        with pytest.raises(UserError, match=sentence):
            device.read_tensor(0)
        assert device.read_tensor(1).shape == (1, 4, 4, 4)
