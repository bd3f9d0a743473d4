"""Serial driver, unmodified, on the compiled gateware's serial pins."""

import numpy as np
import pytest

from steelyard import driver, golden
from steelyard.compile import compile
from steelyard.randomnet import random_input, random_network
from steelyard_sim.fault_case import CONFIG, FAULTS, FaultBench
from steelyard_sim.virtual import VirtualBoard


@pytest.fixture(scope="module")
def program():
    network = random_network(1, layers=3, max_channels=6, max_pixels=40, group=CONFIG.group)
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
    network = random_network(1, layers=3, max_channels=6, max_pixels=40, group=CONFIG.group)
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


def test_an_address_is_refused(program):
    with (
        driver.open("virtual:ulx3s") as device,
        pytest.raises(driver.BadAddress, match="'virtual' takes no address, and got 'ulx3s'"),
    ):
        device.load(program)


@pytest.fixture(scope="module")
def bench():
    # Long enough for a machine with other work; only a cut line makes a test wait for it.
    with FaultBench(1, timeout=10) as bench:
        yield bench


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_end_in_the_right_result_or_a_typed_error(bench, fault):
    """More of them: ``python -m steelyard_sim.fault_case --count 1000``."""
    outcomes = [bench.run(fault) for _ in range(3)]
    if fault in ("flipped", "dropped", "doubled", "inserted"):
        assert set(outcomes) == {"right"}
