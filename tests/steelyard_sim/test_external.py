# amaranth: UnusedElaboratable=no
"""Networks whose weights come from external memory: compiled gateware with controller and chip."""

from dataclasses import asdict, replace

import numpy as np
import onnx
import pytest
from amaranth.hdl import Fragment

from steelyard import driver, quantize
from steelyard.compile import compile
from steelyard.compile.cycles import predict_program
from steelyard.contract import Descriptor, configure
from steelyard.contract.descriptor import ANY_UNDER_WAY, Operation
from steelyard.contract.registers import Command, Register, Space, Status, command_word
from steelyard.contract.sections import EXTERNAL
from steelyard.driver import serial
from steelyard.driver.errors import MemoryFault
from steelyard.driver.external import LostWord, ReadLatency, find_read_latency
from steelyard.driver.port import HostPort
from steelyard.errors import DoesNotFit, UserError
from steelyard.importer import load
from steelyard.network.random import random_input, random_network
from steelyard.report import timeline_document
from steelyard_boards import board
from steelyard_hw.link.serial import SerialAccelerator
from steelyard_hw.verilog import convert, ports
from steelyard_sim.build.library import build_library
from steelyard_sim.memory.accelerator import ExternalAccelerator, build_external
from steelyard_sim.memory.board import memory_of
from steelyard_sim.memory.sdram import Rule
from steelyard_sim.memory.simulation import RuleBroken
from steelyard_sim.runs.memory_faults import FAULTS, MemoryBench
from steelyard_sim.simulation import Simulation, SimulationTransport, open_transport
from steelyard_sim.virtual import VirtualBoard, VirtualTransport
from structures import STRUCTURES

CONFIG = configure(
    "array", lanes=4, columns=4, requantizers=2, weight_words=1024, parameter_words=640,
    activation_words=16384, max_layers=1024, external_words=1 << 20,
)  # fmt: skip
"""One for all, so that one simulation is built."""


def structure(name):
    found = STRUCTURES[name]
    return load(onnx.load_from_string(quantize.quantize(found.model(), found.images(16))))


@pytest.fixture
def port():
    transport = open_transport("", CONFIG)
    yield HostPort(transport, 60)
    transport.close()


@pytest.mark.parametrize("name", ["lenet5", "resnet8", "mobilenet_v2"])
def test_structures_are_exact(name):
    program = compile(structure(name), CONFIG)
    assert program.external.size > 3 * CONFIG.memory.weight_words
    x = random_input(program.network, 2, 1)
    with driver.open("sim", config=CONFIG) as device:
        assert driver.check(program, x, device) is None
        assert driver.check_layers(program, x[:1], device) is None
        assert driver.check_known_answer(program, device) is None
        device.load(program, verify=True)
        device.infer(x[:1])
        cycles = device.cycles
        device.infer(x[:1])
        assert device.cycles == cycles, "a run does not repeat"
    predicted = predict_program(program)
    print(f"{name}: {cycles} cycles, estimated {predicted}")
    assert 0.98 * predicted < cycles < 1.02 * predicted


@pytest.mark.parametrize("seed", [0, 2, 3, 5, 7, 8, 9, 10, 11, 12])
def test_random_networks_are_exact(seed):
    network = random_network(seed, layers=9, max_channels=48, max_pixels=64)
    program = compile(network, CONFIG)
    assert program.external.size
    with driver.open("sim", config=CONFIG) as device:
        assert driver.check(program, random_input(network, 1, seed), device) is None


def test_the_host_writes_and_reads_external_memory(port):
    rng = np.random.default_rng(1)
    words = rng.integers(0, 1 << 32, 70000, dtype=np.uint32)
    port.write(Space.EXTERNAL, 1000, words)
    end = CONFIG.memory.external_words - 3
    port.write(Space.EXTERNAL, end, words[:3])
    assert np.array_equal(port.read(Space.EXTERNAL, 1000, words.size), words)
    assert np.array_equal(port.read(Space.EXTERNAL, end, 3), words[:3])


