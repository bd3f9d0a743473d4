"""Commands that compile for a board, test a device and run the demo on a virtual board."""

import json
import re
from dataclasses import dataclass

import numpy as np
import pytest

from steelyard import driver
from steelyard.compile import compile as compile_program
from steelyard.compile.cycles import predict_program
from steelyard.contract import AcceleratorConfig, configure
from steelyard.driver import boards as boards_module
from steelyard.errors import DoesNotFit
from steelyard.network import golden
from steelyard.network.random import random_input, random_network
from steelyard.program import Program
from steelyard_cli.commands import compile as compiling
from steelyard_cli.demos import board as board_demo
from steelyard_cli.inputs import devices
from steelyard_sim import virtual
from steelyard_sim.runs.faults import CONFIG

from .conftest import TINY


@dataclass(frozen=True)
class Facts:
    """Board whose simulation the tests of the virtual board use too."""

    name: str = "small"
    default: AcceleratorConfig = CONFIG
    clock_hz: int = virtual.CLOCK_HZ
    baud: int = virtual.CLOCK_HZ // virtual.DIVIDER
    memory: None = None
    external: None = None

    def clock_of(self, config: AcceleratorConfig) -> int:
        return self.clock_hz


@pytest.fixture
def network():
    return random_network(1, layers=3, max_channels=6, max_pixels=40, group=CONFIG.engine.group)


def test_compile_takes_the_configuration_of_a_board(steelyard, work, tmp_path):
    output = tmp_path / "net.syp"
    result = steelyard("compile", work.int8_onnx, "-o", output, "--board", "ulx3s_85f")
    assert result.status == 0, result.err
    assert Program.load(output).config == boards_module.find_board("ulx3s_85f").default


def test_a_board_that_is_too_small_is_refused_with_the_amounts(steelyard, work, tmp_path):
    output = tmp_path / "net.syp"
    result = steelyard(
        "compile", work.int8_onnx, "-o", output, "--board", "ulx3s_85f", "--batch", 9000
    )
    result.refused("does not fit: it needs", "activation words where the configuration has 4096")
    assert not output.exists()


