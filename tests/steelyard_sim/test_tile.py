"""Crossbar tile on the compiled simulation: random layers, and counters on every device."""

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from steelyard import driver
from steelyard.compile import cycles
from steelyard.engines import crossbar
from steelyard_cli import main
from steelyard_sim.cases.tile import unit_counts
from steelyard_sim.cases.tile_cover import covering_configs, pairs, possible_pairs
from steelyard_sim.runs.tile import CrossbarTileBench, Summary, command, random_case

SEED = 1
CONFIG = covering_configs(SEED, 1)[0]


def counts(program, x):
    """What the golden crossbar counts in each layer."""
    layers = crossbar.run(program.network, program.mapping, x).layers
    return {name: layer.counts for name, layer in layers.items()}


def chain():
    """Program of several layers, one of them without weights, whose counts the input decides."""
    for seed in range(1000):
        case = random_case(np.random.default_rng(seed), CONFIG)
        kinds = {layer.kind for layer in case.program.network.layers}
        several = len(kinds) > 1 and len(case.convolutions) > 1
        if several and case.program.settings.effects is None:
            idle = np.full_like(case.x, -128)
            if counts(case.program, case.x) != counts(case.program, idle):
                return case
    raise AssertionError("no such program")


def test_random_layers_and_their_counts_agree_with_the_golden_crossbar(tmp_path):
    file = tmp_path / "summary.json"
    arguments = ["--count", "40", "--configs", "1", "--seed", str(SEED), "--json", str(file)]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    summary = json.loads(file.read_text())
    assert summary["layers"] >= 40 and summary["differences"] == []
    assert summary["kinds"]["steps skipped"] and summary["kinds"]["device effects"]
    assert 0 < summary["cycles"] <= summary["predicted_cycles"]


def test_wrong_outputs_and_wrong_counts_are_found():
    case = chain()
    program = case.program
    bench = CrossbarTileBench(CONFIG, Summary())
    assert bench.run(case) is None
    # All layers together count as much as each alone, but not as without any input.
    bench._device.infer(case.x)
    idle = np.full_like(case.x, -128)
    other = crossbar.run(program.network, program.mapping, idle)
    found = bench._counters(program, other)
    assert found is not None and ": counts (" in found
    parameters = program.parameters.copy()
    parameters[:, 0] ^= 0x8000
    found = bench.run(replace(case, program=replace(program, parameters=parameters)))
    assert found is not None and found.startswith("output: ")
    bench.close()


def test_configurations_meet_almost_all_pairs_of_values():
    configs = covering_configs(SEED, 36)
    possible = possible_pairs(SEED)
    met = set().union(*map(pairs, configs)) & possible
    assert len(met) > 0.98 * len(possible)
    assert covering_configs(SEED, 2) == configs[:2]
    # A draw of this seed has a weight item that is too long.
    assert len(covering_configs(2, 3)) == 3


@pytest.mark.parametrize("name", ["sim", "virtual:"])
def test_counters_of_operation_units_come_from_every_device(name):
    case = chain()
    expected = crossbar.run(case.program.network, case.program.mapping, case.x).layers
    with driver.open(name, config=CONFIG, timeout=600) as device:
        device.load(case.program)
        device.infer(case.x)
        counters = device.counters()
        assert counters[0].cycles < device.cycles <= cycles.predict_program(case.program)
    assert [each.name for each in counters] == [e.name for e in case.program.layers]
    for each in counters:
        counts = expected[each.name].counts if each.name in expected else crossbar.Counts()
        assert tuple(vars(each.units).values()) == unit_counts(counts, CONFIG.engine.crossbar)


def test_run_reports_the_counters_of_operation_units(tmp_path, capsys):
    case = chain()
    expected = crossbar.run(case.program.network, case.program.mapping, case.x).layers
    case.program.save(tmp_path / "tile.syp")
    np.save(tmp_path / "x.npy", case.x)
    files = [str(tmp_path / name) for name in ("tile.syp", "x.npy", "y.npy", "run.json")]
    with pytest.raises(SystemExit) as caught:
        main(["run", files[0], "--input", files[1], "--raw", "--output", files[2],
              "--device", "sim", "--check", "--json", files[3]])  # fmt: skip
    captured = capsys.readouterr()
    assert not caught.value.code, captured.err
    assert "OU steps" in captured.out + captured.err
    document = json.loads((tmp_path / "run.json").read_text())
    assert document["bit_exact"]
    for layer in document["layers"]:
        if layer["name"] in expected:
            counts = expected[layer["name"]].counts
            assert tuple(layer["units"].values()) == unit_counts(counts, CONFIG.engine.crossbar)