def test_moves_reach_every_memory_that_is_filled_from_outside(port):
    rng = np.random.default_rng(2)
    words = rng.integers(0, 1 << 32, 4000, dtype=np.uint32)
    port.write(Space.EXTERNAL, 77, words)
    item = CONFIG.engine.weight_item_words
    # What a move brings is run in the same start: a last move to the weights.
    last = Descriptor(
        op=Operation.LOAD, space=Space.WEIGHTS, external=77, item=100, length=40 * item
    ).words("last", CONFIG)
    port.write(Space.EXTERNAL, 5000, last)
    moves = [
        Descriptor(
            op=Operation.LOAD, space=Space.WEIGHTS, external=77 + 1000, item=5, length=60 * item,
            under_way=15,
        ),
        Descriptor(
            op=Operation.LOAD, space=Space.PARAMETERS, external=77 + 2000, item=9, length=90,
            under_way=15,
        ),
        Descriptor(
            op=Operation.LOAD, space=Space.DESCRIPTORS, external=5000, item=3 * 32, length=32,
        ),
    ]  # fmt: skip
    # In place of what comes: a move that never ends the test well.
    wrong = Descriptor(op=Operation.LOAD, space=Space.WEIGHTS, external=0, item=100, length=80)
    every = [*moves, wrong]
    port.write(Space.DESCRIPTORS, 0, np.array([d.words("move", CONFIG) for d in every]))
    port.run(0, len(every))
    bits = np.array([32, CONFIG.engine.weight_item_bits - 32])
    masks = ((1 << bits) - 1).astype(np.uint32)
    found = port.read(Space.WEIGHTS, 5, 60 * item).reshape(-1, item)
    assert np.array_equal(found, words[1000 : 1000 + 60 * item].reshape(-1, item) & masks)
    found = port.read(Space.WEIGHTS, 100, 40 * item).reshape(-1, item)
    assert np.array_equal(found, words[: 40 * item].reshape(-1, item) & masks)
    found = port.read(Space.PARAMETERS, 9, 90).reshape(-1, 3)
    masks = np.array([(1 << bits) - 1 for bits in CONFIG.parameter_bits], np.uint32)
    assert np.array_equal(found, words[2000:2090].reshape(-1, 3) & masks)


def test_the_accelerator_is_busy_as_long_as_words_are_moved(port):
    words = np.arange(2000, dtype=np.uint32)
    port.write(Space.EXTERNAL, 0, words)
    move = Descriptor(
        op=Operation.LOAD, space=Space.WEIGHTS, item=0, length=2000, under_way=ANY_UNDER_WAY
    )
    port.write(Space.DESCRIPTORS, 0, move.words("move", CONFIG))
    port.run(0, 1)
    # The run itself does not wait for its move, but whoever asks is told of it.
    assert port.total_cycles() < 100
    assert np.array_equal(port.read(Space.WEIGHTS, 0, 2000)[::2], words[::2])
    port.start(0, 1)
    status = Status(int(port.read(Space.REGISTERS, Register.STATUS, 1)[0]))
    assert status & Status.BUSY


def test_cells_hold_what_the_host_wrote():
    simulation = Simulation(build_external(CONFIG), external=True)
    port = HostPort(SimulationTransport(simulation), 60)
    port.write(Space.EXTERNAL, 12, np.array([0x11112222, 0x33334444], np.uint32))
    assert port.read(Space.EXTERNAL, 13, 1).tolist() == [0x33334444]
    assert simulation.cells[24:28].tolist() == [0x2222, 0x1111, 0x4444, 0x3333]
    simulation.cells[24] = 0x5555
    assert port.read(Space.EXTERNAL, 12, 1).tolist() == [0x11115555]
    simulation.close()
    assert not simulation.cells.size
    with pytest.raises(ValueError, match="simulated beside that"):
        build_library(CONFIG)


class Forgetful(SimulationTransport):
    """Transport to an accelerator whose external memory has a bit that is always one."""

    stuck = None

    def _force(self):
        if self.stuck is not None:
            self.simulation.cells[2 * self.stuck] |= 1

    def write(self, words, timeout):
        self._force()
        super().write(words, timeout)
        if self.stuck is not None and words[0] == command_word(Command.WRITE, Space.EXTERNAL):
            # What is written must have reached the cells.
            super().write(np.array([command_word(Command.READ), 0, 1], np.uint32), timeout)
            super().read(1, timeout)
        self._force()

    def read(self, count, timeout):
        self._force()
        return super().read(count, timeout)


