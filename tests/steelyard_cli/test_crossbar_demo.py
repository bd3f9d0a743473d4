"""Crossbar demo in a reduced form; the whole is `make demo-crossbar`."""

import json
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from steelyard import driver
from steelyard.contract import AcceleratorConfig, configure
from steelyard.engines.crossbar import CrossbarConfig, UnitCounters
from steelyard.errors import UserError
from steelyard.network.random import random_input, random_network
from steelyard_cli.demos import (
    array_work as demo_work,
)
from steelyard_cli.demos import (
    crossbar as crossbar_demo,
)
from steelyard_cli.demos import (
    crossbar_work as crossbar_demo_work,
)

ROW_KEYS = {
    "method", "accuracy", "compression", "crossbars", "area_ratio", "energy_ratio", "speed_ratio",
    "ou_steps", "index_bits", "bit_exact", "images_checked",
}  # fmt: skip
SMALL = configure(
    "crossbar",
    lanes=4,
    group=4,
    requantizers=2,
    window_groups=64,
    activation_words=512,
    weight_words=2048,
    parameter_words=48,
    partial_sum_channels=16,
    max_layers=8,
    crossbar=CrossbarConfig(rows=32, columns=48),
)


class Here(Executor):
    """Executor that works at once, in this process."""

    def submit(self, function, /, *arguments, **options):
        future = Future()
        future.set_result(function(*arguments, **options))
        return future


@contextmanager
def here():
    yield Here()


@pytest.fixture
def network():
    return random_network(3, layers=3, max_pixels=40, max_channels=6)


@pytest.fixture(autouse=True)
def fresh_devices(monkeypatch):
    monkeypatch.setattr(demo_work, "_opened", {})


def check(network, device="golden", mapping="pattern", first=30):
    codes = random_input(network, 3, 0)
    return crossbar_demo_work.check(device, network, mapping, SMALL, first, codes)


def test_reduced_demo_reports_every_method(steelyard, monkeypatch, tmp_path):
    monkeypatch.setattr(crossbar_demo, "workers", here)
    monkeypatch.setattr(crossbar_demo, "ADC_BITS", (3, 8))
    result = steelyard(
        *("demo-crossbar", "-o", tmp_path, "--method", "mixed", "--device", "golden"),
        *("--images", 4, "--accuracy-images", 40, "--converter-images", 40),
        *("--calibration", 50, "--epochs", 0),
    )
    assert result.status == 0, result.err
    assert "seed 0" in result.err
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["accuracy_data"] == "the bundled ones"
    assert AcceleratorConfig.from_dict(report["config"]) == crossbar_demo.CONFIG
    assert 0 < report["accuracy_standard_error"] == report["converter_standard_error"] < 0.08
    dense, mixed = report["methods"]
    usual = mixed["same_weights_ou_row"]
    assert "same_weights_ou_row" not in dense
    assert usual["mapped_weights"] > mixed["mapped_weights"]
    assert set(usual["energy_ratio"]) == set(mixed["energy_ratio"])
    assert "the same" in result.out
    assert (dense["method"], mixed["method"]) == ("dense", "mixed")
    for row in (dense, mixed):
        assert set(row) >= ROW_KEYS
        assert row["bit_exact"] and row["images_checked"] == 4
        assert set(row["area_ratio"]) == {"isaac32", "mnsim", "yu2020"}
        reached = row["accuracy_by_adc_bits"]
        assert reached["8"] == row["accuracy"] > reached["3"]
    assert dense["compression"] == pytest.approx(1, abs=0.05)
    assert all(dense[key]["yu2020"] == 1 for key in ("area_ratio", "energy_ratio", "speed_ratio"))
    assert mixed["compression"] > 4 and mixed["energy_ratio"]["yu2020"] > 2
    assert mixed["accuracy"] > 0.5
    assert {path.name for path in tmp_path.iterdir()} >= {
        "ratios.svg", "converters.svg", "crossbars-dense.svg", "crossbars-mixed.svg",
    }  # fmt: skip
    assert "mixed" in result.out


def test_a_wrong_layer_is_named_with_its_image(network, monkeypatch):
    mismatch = driver.Mismatch(
        layer="conv0", image=2, channel=0, row=0, column=0, expected=1, actual=2,
        differing=1, compared=9,
    )  # fmt: skip
    monkeypatch.setattr(driver, "check_layers", lambda program, codes, device: mismatch)
    assert check(network, first=0).wrong.startswith("layer 'conv0', image 2, ")
    assert check(network).wrong is None
    monkeypatch.setattr(driver, "check", lambda program, codes, device: mismatch)
    assert check(network).wrong.startswith("layer 'conv0', image 32, ")


def test_counters_that_differ_from_the_cost_model_are_told(network, monkeypatch):
    assert check(network) == crossbar_demo_work.Checked(3, None, False, None)
    nothing = UnitCounters(ou_steps=0, ou_skipped=0, adc_conversions=0, dac_drives=0, cell_reads=0)
    cycles = ("cycles", "issue", "stall_load", "stall_weights", "stall_drain")
    words = ("words_loaded", "words_written", "vector_operations")
    counted = [
        driver.LayerCounters(name=layer.name, units=nothing, **dict.fromkeys(cycles + words, 0))
        for layer in network.layers
    ]
    monkeypatch.setattr(driver.GoldenDevice, "counters", lambda device: counted)
    found = check(network)
    assert found.counted and "counts {'ou_steps': 0" in found.wrong


def test_accuracy_is_that_of_the_converter(monkeypatch):
    calls = []

    def run(network, mapping, codes):
        calls.append(mapping.config.adc_bits)
        raise AssertionError("only a converter that loses something needs the crossbars")

    network, _ = crossbar_demo_work.pruned(crossbar_demo_work.WAYS[0], CrossbarConfig(), 50, 0, 0)
    monkeypatch.setattr(crossbar_demo_work.crossbar, "run", run)
    whole = crossbar_demo_work.accuracy(network, "traditional", CrossbarConfig(), 60)
    assert whole > 0.8 and not calls
    with pytest.raises(AssertionError):
        crossbar_demo_work.accuracy(network, "traditional", CrossbarConfig(adc_bits=3), 60)
    assert calls == [3]


def test_accuracies_fall_back_on_the_bundled_images(monkeypatch, capsys):
    def missing(folder=None):
        raise UserError("There is no data set here.")

    settings = crossbar_demo.Settings(
        images=1, accuracy_images=10000, converter_images=500, adc_range="unit", calibration=50,
        epochs=0, device="golden", seed=0,
    )  # fmt: skip
    monkeypatch.setattr(crossbar_demo_work.dataset, "find", missing)
    crossbar_demo_work.tested.cache_clear()
    found, source = crossbar_demo._with_data(settings)
    assert (found.accuracy_images, found.converter_images) == (1000, 500)
    assert source == "the bundled ones"
    assert "There is no data set here." in capsys.readouterr().err
    with pytest.raises(UserError, match="^There is no data set here.$"):
        crossbar_demo._with_data(replace(settings, data=Path("somewhere")))
    crossbar_demo_work.tested.cache_clear()


def test_images_are_repeated_to_the_number_asked_for():
    network, _ = crossbar_demo_work.pruned(crossbar_demo_work.WAYS[0], CrossbarConfig(), 50, 0, 0)
    codes = crossbar_demo._codes(network, 1010)
    assert len(codes) == 1010 and np.array_equal(codes[1000:], codes[:10])
