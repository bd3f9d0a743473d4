"""Demo: what its report says of the runs; the chain itself is `make demo`."""

from concurrent.futures import Future

import numpy as np
import pytest

from steelyard import zoo
from steelyard.compile import compile as compile_program
from steelyard.importer import load
from steelyard.network.random import random_input, random_network
from steelyard.quantize import quantize
from steelyard_cli.demos import array as demo
from steelyard_cli.demos import array_work as demo_work

from .conftest import TINY

LAYER_KEYS = {
    "name", "kind", "k", "nnz", "ideal_cycles", "cycles", "dense_cycles", "occupancy",
}  # fmt: skip


class Here:
    """Executor that works at once, in this process."""

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


@pytest.fixture
def programs(monkeypatch):
    monkeypatch.setattr(demo_work, "_opened", {})
    network = random_network(5, layers=5, max_pixels=60, max_channels=12, k=4)
    config = TINY.with_(activation_words=4096, weight_words=4096)
    sparse = compile_program(network, config, batch=demo.BATCH)
    return sparse, compile_program(network, config, batch=demo.BATCH, k="dense")


def simulate(programs, device="golden", batches=3):
    codes = random_input(programs[0].network, batches * demo.BATCH, 0)
    return demo._simulate(Here(), device, *programs, codes)


def test_every_image_of_every_batch_is_checked(programs):
    report = simulate(programs)
    assert report["bit_exact"] is True
    assert report["images_checked"] == 3 * demo.BATCH
    assert all(set(row) >= LAYER_KEYS for row in report["layers"])


def test_a_wrong_layer_spoils_the_report(programs, monkeypatch):
    original = demo_work.driver.check_layers

    def check_layers(program, codes, device):
        assert original(program, codes, device) is None
        return demo_work.driver.Mismatch(
            layer="conv0", image=2, channel=0, row=0, column=0, expected=1, actual=2,
            differing=1, compared=9,
        )  # fmt: skip

    monkeypatch.setattr(demo_work.driver, "check_layers", check_layers)
    report = simulate(programs)
    assert report["bit_exact"] is False
    assert report["mismatch"].startswith("layer 'conv0', image 2, ")


def test_array_of_the_demo_holds_the_bundled_network_dense():
    network = load(quantize(zoo.load(), zoo.sample().calibration_input[:50]))
    program = compile_program(network, demo.CONFIG, batch=demo.BATCH, k="dense")
    assert all(use.used <= use.available for use in program.uses)


def test_images_are_whole_batches_and_at_least_those_timed():
    network = load(quantize(zoo.load(), zoo.sample().calibration_input[:50]))
    assert len(demo._codes(network, 200)) == 208
    assert len(demo._codes(network, 1)) == demo.TIMED_BATCHES * demo.BATCH
    codes = demo._codes(network, 1010)
    assert len(codes) == 1024 and np.array_equal(codes[1000:], codes[:24])