@pytest.fixture
def forgetful():
    """An accelerator with a program whose words are moved, its transport, and what it told."""
    program = compile(random_network(3, layers=9, max_channels=48, max_pixels=64), CONFIG)
    assert program.external.size
    transport = Forgetful(Simulation(build_external(CONFIG), external=True))
    told = []
    device = driver.ArrayDevice("sim", lambda *_: transport, config=CONFIG, log=told.append)
    device.load(program)
    yield device, transport, told
    device.close()


def test_words_that_the_memory_lost_are_named_and_written_anew(forgetful):
    device, transport, told = forgetful
    program = device.program
    x = random_input(program.network, 1, 3)
    right = device.infer(x)
    assert np.array_equal(right, program.golden(x)[program.network.output])
    assert not device.lost_words
    lost = []
    for word, bit in ((0, 3), (program.external.size // 2, 31), (program.external.size - 1, 16)):
        transport.simulation.cells[2 * word + bit // 16] ^= 1 << bit % 16
        written = int(program.external[word])
        lost.append(LostWord(word, written ^ 1 << bit, written))
        assert np.array_equal(device.infer(x), right)
        assert device.lost_words == tuple(lost)
        assert str(lost[-1]) in told[-1] and told[-1].endswith("written anew")
        assert device.verify()
    transport.simulation.cells[: 2 * 50] ^= 1
    assert np.array_equal(device.infer(x), right)
    assert "word 3 was" in told[-1] and "word 4 " not in told[-1] and "and 46 more" in told[-1]
    # A layer alone says so, for it may write over what it reads.
    transport.simulation.cells[7] ^= 1
    with pytest.raises(MemoryFault, match=f"ran layer '{program.layers[0].name}' with words of"):
        device.run_layers(0, 1)
    device.run_layers(0, 1)


def test_a_memory_that_keeps_losing_words_is_an_error(forgetful):
    device, transport, _ = forgetful
    program = device.program
    x = random_input(program.network, 1, 3)
    transport.stuck = int(np.flatnonzero(program.external & 1 == 0)[5])
    with pytest.raises(MemoryFault, match=rf"does not keep .*: word {transport.stuck} was 0x"):
        device.infer(x)
    transport.stuck = None
    assert np.array_equal(device.infer(x), program.golden(x)[program.network.output])


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_a_memory_never_end_in_a_wrong_result(fault):
    """More of them: ``python -m steelyard_sim.runs.memory_faults --count 1000``."""
    bench = MemoryBench(2)
    outcomes = {bench.run(fault) for _ in range(8)}
    bench.close()
    if fault in ("flipped", "faded"):
        assert "written anew" in outcomes and "MemoryFault" not in outcomes
    else:
        assert "MemoryFault" in outcomes


def test_a_run_that_reads_other_words_than_are_read_back_is_repeated(forgetful, monkeypatch):
    device, _, told = forgetful
    program = device.program
    x = random_input(program.network, 1, 3)
    own, crcs = device._port.moved_crc, iter([1])
    monkeypatch.setattr(device._port, "moved_crc", lambda: next(crcs, None) or own())
    assert np.array_equal(device.infer(x), program.golden(x)[program.network.output])
    assert told[-1].endswith("a run read other words than are read back now")


def test_the_self_test_covers_external_memory():
    with driver.open("sim", config=CONFIG) as device:
        result = device.selftest(quick=True)
    assert result.passed
    step = next(step for step in result.steps if step.name == "external")
    assert "of 1,048,576 words" in step.tested
    assert step.tested.endswith("read latency the board's own (good: 2)")


def test_generated_verilog_has_the_ports_that_are_named():
    for config in (CONFIG, CONFIG.with_(external_words=0)):
        verilog = convert(config)
        head = next(line for line in verilog.splitlines() if line.startswith("module steelyard("))
        named = ports(config)
        assert set(head[len("module steelyard(") : -2].split(", ")) == set(named)
        for name, port in named.items():
            width = "" if port["width"] == 1 else f"[{port['width'] - 1}:0] "
            assert f"  {port['direction']}put {width}{name};" in verilog


def test_a_board_behind_its_serial_line_is_exact_and_outlives_a_session_that_broke_off():
    network = random_network(3, layers=9, max_channels=48, max_pixels=64)
    program = compile(network, CONFIG)
    assert program.external.size
    rng = np.random.default_rng(2)
    words = rng.integers(0, 1 << 32, 300, dtype=np.uint32)
    # Its memory is a cycle later than the board expects, which each session has to find.
    with VirtualBoard(CONFIG, late=1) as virtual:
        for _ in range(2):
            transport = serial.open_transport(virtual.path, CONFIG)
            port = HostPort(transport, 60)
            found = find_read_latency(port, CONFIG.memory.external_words, all_of_them=True)
            # 2 of the chip, 3 of the board's own delay.
            assert found == ReadLatency(2 + 3 + 1, (2 + 3 + 1,))
            port.write(Space.EXTERNAL, 0, words)
            head = command_word(Command.WRITE, Space.EXTERNAL), 0, len(words)
            # Some words of a burst, and then the session ends.
            transport.write(np.array([*head, *range(1, 101)], np.uint32), 60)
            transport.wait_idle(60)
            transport.close()
            transport = serial.open_transport(virtual.path, CONFIG)
            port = HostPort(transport, 60)
            port.write(Space.REGISTERS, Register.READ_LATENCY, np.array([2 + 3 + 1], np.uint32))
            found = port.read(Space.EXTERNAL, 0, len(words))
            transport.close()
            assert (found[:100] == np.arange(1, 101)).all() and not found[100:].any()
        with driver.open(f"serial:{virtual.path}", timeout=60) as device:
            assert driver.check(program, random_input(network, 2, 3), device) is None
        assert virtual.failure is None


def test_a_rule_that_a_board_breaks_is_told(monkeypatch):
    with VirtualBoard(CONFIG) as virtual:
        broken = RuleBroken(Rule.RCD, 5)

        def run(*_):
            raise broken

        monkeypatch.setattr(virtual._simulation, "run", run)
        with pytest.raises(RuleBroken):
            VirtualTransport(virtual)
        assert virtual.failure is broken


def test_boards_refuse_external_memory_that_they_do_not_have():
    with pytest.raises(DoesNotFit, match="has no external memory .* 1048576 external_words; set"):
        board("versa_ecp5").check(CONFIG)
    with pytest.raises(DoesNotFit, match="8388608 words of external memory, .* 16777216 external"):
        board("ulx3s_85f").check(CONFIG.with_(external_words=1 << 24))
    with pytest.raises(UserError, match="SDRAM .* takes clocks of up to 142 MHz, not 150 MHz"):
        replace(board("ulx3s_12f"), clock_hz=150_000_000).check(board("ulx3s_12f").external)
    with pytest.raises(ValueError, match="board has no external memory"):
        SerialAccelerator(CONFIG, divider=4)


def test_a_virtual_board_has_no_memory_that_its_board_has_not(tmp_path):
    CONFIG.to_toml(tmp_path / "external.toml")
    with pytest.raises(DoesNotFit, match="'versa_ecp5' has no external memory"):
        driver.open(f"virtual:versa_ecp5?config={tmp_path / 'external.toml'}").selftest()


@pytest.mark.parametrize("words", EXTERNAL)
def test_simulations_have_a_chip_for_every_size(words):
    config = CONFIG.with_(external_words=words)
    assert words <= memory_of(config).words <= 1 << 24
    # Its gateware can be made.
    Fragment.get(ExternalAccelerator(config), None)


def test_a_timeline_tells_the_waiting_for_external_memory(tmp_path):
    program = compile(structure("lenet5"), CONFIG)
    x = random_input(program.network, 1, 1)
    with driver.open("sim", config=CONFIG) as device:
        device.load(program)
        device.infer(x)
        layers = [asdict(counters) for counters in device.counters()]
        run = {"cycles": device.cycles, "layers": layers}
    predicted, measured = timeline_document(program), timeline_document(program, run)
    assert predicted["cycles"] == predict_program(program)
    assert measured["cycles"] == run["cycles"]
    for timeline in (predicted, measured):
        now = timeline["opening"]
        for layer in timeline["layers"]:
            assert sum(layer["shares"].values()) == layer["cycles"] and layer["start"] == now
            assert min(layer["shares"].values()) >= 0
            now += layer["cycles"] + layer["between"]
        assert now == timeline["cycles"]
        assert sum(layer["moved_words"] for layer in timeline["layers"]) == program.external.size
        # The memory is what bounds this network.
        waiting = sum(layer["shares"]["wait_memory"] for layer in timeline["layers"])
        assert 0.3 * now < waiting < 0.9 * now
    mine, its = ([each["shares"]["engine"] for each in t["layers"]] for t in (predicted, measured))
    assert mine == its
