"""Serial driver, unmodified, on the compiled gateware's serial pins."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from steelyard import driver
from steelyard.compile import Descriptor, compile
from steelyard.compile.cycles import predict_program, run_cycles
from steelyard.contract import AcceleratorConfig
from steelyard.errors import UserError
from steelyard.network import golden
from steelyard.network.random import random_input, random_network
from steelyard_sim import virtual
from steelyard_sim.runs.faults import CONFIG, FAULTS, FaultBench
from steelyard_sim.virtual import Address, VirtualBoard


@pytest.fixture(scope="module")
def program():
    network = random_network(1, layers=3, max_channels=6, max_pixels=40, group=CONFIG.engine.group)
    return compile(network, CONFIG)


@pytest.fixture(scope="module")
def device(program):
    with driver.open("virtual:", config=CONFIG, timeout=60) as device:
        device.load(program)
        yield device


def test_results_of_all_layers_equal_the_golden_model(device, program):
    x = random_input(program.network, 4, 0)
    np.testing.assert_array_equal(device.infer(x), golden.run(program.network, x))
    mismatch = driver.check_layers(program, x, device)
    assert mismatch is None, str(mismatch)


@pytest.mark.parametrize("name", ["sim", "virtual:"])
@pytest.mark.parametrize("together", [True, False])
def test_a_program_that_never_ends_is_given_up_soon_after_it_should_have_ended(
    program, name, together
):
    layer = next(n for n, entry in enumerate(program.layers) if entry.weight_items)
    first = program.layers[layer].first
    descriptor = Descriptor.from_words(program.descriptors[first])
    words = program.descriptors.copy()
    # The array waits for the last of its weights for ever.
    words[first] = replace(descriptor, weight_count=descriptor.weight_count - 1).words("hangs")
    hangs = replace(program, descriptors=words)
    x = random_input(program.network, 3, 0)
    # No limit in seconds: the cycles alone decide.
    with driver.open(name, config=CONFIG) as device:
        device.load(hangs)
        before = spent(device)
        with pytest.raises(driver.DeviceTimeout) as caught:
            if together:
                device.infer(x)
            else:
                device.write_input(x[:1])
                device.run_layers(layer, 1)
        names = [entry.name for entry in program.layers]
        what = f"layers {names[0]!r} to {names[-1]!r}" if together else f"layer {names[layer]!r}"
        cycles = (
            predict_program(program)
            if together
            else run_cycles([program.layers[layer]], program.config)
        )
        assert f"It was to run {what}, which takes" in str(caught.value)
        # On a board the next batch waits for the one at work, so that two are waited for.
        runs = 2 if together and name == "virtual:" else 1
        assert f"{runs * cycles:,} cycles; if loading" in str(caught.value)
        limit = 4 * cycles + (6_000_000 if name == "virtual:" else 600_000)
        assert cycles < before[1]() - before[0] < limit
        # The device can be used again.
        device.load(program)
        np.testing.assert_array_equal(device.infer(x), golden.run(program.network, x))


def spent(device):
    """Cycles of a simulated device so far, and a function that tells them later."""
    transport = device._transport
    if hasattr(transport, "board"):
        simulation = transport.board._simulation
    else:
        simulation = transport.simulation
    last = [simulation.cycles]
    close = simulation.close

    def closing():
        if simulation._handle is not None:
            last[0] = simulation.cycles
        close()

    simulation.close = closing
    return simulation.cycles, lambda: last[0]


@pytest.mark.parametrize("divider", [4, 9])
def test_the_forecast_of_a_run_is_what_it_takes(program, divider):
    x = random_input(program.network, 5, 0)
    with driver.open(f"virtual:?divider={divider}", config=CONFIG) as device:
        found = device.forecast(program, len(x), verify=True, check=True)
        board = device._transport.board
        taken = [board.cycles]
        device.load(program, verify=True)
        taken.append(board.cycles)
        device.infer(x)
        device.counters()
        taken.append(board.cycles)
        assert driver.check_layers(program, x, device) is None
        taken.append(board.cycles)
    for wanted, cycles in zip((found.load, found.run, found.check), np.diff(taken), strict=True):
        assert cycles == pytest.approx(wanted, rel=0.25)
    assert 1e4 < found.cycles_per_second < 1e8
    assert found.seconds == (found.load + found.run + found.check) / found.cycles_per_second
    with driver.open(f"virtual:?divider={divider}", config=CONFIG) as device:
        assert device.forecast(program, 5).check == 0
        assert device.forecast(program, 5).load < found.load


def test_other_devices_forecast_nothing_and_refuse_what_they_would_refuse(program):
    with driver.open("sim", config=CONFIG) as device:
        assert device.forecast(program, 5) is None
    with driver.open("golden") as device:
        assert device.forecast(program, 5, check=True) is None
    other = compile(program.network, CONFIG.with_(max_layers=16))
    with (
        driver.open("virtual:", config=CONFIG) as device,
        pytest.raises(driver.ConfigurationMismatch, match="max_layers: 16 != "),
    ):
        device.forecast(other, 5)


def test_memories_are_read_back_and_compared(device, program):
    assert device.verify()
    device._port.write(driver.port.Space.WEIGHTS, 3, np.zeros(1, np.uint32))
    assert not device.verify()
    device.load(program)
    assert device.verify()


def test_an_inference_moves_little_more_than_input_and_output(device, program):
    x = random_input(program.network, 4, 0)
    device.infer(x[:1])
    before = device.statistics
    sent, received = before.bytes_sent, before.bytes_received
    frames = before.frames_sent
    device.infer(x)
    after = device.statistics
    # Words of planes, the heads of WRITE, START and READ, one frame's head and CRC each way.
    words = program.input.words * CONFIG.activation_item_words
    output = program.output.words * CONFIG.activation_item_words
    if after.repeated == 0:
        assert after.frames_sent - frames == len(x)
        assert after.bytes_sent - sent <= len(x) * (4 * (words + 9) + 12 + 6)
        assert after.bytes_received - received <= len(x) * (4 * output + 12 + 6)
    assert after.cpu_seconds > 0


def test_counters_and_cycles_are_those_of_the_simulation_without_serial_port(device, program):
    x = random_input(program.network, 1, 0)
    with driver.open("sim", config=CONFIG, timeout=60) as plain:
        plain.load(program)
        plain.infer(x)
        device.infer(x)
        assert device.cycles == plain.cycles
        assert device.counters() == plain.counters()


def test_another_configuration_is_refused(device):
    network = random_network(1, layers=3, max_channels=6, max_pixels=40, group=CONFIG.engine.group)
    other = compile(network, CONFIG.with_(max_layers=16))
    with (
        VirtualBoard(CONFIG) as board,
        driver.open(f"serial:{board.path}", timeout=60) as serial,
        pytest.raises(driver.ConfigurationMismatch, match="hash [0-9a-f]+ != [0-9a-f]+; compile"),
    ):
        serial.load(other)


def test_two_programs_cannot_share_a_board(program):
    with (
        VirtualBoard(CONFIG) as board,
        driver.open(f"serial:{board.path}", timeout=60) as first,
        driver.open(f"serial:{board.path}", timeout=60) as second,
    ):
        first.load(program)
        with pytest.raises(driver.DeviceBusy, match="in use by another program; close that first"):
            second.load(program)
        first.close()
        second.load(program)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("", Address()),
        ("?divider=9", Address(divider=9)),
        ("ulx3s_85f", Address(board="ulx3s_85f")),
        ("x?config=a.toml&divider=4", Address(board="x", config=Path("a.toml"), divider=4)),
    ],
)
def test_addresses_are_understood(text, address):
    assert Address.parse(text) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x?speed=3", "board option 'speed' is unknown; use 'config' or 'divider'"),
        ("?divider=3", "'divider' must be a whole number of at least 4, not '3'; write"),
        ("?divider=fast", "'divider' must be a whole number of at least 4, not 'fast'; write"),
    ],
)
def test_bad_addresses_are_refused(text, message):
    with pytest.raises(driver.BadAddress, match=message):
        Address.parse(text)


def test_an_unknown_board_is_refused_with_the_known_ones(program):
    with (
        driver.open("virtual:toaster") as device,
        pytest.raises(UserError, match=r"no board 'toaster'; choose one of .*ulx3s_85f"),
    ):
        device.load(program)


@dataclass(frozen=True)
class Facts:
    """Board whose simulation the other tests use too."""

    name: str = "small"
    default: AcceleratorConfig = CONFIG
    clock_hz: int = virtual.CLOCK_HZ
    baud: int = virtual.CLOCK_HZ // virtual.DIVIDER
    memory: None = None
    external: None = None

    def clock_of(self, config: AcceleratorConfig) -> int:
        return self.clock_hz


@pytest.fixture
def small_board(monkeypatch):
    monkeypatch.setattr(virtual, "find_board", lambda name: Facts(name))


def test_a_named_board_has_its_own_configuration_clock_and_rate(program, small_board):
    x = random_input(program.network, 3, 0)
    with driver.open("virtual:small", timeout=60) as device:
        device.load(program, verify=True)
        np.testing.assert_array_equal(device.infer(x), golden.run(program.network, x))
        speed = device.throughput
        assert (speed.clock_hz, speed.baud) == (48_000_000, 12_000_000)
        other = compile(program.network, CONFIG.with_(max_layers=16))
        with pytest.raises(driver.ConfigurationMismatch, match="max_layers: 16 != 8 .program"):
            device.load(other)


@pytest.mark.parametrize("images", [1, 8])
def test_inputs_travel_while_the_board_is_at_work(device, images, program):
    """A batch of more images than the board's link holds overlaps in part."""
    slow = compile(program.network, CONFIG, batch=images, k="dense")
    x = random_input(program.network, 6 * images, 0)
    device.load(slow)
    apart = 0
    for first in range(0, len(x), images):
        device.infer(x[first : first + images])
        apart += device.traffic.board_cycles
    np.testing.assert_array_equal(device.infer(x), golden.run(program.network, x))
    moved, speed = device.traffic, device.throughput
    # How much less depends on the host: while it is slow, so small a board's clock goes on.
    least = 6 * speed.pipelined_seconds * speed.clock_hz * 0.9
    assert least < moved.board_cycles < 1.05 * apart


def test_selftest_runs_a_network_and_names_what_it_tested(small_board):
    with driver.open("virtual:small", timeout=60) as device:
        result = device.selftest(quick=True)
    assert result.passed, result.steps
    assert result.config == CONFIG
    assert re.fullmatch("6 images, [0-9]+ layers: add, avg_pool, conv, .*", result.steps[-1].tested)


@pytest.fixture(scope="module")
def bench():
    return FaultBench(1, CONFIG.link.words)


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_end_in_the_right_result_or_a_typed_error(bench, fault):
    """More of them: ``python -m steelyard_sim.runs.faults --count 1000``."""
    outcomes = [bench.run(fault) for _ in range(8 if fault == "working" else 3)]
    if fault in ("flipped", "dropped", "doubled", "inserted"):
        assert set(outcomes) == {"right"}
    if fault == "working":
        assert set(outcomes) == {"SessionLost"}
