# amaranth: UnusedElaboratable=no
"""Chips at twice the clock of what uses them: pins, accelerator and board."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from steelyard import driver
from steelyard.compile import compile
from steelyard.compile.cycles import predict_program
from steelyard.contract import Descriptor, configure
from steelyard.contract.descriptor import Operation
from steelyard.contract.registers import Space
from steelyard.driver.port import PINS_WORDS, HostPort
from steelyard.network.random import random_input, random_network
from steelyard_hw.memory.chips import ULX3S_SDRAM
from steelyard_hw.memory.external import ExternalMemory
from steelyard_sim.memory.accelerator import build_external
from steelyard_sim.memory.board import memory_of
from steelyard_sim.memory.slots import CHIP_DOMAIN, PlainPins
from steelyard_sim.simulation import Simulation, SimulationTransport
from steelyard_sim.virtual import VirtualBoard, VirtualTransport

CONFIG = configure(
    "array", lanes=4, columns=1, requantizers=1, weight_words=1024, parameter_words=640,
    activation_words=16384, max_layers=1024, external_words=1 << 20, external_slots=2,
)  # fmt: skip
"""One for all, and small: two simulations are built of it."""


def test_slots_come_one_after_the_other_and_what_comes_back_is_there_at_the_end_of_the_cycle():
    dut = PlainPins(11)
    m = Module()
    m.submodules.dut = dut
    seen, came_back = [], []

    async def give(ctx):
        for cycle in range(1, 6):
            for slot in range(2):
                ctx.set(dut.slots.address[slot], 2 * cycle + slot)
                ctx.set(dut.slots.select[slot], slot == cycle % 2)
            values = await ctx.tick().sample(*dut.slots.data_i)
            came_back.append(values[2:])

    async def watch(ctx):
        while True:
            *_, address, select = await ctx.tick(CHIP_DOMAIN).sample(
                dut.pins.address, dut.pins.select
            )
            seen.append((address, select))
            # In the cycle that begins, what the chip drives belongs to its slot.
            ctx.set(dut.pins.data_i, 100 + len(seen))

    simulator = Simulator(m)
    simulator.add_clock(2e-8)
    simulator.add_clock(1e-8, phase=1e-8, domain=CHIP_DOMAIN)
    simulator.add_testbench(watch, background=True)
    simulator.add_testbench(give)
    simulator.run()
    # The first edge of both clocks ends the first cycle, of which there was only one of the chip.
    assert seen[1:9] == [
        (2 * cycle + slot, slot == cycle % 2) for cycle in range(2, 6) for slot in range(2)
    ]
    assert came_back[1:] == [(100 + n, 101 + n) for n in (1, 3, 5, 7)]


@pytest.fixture(scope="module")
def program():
    network = random_network(3, layers=5, max_channels=32, max_pixels=48)
    program = compile(network, CONFIG)
    assert program.external.size
    return program


@pytest.fixture
def transport():
    return SimulationTransport(Simulation(build_external(CONFIG), external=True))


@pytest.mark.parametrize(
    ("op", "space"),
    [
        (Operation.LOAD, Space.WEIGHTS),
        (Operation.LOAD, Space.ACTIVATIONS),
        (Operation.STORE, Space.ACTIVATIONS),
    ],
)
def test_an_accelerator_moves_a_word_in_each_of_its_cycles(transport, op, space):
    port = HostPort(transport, 60)
    taken = []
    for length in (200, 200, 1800):
        move = Descriptor(op=op, space=space, length=length)
        port.write(Space.DESCRIPTORS, 0, move.words("move", CONFIG))
        port.run(0, 1)
        taken.append(port.total_cycles())
    transport.close()
    # The first one waits until the chip is initialized.
    assert 1600 <= taken[2] - taken[1] <= 1.05 * 1600


def test_an_accelerator_is_exact_and_its_runs_repeat(program, transport):
    x = random_input(program.network, 1, 3)
    device = driver.ArrayDevice("sim", lambda *_: transport, config=CONFIG)
    assert driver.check(program, x, device) is None
    cycles = set()
    for idle in (0, 100, 333):
        transport.simulation.step(idle)
        device.infer(x)
        cycles.add(device.cycles)
    device.close()
    (taken,) = cycles
    print(f"{taken} cycles, {predict_program(program)} estimated")
    assert 0.97 < taken / predict_program(program) < 1.03


def test_a_board_is_exact_behind_its_serial_line(program):
    memory = ExternalMemory(ULX3S_SDRAM, 6, 2)
    with VirtualBoard(CONFIG, memory=memory, clock_hz=62_500_000) as virtual:
        with driver.open(f"serial:{virtual.path}", timeout=60) as device:
            assert driver.check(program, random_input(program.network, 1, 3), device) is None
        assert virtual.failure is None
    assert memory_of(CONFIG).slots == 2


def test_words_beyond_those_of_the_pins_are_placed_in_a_simulated_board():
    board = VirtualBoard(CONFIG, memory=ExternalMemory(ULX3S_SDRAM, 6, 2), clock_hz=62_500_000)
    transport = VirtualTransport(board)
    try:
        port = HostPort(transport, 120)
        words = np.random.default_rng(5).integers(1 << 32, size=PINS_WORDS + 500, dtype=np.uint32)
        port.fill(Space.EXTERNAL, words)
        # Those about the first one that is placed come through the pins.
        found = port.read(Space.EXTERNAL, PINS_WORDS - 10, 20)
        assert np.array_equal(found, words[PINS_WORDS - 10 : PINS_WORDS + 10])
        assert np.array_equal(port.filled(Space.EXTERNAL, words.size), words)
        assert np.array_equal(transport.placed(0, 3), words[:3])
        # Tests of a memory go through the pins, however large they are.
        before = board.cycles
        port.write(Space.EXTERNAL, 0, words)
        port.finish()
        assert board.cycles - before > 4 * words.size * transport.cycles_per_byte
    finally:
        transport.close()
