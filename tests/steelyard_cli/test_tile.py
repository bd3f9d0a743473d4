"""The crossbar tile's configuration, given to every command that takes one."""

import json

import pytest

from steelyard.config import ArrayConfig
from steelyard.errors import UserError
from steelyard.tile import TileConfig, load_config
from steelyard_sim import netlist_case
from steelyard_sim.tile_cover import covering_configs

CONFIG = covering_configs(1, 1)[0]
"""Tile whose simulations the tests of the tile use too."""


@pytest.fixture
def toml(tmp_path):
    CONFIG.to_toml(tmp_path / "tile.toml")
    return tmp_path / "tile.toml"


def test_the_file_says_which_engine(toml, tmp_path):
    assert load_config(toml) == CONFIG
    ArrayConfig(columns=8).to_toml(tmp_path / "array.toml")
    found = load_config(tmp_path / "array.toml")
    assert (type(found), found) == (ArrayConfig, ArrayConfig(columns=8))


def test_generate_writes_the_tile(steelyard, toml, tmp_path):
    result = steelyard("generate", "--config", toml, "-o", tmp_path / "out")
    assert result.status == 0, result.err
    verilog = (tmp_path / "out" / "steelyard.sv").read_text()
    assert CONFIG.canonical() in verilog.splitlines()[1]
    assert "bitlines" in verilog
    assert load_config(tmp_path / "out" / "config.toml") == CONFIG
    described = json.loads((tmp_path / "out" / "accelerator.json").read_text())
    assert TileConfig.from_dict(described["config"]) == CONFIG
    assert described["config_sha256"] == CONFIG.hash().hex()


@pytest.mark.parametrize("device", ["sim", "virtual:", "virtual:?config=FILE"])
def test_selftest_of_a_simulated_tile(steelyard, toml, device):
    name = device.replace("FILE", str(toml))
    options = () if "config" in device else ("--config", toml)
    result = steelyard("selftest", "--device", name, "--quick", *options)
    assert result.status == 0, result.err
    assert CONFIG.outline in " ".join(result.out.split())
    assert CONFIG.outline.startswith(f"crossbar tile of {CONFIG.lanes} lanes with ")


def test_the_netlist_run_takes_the_tile(toml, monkeypatch, capsys):
    seen = []

    def stop(config, options):
        seen.append(config)
        raise UserError("Stopped.")

    monkeypatch.setattr(netlist_case, "_case", stop)
    assert netlist_case.main(["--config", str(toml)]) == 2
    assert seen == [CONFIG]
    assert capsys.readouterr().err == "error: Stopped.\n"
