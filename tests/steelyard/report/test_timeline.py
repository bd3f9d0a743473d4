"""Timelines of runs: what the cycle model predicts, and what counters say."""

import copy

import numpy as np
import pytest

from steelyard.compile import compile
from steelyard.compile.cycles import predict_program
from steelyard.contract import configure
from steelyard.contract.registers import COUNTERS
from steelyard.errors import UserError
from steelyard.network import NetworkBuilder
from steelyard.network.random import random_network
from steelyard.report import timeline_document

GROWN = {"activation_words": 1 << 16, "weight_words": 1 << 16, "parameter_words": 1 << 12}
CONFIGS = [
    configure("array", **GROWN),
    configure("array", "compact", lanes=4, columns=2, requantizers=4, **GROWN),
    configure("array", ahead=False, **GROWN),
    configure("crossbar", **GROWN),
]


def program(config, seed=1, batch=1):
    kinds = ("conv", "max_pool", "avg_pool", "fc")
    network = random_network(
        seed, kinds=kinds, layers=6, max_kernel=config.load.padded_kernel,
        group=config.engine.group,
    )  # fmt: skip
    return compile(network, config, batch=batch)


def run_of(compiled):
    """A run as its predicted timeline has it, in the form of ``steelyard run --json``."""
    timeline = timeline_document(compiled)
    layers = [
        {
            "name": layer["name"],
            **dict.fromkeys(COUNTERS, 0),
            "cycles": layer["cycles"],
            "issue": layer["shares"]["engine"],
            "vector_operations": layer["shares"]["vector"],
        }
        for layer in timeline["layers"]
    ]
    return {"cycles": timeline["cycles"], "layers": layers}


@pytest.mark.parametrize("config", CONFIGS, ids=["array", "compact", "behind", "crossbar"])
@pytest.mark.parametrize("seed", range(3))
def test_spans_follow_each_other_from_start_to_the_total(config, seed):
    compiled = program(config, seed, batch=2)
    timeline = timeline_document(compiled)
    now = timeline["opening"]
    for layer, entry in zip(timeline["layers"], compiled.layers, strict=True):
        assert (layer["name"], layer["cycles"]) == (entry.name, entry.predicted_cycles)
        assert layer["start"] == now
        assert sum(layer["shares"].values()) == layer["cycles"]
        assert min(layer["shares"].values()) >= 0
        assert 0 < layer["words_loaded"] <= layer["loading"] <= layer["cycles"]
        assert 0 < layer["words_written"] <= layer["storing"] <= layer["cycles"]
        now += layer["cycles"] + layer["between"]
    assert timeline["cycles"] == now == predict_program(compiled)
    assert timeline["measured"] is False


def test_layers_computed_along_with_another_have_no_span():
    net = NetworkBuilder("net", (8, 6, 6))
    weight = np.ones((8, 8, 3, 3), np.int8)
    conv = net.conv(weight, "input", name="conv", multiplier=1 << 22, shift=30, padding=1)
    net.add(conv, "input", name="sum", multipliers=(3 << 20, 5 << 19), shift=22)
    timeline = timeline_document(compile(net.network(), configure("array", **GROWN)))
    first, joined = timeline["layers"]
    assert joined["name"] == "sum"
    assert joined["start"] == timeline["cycles"] == first["start"] + first["cycles"] + 10
    assert joined["cycles"] == joined["between"] == sum(joined["shares"].values()) == 0


def test_what_an_engine_does_not_predict_is_not_told_apart():
    compiled = program(configure("crossbar", **GROWN))
    weighty = 0
    for layer, entry in zip(timeline_document(compiled)["layers"], compiled.layers, strict=True):
        if entry.ideal_cycles:
            rest = entry.predicted_cycles - entry.ideal_cycles
            used = {name: cycles for name, cycles in layer["shares"].items() if cycles}
            assert used == {"engine": entry.ideal_cycles, "unknown": rest}
            weighty += 1
        else:
            assert layer["shares"]["unknown"] == 0 < layer["shares"]["vector"]
    assert 0 < weighty < len(compiled.layers)


def test_counters_of_a_run_take_the_place_of_predictions():
    compiled = program(configure("array", **GROWN))
    run = run_of(compiled)
    number = next(n for n, each in enumerate(compiled.layers) if each.ideal_cycles)
    row = run["layers"][number]
    row |= {"cycles": 100, "issue": 50, "stall_load": 20, "stall_weights": 7, "stall_drain": 9}
    row |= {"words_loaded": 11, "words_written": 5}
    run["cycles"] += 100 - compiled.layers[number].predicted_cycles
    timeline = timeline_document(compiled, run)
    assert timeline["measured"] is True
    layer = timeline["layers"][number]
    assert layer["shares"] == {
        "engine": 50, "vector": 0, "wait_load": 20, "wait_weights": 7, "wait_drain": 9,
        "wait_memory": 0, "other": 14, "unknown": 0,
    }  # fmt: skip
    assert (layer["words_loaded"], layer["words_written"]) == (11, 5)
    assert layer["storing"] == 5 * compiled.config.drain_cycles


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"issue": 1 << 30}, "layer 'conv2' works and waits in more cycles than it takes"),
        ({"words_written": 1 << 30}, "layer 'conv2' works and waits in more cycles than it"),
        ({"cycles": 1 << 30}, "its layers end in cycle "),
    ],
)
def test_counters_that_do_not_add_up_are_refused(change, words):
    compiled = compile(random_network(1, layers=4), configure("array", **GROWN))
    run = run_of(compiled)
    assert timeline_document(compiled, copy.deepcopy(run))["cycles"] == run["cycles"]
    assert run["layers"][2]["name"] == "conv2"
    run["layers"][2] |= change
    with pytest.raises(UserError, match=f"^The counters of the run do not add up: {words}.*; m"):
        timeline_document(compiled, run)