def test_a_network_that_misses_a_boards_configuration_is_helped_by_the_advice(
    steelyard, work, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    command = ("compile", work.int8_onnx, "-o", "net.syp", "--board", "ulx3s_85f", "--batch", 208)
    result = steelyard(*command)
    result.refused("activation words where the configuration has 4096", "or use a smaller batch")
    assert result.err.count(";") == 1
    write, set_to, give = re.search(
        r"; write the board's configuration with '(.*?)', set (.*?) in it and give '(.*?)', or",
        result.err.replace("\n", " "),
    ).groups()
    program, *arguments = write.split()
    assert (program, steelyard(*arguments).status) == ("steelyard", 0)
    field, _, value = set_to.partition(" = ")
    file = tmp_path / give.split()[-1]
    text, changed = re.subn(rf"(?m)^{field} = .*$", f"{field} = {value}", file.read_text())
    assert changed == 1
    file.write_text(text)
    result = steelyard(*command[:4], *give.split(), *command[6:])
    assert result.status == 0, result.err
    assert f"steelyard bitstream ulx3s_85f --config {file.name}" in result.err
    assert "board ulx3s_85f at 75 MHz: " in result.out
    compiled = Program.load(tmp_path / "net.syp")
    board = boards_module.find_board("ulx3s_85f")
    assert compiled.config == board.default.with_(**{field: int(value)})
    rate = 208 * board.clock_hz / predict_program(compiled)
    assert f"{rate:.0f} images a second, without transfers" in result.out


def test_a_network_that_no_configuration_of_the_board_holds_is_told_so(steelyard, work, tmp_path):
    command = ("compile", work.int8_onnx, "-o", tmp_path / "net.syp", "--board", "ulx3s_12f")
    result = steelyard(*command, "--batch", 1000)
    result.refused("nor does board 'ulx3s_12f' hold", "has 56 block RAMs", "or a larger board")
    # A file beside the board does not change that, and one that is only too small is to be changed.
    small = boards_module.find_board("ulx3s_12f").default.with_(activation_words=2048)
    small.to_toml(tmp_path / "small.toml")
    command = (*command, "--config", tmp_path / "small.toml")
    steelyard(*command, "--batch", 1000).refused("nor does board 'ulx3s_12f' hold")
    result = steelyard(*command, "--batch", 40)
    field, value = re.search(r"; set (\w+) = (\d+) in '.*small.toml', which", result.err).groups()
    small.with_(**{field: int(value)}).to_toml(tmp_path / "small.toml")
    assert steelyard(*command, "--batch", 40).status == 0


def test_what_no_memory_helps_keeps_its_own_advice(steelyard, work, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise DoesNotFit("Layer 'x' can reach sums of 9; use smaller weights or bias.")

    monkeypatch.setattr(compiling, "compile_program", refuse)
    output = tmp_path / "net.syp"
    result = steelyard("compile", work.int8_onnx, "-o", output, "--board", "ulx3s_12f")
    result.refused("Layer 'x' can reach sums of 9; use smaller weights or bias.")
    assert "batch" not in result.err


def test_a_configuration_that_the_board_cannot_hold_is_refused(steelyard, work, tmp_path):
    configure("array").to_toml(tmp_path / "large.toml")
    result = steelyard(
        *("compile", work.int8_onnx, "-o", tmp_path / "net.syp"),
        *("--board", "ulx3s_12f", "--config", tmp_path / "large.toml"),
    )
    result.refused("Board 'ulx3s_12f' has 28 multipliers and the configuration needs", "use fewer")
    assert not (tmp_path / "net.syp").exists()


def test_the_configuration_of_one_board_is_written(steelyard, tmp_path):
    result = steelyard("boards", "ulx3s_45f", "-o", tmp_path / "b.toml")
    assert result.status == 0, result.err
    assert "ulx3s_45f" in result.out and "ulx3s_12f" not in result.out
    assert (
        AcceleratorConfig.from_toml(tmp_path / "b.toml")
        == boards_module.find_board("ulx3s_45f").default
    )
    steelyard("boards", "-o", tmp_path / "b.toml").refused(
        "name the board, as in 'steelyard boards"
    )
    assert steelyard("boards", "ulx3s_45f", "--external", "-o", tmp_path / "e.toml").status == 0
    assert (
        AcceleratorConfig.from_toml(tmp_path / "e.toml")
        == boards_module.find_board("ulx3s_45f").external
    )
    steelyard("boards", "ulx3s_45f", "--external").refused("name a file with -o")
    steelyard("boards", "versa_ecp5", "--external", "-o", tmp_path / "v.toml").refused(
        "'versa_ecp5' has no external memory", "name one that has: ulx3s_12f, "
    )
    assert not (tmp_path / "v.toml").exists()


def test_networks_of_like_sizes_share_a_configuration_and_its_simulation(steelyard, work, tmp_path):
    configs = set()
    for batch in (300, 310, 400):
        path = tmp_path / f"{batch}.syp"
        result = steelyard("compile", work.int8_onnx, "-o", path, "--batch", batch)
        assert result.status == 0, result.err
        assert "builds its simulation, once, " in result.err
        assert "'steelyard run --device golden' starts at once" in result.err
        configs.add(Program.load(path).config)
    (config,) = configs
    assert config == configure("array", activation_words=8192)


@pytest.mark.parametrize("command", ["compile", "demo-board", "selftest"])
def test_an_unknown_board_is_refused_with_the_known_ones(steelyard, work, tmp_path, command):
    arguments = {
        "compile": (work.int8_onnx, "-o", tmp_path / "net.syp", "--board", "toaster"),
        "demo-board": ("--board", "toaster"),
        "selftest": ("--device", "virtual:toaster"),
    }[command]
    steelyard(command, *arguments).refused("no board 'toaster'; choose one of", "ulx3s_85f")


def test_run_on_a_virtual_board_tells_what_the_line_moved(steelyard, network, tmp_path):
    program = compile_program(network, CONFIG)
    program.save(tmp_path / "net.syp")
    codes = random_input(network, 3, 0)
    np.save(tmp_path / "x.npy", codes)
    result = steelyard(
        *("run", tmp_path / "net.syp", "--input", tmp_path / "x.npy", "--raw", "--verify"),
        *("--output", tmp_path / "y.npy", "--device", "virtual:", "--json", tmp_path / "run.json"),
    )
    assert result.status == 0, result.err
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), golden.run(network, codes))
    for text in ("Link, for one image", "bytes sent", "processor time", "predicted images/s"):
        assert text in result.out
    report = json.loads((tmp_path / "run.json").read_text())
    moved, speed = report["traffic"], report["throughput"]
    assert moved["bytes_sent_per_batch"] == moved["bytes_sent"] / 3
    seconds = (moved["bytes_sent"] + moved["bytes_received"]) / 3 * 10 / speed["baud"]
    assert speed["transfer_seconds"] == pytest.approx(seconds)
    assert speed["compute_seconds"] == report["cycles"] / virtual.CLOCK_HZ
    assert speed["pipelined_seconds"] < speed["sequential_seconds"]


def test_a_slow_run_is_announced_before_it_is_loaded(steelyard, network, tmp_path, monkeypatch):
    monkeypatch.setattr(devices, "SLOW_SECONDS", 0.0)
    compile_program(network, CONFIG).save(tmp_path / "net.syp")
    np.save(tmp_path / "x.npy", random_input(network, 3, 0))
    command = ("run", tmp_path / "net.syp", "--input", tmp_path / "x.npy", "--raw")
    output = ("--output", tmp_path / "y.npy")
    result = steelyard(*command, *output, "--device", "virtual:", "--check")
    assert result.status == 0, result.err
    assert re.search(
        r"Device 'virtual' simulates the board with every bit of its serial line, [\d,]+ cycles a "
        r"second here: about \d+ s \(loading \d+ s, 3 images \d+ s, comparing every layer \d+ s"
        r"\)\. "
        r"'sim' simulates the accelerator without the line, 'golden' starts at once\.",
        result.err.replace("\n", " "),
    )
    result = steelyard(*command, *output, "--device", "golden")
    assert "serial line" not in result.err


