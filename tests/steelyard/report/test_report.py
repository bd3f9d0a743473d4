"""Reports of programs, runs and crossbars, as a user of the library gets them."""

import json

import numpy as np
import pytest

import steelyard
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.driver import LayerCounters
from steelyard.engines.crossbar import CrossbarConfig
from steelyard.errors import UserError
from steelyard.network import NetworkBuilder
from steelyard.network.random import random_input, random_network
from steelyard.report import (
    compare_with_traditional,
    cost_over_dense,
    layer_rows,
    plan_document,
    read_run,
)

NETWORK = random_network(1, layers=4)
GROWN = {"activation_words": 1 << 16, "weight_words": 1 << 16, "parameter_words": 1 << 12}
PROGRAM = compile(NETWORK, configure("array", **GROWN))
WEIGHTY = [layer.name for layer in NETWORK.layers if layer.kind in ("conv", "fc")]

NONE = ("stall_load", "stall_weights", "stall_drain", "words_loaded", "words_written",
        "vector_operations")  # fmt: skip


def counted(program):
    return [
        LayerCounters(
            name=entry.name,
            cycles=2 * entry.predicted_cycles,
            issue=entry.ideal_cycles // 2,
            **dict.fromkeys(NONE, 0),
        )
        for entry in program.layers
    ]


def test_the_plan_says_what_the_program_holds_and_can_be_written():
    plan = json.loads(json.dumps(plan_document(PROGRAM), allow_nan=False))
    assert [row["name"] for row in plan["layers"]] == [layer.name for layer in NETWORK.layers]
    assert plan["predicted_cycles"] == sum(row["predicted_cycles"] for row in plan["layers"])
    assert plan["config_sha256"] == PROGRAM.config.hash().hex()
    assert plan["input"]["name"] == NETWORK.input
    assert [each["name"] for each in plan["outputs"]] == list(NETWORK.outputs)
    for each in plan["outputs"]:
        tensor = NETWORK.tensor(each["name"])
        assert (each["scale"], each["zero_point"]) == (tensor.scale, tensor.zero_point)
        assert np.prod(each["shape"]) == tensor.size


def test_rows_of_a_run_hold_the_counters_beside_the_plan():
    rows = layer_rows(PROGRAM, counted(PROGRAM))
    for row, entry in zip(rows, PROGRAM.layers, strict=True):
        assert (row["name"], row["cycles"]) == (entry.name, 2 * entry.predicted_cycles)
        assert row["occupancy"] == entry.ideal_cycles / (2 * entry.predicted_cycles)
    with steelyard.open("golden") as device:
        device.load(PROGRAM)
        device.infer(random_input(NETWORK, 1, 0))
        assert layer_rows(PROGRAM, device.counters()) == []


def test_a_tile_is_at_work_in_the_steps_that_it_issues():
    program = compile(NETWORK, configure("crossbar", **GROWN))
    (row, *_) = layer_rows(program, counted(program))
    assert row["occupancy"] == row["issue"] / row["cycles"]


def test_a_run_is_read_back_for_its_own_program_only(tmp_path):
    document = {"device": "x", "cycles": 9, "layers": layer_rows(PROGRAM, counted(PROGRAM))}
    path = tmp_path / "run.json"
    path.write_text(json.dumps(document))
    assert read_run(path, PROGRAM) == document
    other = compile(NETWORK, configure("array", columns=2, **GROWN))
    with pytest.raises(UserError, match="is of another program; give what"):
        read_run(path, other)
    path.write_text(json.dumps(document | {"cycles": None}))
    with pytest.raises(UserError, match="holds no cycles"):
        read_run(path, PROGRAM)


def test_the_traditional_mapping_costs_what_it_costs():
    config = CrossbarConfig(rows=64, columns=64)
    same = compare_with_traditional(NETWORK, config, "traditional").document()
    assert [layer["name"] for layer in same["layers"]] == WEIGHTY
    assert all(layer["ou_skipped"] == 0 for layer in same["layers"])
    for costs in same["constants"].values():
        assert costs["energy_uj"] == costs["traditional_energy_uj"] > 0
        assert costs["ratios"]["energy"] == costs["ratios"]["cells"] == 1
    codes = random_input(NETWORK, 2, 0)
    skipping = compare_with_traditional(NETWORK, config, "traditional", codes)
    assert skipping.images == 2
    assert skipping.document()["traditional"]["ou_skipped"] > 0
    with pytest.raises(UserError, match="has no ADC of 12 bits"):
        compare_with_traditional(NETWORK, config.with_(adc_bits=12))


def pruned(width, share=0.3):
    """Two layers in which groups of so many channels keep the same rows."""
    rng = np.random.default_rng(0)
    builder = NetworkBuilder("pruned", (32, 8, 8), zero_point=-128)
    for _ in range(2):
        weight = rng.integers(1, 128, (32, 32, 3, 3)).astype(np.int8)
        kept = rng.random((32 // width, 32, 3, 3)) < share
        builder.conv(weight * np.repeat(kept, width, axis=0), padding=1, multiplier=1, shift=10)
    return builder.network()


def test_a_network_pruned_for_another_shape_is_told():
    narrow, wide = CrossbarConfig(ou_columns=8), CrossbarConfig(ou_columns=32)
    fits = compare_with_traditional(pruned(2), narrow, "ou_row")
    assert fits.zeros_in_cells < 0.02 and fits.shape_warning() is None
    assert compare_with_traditional(pruned(8), narrow, "ou_row").shape_warning() is None
    other = compare_with_traditional(pruned(2), wide, "ou_row")
    # A row is kept where any of four groups keeps it.
    assert other.zeros_in_cells == pytest.approx(1 - 0.3 / (1 - 0.7**4), abs=0.02)
    sentence = other.shape_warning()
    share = f"{100 * other.zeros_in_cells:.0f} %"
    assert sentence.startswith(f"{share} of the weights that take cells are 0: the network was ")
    assert "than 'ou_row' mapping with operation units of 9 rows by 8 channels; " in sentence
    assert other.document()["zeros_in_cells"] == other.zeros_in_cells
    # Its remedy is true: in the mapping that it names little is stored in vain.
    assert sentence.endswith("or use the mapping 'pattern', whose cells hold 0 %.")
    assert compare_with_traditional(pruned(2), wide, "pattern").zeros_in_cells < 0.005
    assert compare_with_traditional(pruned(2), wide, "traditional").shape_warning() is None


def test_costs_over_the_dense_network_are_those_of_its_mapping():
    config = CrossbarConfig(rows=64, columns=64)
    codes = random_input(NETWORK, 1, 0)
    own = cost_over_dense(NETWORK, config, "traditional", NETWORK, codes)
    assert set(own["energy_ratio"].values()) == set(own["area_ratio"].values()) == {1}
    assert "same_weights_ou_row" not in own
    assert own["weights"] == sum(
        layer.weight.size for layer in NETWORK.layers if layer.name in WEIGHTY
    )
    pattern = cost_over_dense(NETWORK, config, "pattern", NETWORK, codes)
    other = cost_over_dense(NETWORK, config, "ou_row", NETWORK, codes)
    usual = pattern["same_weights_ou_row"]
    assert usual == {key: other[key] for key in usual}
    assert np.isfinite(pattern["memory_compression"])
