"""Each switch of a configuration alone, away from the default and from "compact", on gateware."""

import pytest

from steelyard import driver
from steelyard.compile import compile
from steelyard.contract import AcceleratorConfig, configure
from steelyard.network.random import KINDS, random_input, random_network

SIZES = {
    "lanes": 4, "columns": 4, "weight_words": 16384, "activation_words": 2048, "window_groups": 16,
}  # fmt: skip
DEFAULT = configure("array", requantizers=2, **SIZES)
COMPACT = configure("array", "compact", requantizers=1, max_side=63, padded_kernel=5, **SIZES)
SERIAL = DEFAULT.with_(additions=False, products=False, slopes=False, requantizer_cycles=16)
CONFIGS = {
    "columns carry nothing": DEFAULT.with_(carry_registers=False),
    "nothing described ahead": DEFAULT.with_(ahead=False),
    "memories without registers": DEFAULT.with_(read_registers=False),
    "no queue of weights": DEFAULT.with_(weight_queue=False),
    "no additions": DEFAULT.with_(additions=False),
    "no fused additions": DEFAULT.with_(fused_additions=False),
    "no lane sums": DEFAULT.with_(lane_sums=False),
    "no tags": DEFAULT.with_(additions=False, products=False, tag_registers=False),
    "serial requantizers": SERIAL,
    "no operators": DEFAULT.with_(tables=False, slopes=False, products=False),
    "no vector unit": DEFAULT.with_(additions=False, products=False, vector_bits=0),
    "compact, columns carry": COMPACT.with_(carry_registers=True),
    "compact, described ahead": COMPACT.with_(ahead=True),
    "compact, memories with registers": COMPACT.with_(read_registers=True),
    "compact, a queue of weights": COMPACT.with_(weight_queue=True),
    "compact, tags": COMPACT.with_(tag_registers=True),
    "compact, requantizers of one cycle": COMPACT.with_(requantizer_cycles=1),
    "compact, lane sums": COMPACT.with_(lane_sums=True),
    "compact, slopes": COMPACT.with_(requantizer_cycles=1, slopes=True),
    "compact, fused additions": COMPACT.with_(requantizer_cycles=1, fused_additions=True),
    "compact, additions": COMPACT.with_(requantizer_cycles=1, tag_registers=True, additions=True),
}


def kinds_of(config: AcceleratorConfig) -> tuple[str, ...]:
    """Kinds of layers that the configuration has a unit for."""
    return tuple(
        kind
        for kind in KINDS
        if (kind != "add" or config.vector.additions)
        and (not kind.endswith("_pool") or config.vector.bits)
    )


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_switch_alone_changes_no_value_and_the_cycles_as_predicted(config):
    seen = set()
    with driver.open("sim", config=config) as device:
        for seed in (1, 3, 4):
            network = random_network(
                seed, kinds=kinds_of(config), layers=6, max_pixels=50, max_channels=12,
                max_kernel=3, group=16,
            )  # fmt: skip
            program = compile(network, config, batch=1 + seed % 3)
            device.load(program)
            x = random_input(network, program.batch, seed)
            assert driver.check_layers(program, x, device) is None
            device.infer(x)
            counted = [counters.cycles for counters in device.counters()]
            assert counted == [entry.predicted_cycles for entry in program.layers]
            seen |= {layer.kind for layer in network.layers}
    assert seen >= {*kinds_of(config)} - {"fc"}
