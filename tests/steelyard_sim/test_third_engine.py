"""An engine that the packages do not know: registered here, compiled for, run on its gateware."""

from collections.abc import Iterator

import pytest

from scalar_engine import Scalar, ScalarConfig
from steelyard import driver
from steelyard.compile import compile
from steelyard.contract import AcceleratorConfig, configure, registry
from steelyard.network.random import random_input, random_network
from steelyard.program import Program
from steelyard.report import layer_rows, timeline_document


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    registry.register("scalar", ScalarConfig, Scalar())
    yield
    registry.unregister("scalar")


def scalar_config() -> AcceleratorConfig:
    return configure(
        "scalar", lanes=4, group=4, window_groups=64, requantizers=2, weight_words=16384,
        activation_words=1024, parameter_words=256, partial_sum_channels=64,
    )  # fmt: skip


def test_networks_run_on_it_bit_for_bit(tmp_path):
    config = scalar_config()
    kinds, taken = set(), []
    with driver.open("sim", config=config) as device:
        for seed in range(1, 7):
            network = random_network(
                seed, layers=5, max_pixels=40, max_channels=8, max_kernel=3, group=4
            )
            compile(network, config, batch=1 + seed % 3).save(tmp_path / "net.syp")
            program = Program.load(tmp_path / "net.syp")
            device.load(program)
            x = random_input(network, program.batch, seed)
            assert driver.check_layers(program, x, device) is None
            device.infer(x)
            for entry, counters in zip(program.layers, device.counters(), strict=True):
                taken.append(counters.cycles / entry.predicted_cycles)
                kinds.add(entry.kind)
                assert counters.units is None
            run = {"cycles": device.cycles, "layers": layer_rows(program, device.counters())}
            spans = timeline_document(program, run)["layers"]
            for span, bound in zip(spans, timeline_document(program)["layers"], strict=True):
                assert sum(span["shares"].values()) == span["cycles"] <= bound["cycles"]
                assert sum(bound["shares"].values()) == bound["cycles"]
                moved = ("loading", "words_loaded", "words_written")
                assert [span[name] for name in moved] == [bound[name] for name in moved]
    assert kinds >= {"conv", "max_pool", "avg_pool", "add"}
    assert min(taken) > 0.1 and max(taken) <= 1


def test_its_configuration_has_its_own_file_hash_and_difference(tmp_path):
    config = scalar_config()
    config.to_toml(tmp_path / "scalar.toml")
    assert AcceleratorConfig.from_toml(tmp_path / "scalar.toml") == config
    other = configure("array", lanes=4, columns=1, group=4, requantizers=2)
    assert config.hash() != other.hash()
    assert config.differences(other)[0] == "engine: dense scalar engine != sparse array"


def test_a_kind_is_registered_once():
    with pytest.raises(ValueError, match="'scalar' is registered already; choose another name"):
        registry.register("scalar", ScalarConfig, Scalar())
