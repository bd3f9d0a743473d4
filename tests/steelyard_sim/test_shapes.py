"""Grouped convolutions, and layers that cut, join and move, on compiled gateware."""

from collections import Counter

import pytest

from steelyard import driver
from steelyard.compile import compile
from steelyard.contract import AcceleratorConfig, configure
from steelyard.network import Layer
from steelyard.network.random import random_input
from steelyard.network.random_shapes import OPERATORS, SHAPES, random_shapes

SIZES = {"weight_words": 16384, "activation_words": 16384, "parameter_words": 4096}
SMALL = {"lanes": 4, "columns": 4, "window_groups": 16, "max_layers": 256, **SIZES}
CONFIGS = {
    "default": configure("array", max_layers=128, **SIZES),
    "few lanes and columns": configure("array", requantizers=2, **SMALL),
    "compact": configure("array", "compact", requantizers=1, max_side=255, tables=True, **SMALL),
    "tile": configure("crossbar", max_layers=128, **SIZES),
}


def kind_of(layer: Layer) -> str:
    """Key of a layer, which slopes change."""
    slopes = getattr(layer, "negative_multiplier", None) is not None
    return f"{layer.key} with slopes" if slopes else layer.key


def operators_of(config: AcceleratorConfig) -> list[str]:
    """Kinds of operators that the configuration has."""
    has = {
        "lookup": config.output.tables,
        "slope_conv": config.output.slopes,
        "slope_pool": config.output.slopes,
        "mul": config.vector.products,
    }
    return [kind for kind in OPERATORS if has[kind]]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_random_shapes_are_exact_and_take_the_cycles_of_the_model(config):
    seen: Counter[str] = Counter()
    kinds = operators_of(config)
    with driver.open("sim", config=config) as device:
        for seed in range(8):
            network = random_shapes(seed, kinds=(*SHAPES, *kinds), layers=15)
            program = compile(network, config, batch=1 + seed % 3)
            x = random_input(network, program.batch, seed)
            assert driver.check_layers(program, x, device) is None
            device.infer(x)
            counted = [counters.cycles for counters in device.counters()]
            predicted = [entry.predicted_cycles for entry in program.layers]
            if program.engine.exact:
                assert counted == predicted
            assert all(c <= p for c, p in zip(counted, predicted, strict=True))
            seen.update(map(kind_of, program.network.layers))
    assert len(seen) == 8 + len(kinds)
