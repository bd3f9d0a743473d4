"""The crossbar tile's configuration, given to every command that takes one."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from rich.table import Table

from steelyard.compile import compile
from steelyard.contract import AcceleratorConfig, configure
from steelyard.errors import UserError
from steelyard.network.random import random_input, random_network
from steelyard.program import Program
from steelyard.report import plan_document, timeline_document
from steelyard_cli.view.layer_tables import plan_table, run_table
from steelyard_sim.cases.tile_cover import covering_configs
from steelyard_sim.runs import netlist

CONFIG = covering_configs(1, 1)[0].with_(padded_kernel=7)
"""Tile whose simulations the tests of the tile use too."""


@pytest.fixture
def toml(tmp_path):
    CONFIG.to_toml(tmp_path / "tile.toml")
    return tmp_path / "tile.toml"


def test_the_file_says_which_engine(toml, tmp_path):
    assert AcceleratorConfig.from_toml(toml) == CONFIG
    configure("array", columns=8).to_toml(tmp_path / "array.toml")
    found = AcceleratorConfig.from_toml(tmp_path / "array.toml")
    assert (type(found), found) == (AcceleratorConfig, configure("array", columns=8))


def test_generate_writes_the_tile(steelyard, toml, tmp_path):
    result = steelyard("generate", "--config", toml, "-o", tmp_path / "out")
    assert result.status == 0, result.err
    verilog = (tmp_path / "out" / "steelyard.sv").read_text()
    assert CONFIG.canonical() in verilog.splitlines()[1]
    assert "bitlines" in verilog
    assert AcceleratorConfig.from_toml(tmp_path / "out" / "config.toml") == CONFIG
    described = json.loads((tmp_path / "out" / "accelerator.json").read_text())
    assert AcceleratorConfig.from_dict(described["config"]) == CONFIG
    assert described["config_sha256"] == CONFIG.hash().hex()


@pytest.mark.parametrize("device", ["sim", "virtual:", "virtual:?config=FILE"])
def test_selftest_of_a_simulated_tile(steelyard, toml, device):
    name = device.replace("FILE", str(toml))
    options = () if "config" in device else ("--config", toml)
    result = steelyard("selftest", "--device", name, "--quick", *options)
    assert result.status == 0, result.err
    assert CONFIG.outline in " ".join(result.out.split())
    assert CONFIG.outline.startswith(f"crossbar tile of {CONFIG.engine.lanes} lanes with ")


def test_compile_takes_the_engine_from_the_file(steelyard, work, tmp_path):
    large = configure("crossbar", weight_words=512)
    large.to_toml(tmp_path / "tile.toml")
    command = ("compile", work.int8_onnx, "-o", tmp_path / "net.syp", "--config")
    for engine in ((), ("--engine", "crossbar")):
        result = steelyard(*command, tmp_path / "tile.toml", *engine)
        assert result.status == 0, result.err
        assert Program.load(tmp_path / "net.syp").config == large
    steelyard(*command, tmp_path / "tile.toml", "--engine", "array").refused(
        "tile.toml', which configures the crossbar; leave --engine out"
    )
    steelyard(*command, work.config, "--engine", "crossbar").refused("configures the array")
    result = steelyard(*command, tmp_path / "tile.toml", "--board", "ulx3s_85f")
    assert result.status == 0, result.err
    assert "at least" in result.out.splitlines()[-1]
    configure("crossbar", lanes=32, ou_parallel=4).to_toml(tmp_path / "tile.toml")
    result = steelyard(*command, tmp_path / "tile.toml", "--board", "ulx3s_85f")
    result.refused("Board 'ulx3s_85f' has 208 block RAMs", "256 window_groups or")


def test_the_netlist_run_takes_the_tile(toml, monkeypatch):
    seen = []

    def stop(config, *_):
        seen.append(config)
        raise UserError("Stopped.")

    monkeypatch.setattr(netlist, "_case", stop)
    done = CliRunner().invoke(netlist.command, ["--config", str(toml)])
    assert (done.exit_code, done.stderr) == (2, "error: Stopped.\n")
    assert seen == [CONFIG]
    done = CliRunner().invoke(netlist.command, ["--config", str(toml), "--compact"])
    assert done.exit_code == 2 and "give one of them" in done.stderr
    assert seen == [CONFIG]


def cells(table: Table) -> list[list[str]]:
    """Rows of a table, its headings first."""
    columns = [[str(column.header), *map(str, column.cells)] for column in table.columns]
    return [list(row) for row in zip(*columns, strict=True)]


def test_the_plan_of_a_tile_has_the_columns_of_a_tile(steelyard, work, tmp_path):
    path = tmp_path / "tile.syp"
    result = steelyard("compile", work.int8_onnx, "-o", path, "--engine", "crossbar")
    assert result.status == 0, result.err
    assert "batch of 1 on crossbar tile of 16 lanes" in " ".join(result.out.split())
    program = Program.load(path)
    heads, *rows = cells(plan_table(program, plan_document(program)["layers"], "x"))
    assert heads == [
        *("layer", "kind", "nnz", "stored", "OUs", "weight B", "act. words", "ideal cyc."),
        *("max. cyc.", "occup."),
    ]
    units = {name: layer.operation_units for name, layer in program.mapping.layers.items()}
    for row, entry in zip(rows, program.layers, strict=False):
        assert row[0] == entry.name
        if entry.name in units:
            numbers = [int(cell.replace(",", "")) for cell in row[2:9]]
            assert numbers[:3] == [entry.nnz, entry.kept, units[entry.name]]
            assert numbers[-2:] == [entry.ideal_cycles, entry.predicted_cycles]
            assert row[9] == f"{100 * entry.ideal_cycles / entry.predicted_cycles:.1f} %"
        else:
            assert [cell for cell in row if cell != "-"] == [
                *(entry.name, entry.kind, str(entry.activation_words)),
                f"{entry.predicted_cycles:,}",
            ]
    weights = [entry for entry in program.layers if entry.name in units]
    sums = sum(entry.nnz for entry in weights), sum(entry.kept for entry in weights)
    assert rows[-1][:5] == ["all", "", *(f"{n:,}" for n in (*sums, sum(units.values())))]


def test_the_run_of_a_tile_has_the_columns_of_a_tile(steelyard, tmp_path):
    network = random_network(3, layers=3, max_channels=6, max_pixels=40, group=4)
    program = compile(network, CONFIG, mapping="ou_row")
    program.save(tmp_path / "tile.syp")
    codes = random_input(network, 2, 0)
    np.save(tmp_path / "x.npy", codes)
    result = steelyard(
        *("run", tmp_path / "tile.syp", "--input", tmp_path / "x.npy", "--raw", "--check"),
        *("--output", tmp_path / "y.npy", "--json", tmp_path / "run.json"),
    )
    assert result.status == 0, result.err
    assert "ADC conv." in result.out
    counted = json.loads((tmp_path / "run.json").read_text())["layers"]
    heads, *rows = cells(run_table(program, counted, 1))
    units = ["OU steps", "OU skipped", "skipped", "ADC conv.", "ADC bits"]
    waits = ["wait load", "wait weights", "wait drain"]
    assert heads == ["layer", "kind", *units, "cycles", "occup.", *waits]
    assert len(rows) == len(counted) == len(program.layers)
    for row, entry in zip(rows, counted, strict=True):
        units = entry["units"]
        assert row[0] == entry["name"]
        assert 0 <= entry["occupancy"] == entry["issue"] / entry["cycles"] <= 1
        if entry["name"] in program.mapping.layers:
            steps = units["ou_steps"] + units["ou_skipped"]
            assert "-" not in row
            assert row[2:4] == [f"{units['ou_steps']:,}", f"{units['ou_skipped']:,}"]
            assert row[4] == f"{100 * units['ou_skipped'] / steps:.1f} %"
            assert row[6] == f"{units['adc_decisions']:,}"
            assert row[8] == f"{100 * entry['occupancy']:.1f} %"
        else:
            assert row.count("-") == 6
    run = ("--run", tmp_path / "run.json")
    result = steelyard("report", tmp_path / "tile.syp", *run, "-o", tmp_path / "report")
    assert result.status == 0, result.err
    page = (tmp_path / "report" / "report.html").read_text()
    assert f"Batch of 1 on {program.config.outline}." in page
    assert "<th>K</th>" not in page and "cycles predicted at most" in page
    timeline = json.loads((tmp_path / "report" / "report.json").read_text())["timeline"]
    predicted = timeline_document(program)["layers"]
    for layer, row, bound in zip(timeline["layers"], counted, predicted, strict=True):
        shares = layer["shares"]
        assert sum(shares.values()) == layer["cycles"] == row["cycles"]
        assert (shares["engine"], shares["unknown"]) == (row["issue"], 0)
        for cause in ("load", "weights", "drain") if row["issue"] else ():
            assert shares[f"wait_{cause}"] == row[f"stall_{cause}"]
        # What moves does not depend on skipped steps, their number is at most the predicted one.
        for name in ("loading", "storing", "words_loaded", "words_written"):
            assert layer[name] == bound[name]
        assert shares["engine"] <= bound["shares"]["engine"]
    last = timeline["layers"][-1]
    total = json.loads((tmp_path / "run.json").read_text())["cycles"]
    assert last["start"] + last["cycles"] + last["between"] == total == timeline["cycles"]