def test_run_on_other_devices_says_nothing_of_a_line(steelyard, work, tmp_path):
    result = steelyard(
        *("run", work.program, "--input", work.images, "--output", tmp_path / "y.npy"),
        *("--device", "golden", "--json", tmp_path / "run.json"),
    )
    assert result.status == 0, result.err
    assert "Link" not in result.out
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["traffic"] is report["throughput"] is None


def test_selftest_lists_what_it_tested(steelyard, tmp_path):
    TINY.to_toml(tmp_path / "tiny.toml")
    result = steelyard(
        *("selftest", "--device", "sim", "--config", tmp_path / "tiny.toml"),
        *("--json", tmp_path / "test.json"),
    )
    assert result.status == 0, result.err
    report = json.loads((tmp_path / "test.json").read_text())
    assert report["passed"] is True
    names = ["identity", "descriptors", "parameters", "weights", "activations", "network"]
    assert [step["name"] for step in report["steps"]] == names
    for name in names:
        assert name in result.out


def test_selftest_of_a_faulty_device_is_a_bad_result(steelyard, monkeypatch):
    class Faulty(driver.GoldenDevice):
        def selftest(self, configs=(), *, quick=False, progress=None):
            steps = [driver.Step(name="weights", tested="all", fault="item 3 gives 0")]
            return driver.SelfTest(config=TINY, steps=steps)

    monkeypatch.setattr(devices.driver, "open", lambda *_, **__: Faulty())
    result = steelyard("selftest", "--device", "sim")
    assert result.status == 1
    assert "error: Device 'sim' is faulty: weights: item 3 gives 0." in result.err


def test_selftest_of_a_simulation_without_configuration_asks_for_one(steelyard):
    steelyard("selftest", "--device", "sim").refused("needs a configuration; give")
    steelyard("selftest", "--device", "virtual:").refused("name a board as in 'virtual:ulx3s_85f'")
    steelyard("selftest", "--device", "golden").refused("'golden' has no memories to test")


def test_serial_boards_are_looked_for_among_the_known_ones():
    known = devices.board_configs("serial:/dev/ttyUSB0?baud=115200")
    assert boards_module.find_board("ulx3s_85f").default in known
    assert devices.board_configs("/dev/ttyUSB0") == devices.board_configs("COM3") == known
    assert devices.board_configs("virtual:ulx3s_85f") == []


@pytest.fixture
def demo(monkeypatch, network):
    """Demo's network and sample replaced by small ones."""
    tensor = network.tensor(network.input)
    codes = random_input(network, 5, 0)

    class Sample:
        test_input = tensor.dequantize(codes)

    for module in (board_demo, virtual):
        monkeypatch.setattr(module, "find_board", lambda name: Facts(name))
    monkeypatch.setattr(board_demo, "_network", lambda name, folder, clock: network)
    monkeypatch.setattr(board_demo.zoo, "sample", Sample)


@pytest.mark.parametrize("device", ["virtual:small", "golden"])
def test_the_board_demo_compares_all_images(steelyard, demo, tmp_path, device):
    result = steelyard(
        *("demo-board", "--board", "small", "--images", 70, "--device", device),
        *("-o", tmp_path),
    )
    assert result.status == 0, result.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["bit_exact"] is True
    assert (report["images"], report["board"]) == (70, "small")
    if device == "golden":
        assert report["throughput"] is report["measured"] is None
        return
    # The host is slow against so small a board: it may have nothing to send ahead.
    assert report["measured"]["gain"] > 0.9
    assert report["cycles"] == pytest.approx(report["predicted_cycles"], rel=0.1)
    for text in ("equal, bit for bit", "gain", "bytes sent", "predicted images/s"):
        assert text in result.out


def test_a_wrong_image_makes_the_board_demo_a_bad_result(steelyard, demo, tmp_path, monkeypatch):
    class Wrong(driver.GoldenDevice):
        def infer(self, x, **options):
            result = super().infer(x, **options)
            result[-1, 0, 0, 0] ^= 1
            return result

    monkeypatch.setattr(devices.driver, "open", lambda *_, **__: Wrong())
    result = steelyard("demo-board", "--board", "small", "--images", 3, "-o", tmp_path)
    assert result.status == 1
    assert "differs from the golden model in image 2." in result.err
    assert json.loads((tmp_path / "report.json").read_text())["bit_exact"] is False
