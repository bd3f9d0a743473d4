# amaranth: UnusedElaboratable=no
"""SDRAM controller against the model of its chip, in Amaranth's simulator."""

from dataclasses import replace
from itertools import pairwise, product
from random import Random

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from steelyard_hw.lib.testing import monitor, receive, send
from steelyard_hw.memory.bursts import BurstSplitter
from steelyard_hw.memory.chips import AS4C32M16SB_7, W9825G6KH_6, Figure
from steelyard_hw.memory.external import ExternalMemory
from steelyard_hw.memory.pins import SLOTS, SdramCommand, SdramPins
from steelyard_hw.memory.port import BurstCommand, MemoryPort
from steelyard_hw.memory.reads import ReadPath
from steelyard_hw.memory.sdram import SdramController
from steelyard_sim.memory.sdram import Rule, StoredSdram
from steelyard_sim.memory.slots import CHIP_DOMAIN, connect_chip

CLOCK_HZ = 100_000_000
POWER = 40
SMALL = {"row_bits": 4, "column_bits": 5, "power_up": Figure(POWER, "tCK", "this test")}
CHIP = replace(W9825G6KH_6, **SMALL)
SLOW = replace(AS4C32M16SB_7, **SMALL)
SIZE = 1 << CHIP.word_bits
SETTLE = 60
LIMIT = 30_000
"""Cycles of a test, far more than any takes."""
NAMES = {each.value: each.name for each in SdramCommand}


class Rig:
    """Controller and model, with what was on the chip's pins in each of its cycles."""

    def __init__(self, chip=CHIP, delay=0, slots=1):
        self.controller = SdramController(chip, CLOCK_HZ // slots, slots)
        self.model = StoredSdram(chip, CLOCK_HZ, delay=delay)
        self.slots = slots
        self.latency = self.controller.timing.cas + delay
        self.seen = []
        self.violation = None
        m = Module()
        m.submodules.controller = self.controller
        connect_chip(m, self.controller.pins, self.model)
        self._simulator = Simulator(m)
        self._simulator.add_clock(slots * 1e-8)
        if slots > 1:
            # Every edge of the controller's clock, the first after half its period, is one of this.
            self._simulator.add_clock(1e-8, phase=1e-8, domain=CHIP_DOMAIN)
        self._simulator.add_process(monitor(self.controller.port.read, "read"))

    def run(self, *testbenches):
        """Run testbenches to their ends; the rule that was broken."""
        pins = self.model.pins

        async def watch(ctx):
            on_pins = (pins.select, pins.command, pins.bank, pins.address, pins.mask)
            domain = "sync" if self.slots == 1 else CHIP_DOMAIN
            tick = ctx.tick(domain).sample(*on_pins, self.model.violation)
            while True:
                _, _, *values, violation = await tick
                self.seen.append(values)
                assert len(self.seen) < LIMIT
                self.violation = Rule(violation)

        async def first(ctx):
            ctx.set(self.controller.latency, self.latency)
            await testbenches[0](ctx)

        self._simulator.add_testbench(watch, background=True)
        self._simulator.add_testbench(first)
        for each in testbenches[1:]:
            self._simulator.add_testbench(each)
        self._simulator.run()
        return self.violation

    def commands(self):
        """Cycle, name, bank and address of every command on the pins."""
        return [
            (cycle, NAMES[command], bank, address)
            for cycle, (select, command, bank, address, _) in enumerate(self.seen)
            if select
        ]


def bursts(rng, count):
    """Random bursts as (address, words, write), with the words to write and those expected."""
    memory = [0] * SIZE
    commands, words, expected = [], [], []
    for _ in range(count):
        address, length = rng.randrange(SIZE), rng.choice((0, 1, 1, 2, 3, 16, 17, 40))
        write = rng.random() < 0.5
        commands.append({"address": address, "words": length, "write": write})
        for place in range(address, address + length):
            if write:
                words.append(rng.getrandbits(32))
                memory[place % SIZE] = words[-1]
            else:
                expected.append(memory[place % SIZE])
    return commands, words, expected


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("chip", "delay", "slots"),
    [(CHIP, 0, 1), (SLOW, 2, 1), (CHIP, 0, 2), (SLOW, 3, 2)],
    ids=["W9825", "AS4C", "W9825-two slots", "AS4C-two slots"],
)
def test_what_is_read_is_what_was_written_whatever_the_stalls(chip, delay, slots, seed):
    print("seed", seed)
    rng = Random(seed)
    commands, words, expected = bursts(rng, 40)
    rig = Rig(chip, delay, slots)
    port = rig.controller.port
    stalls = [rng.choice((0, 0.3, 0.9)), rng.choice((0, 0.3, 0.9)), (0.9, 0, 0.3)[seed]]
    got = []

    async def command(ctx):
        await send(ctx, port.command, commands, rng=Random(seed + 10), stall=stalls[0])

    async def write(ctx):
        await send(ctx, port.write, words, rng=Random(seed + 20), stall=stalls[1])

    async def read(ctx):
        rng = Random(seed + 30)
        got.extend(await receive(ctx, port.read, len(expected), rng=rng, stall=stalls[2]))
        await ctx.tick().repeat(SETTLE)

    assert rig.run(command, write, read) is Rule.NONE
    assert got == expected


@pytest.mark.parametrize("slots", SLOTS)
def test_a_chip_is_initialized_as_its_datasheet_asks(slots):
    rig = Rig(SLOW, slots=slots)
    timing = rig.controller.timing

    async def wait(ctx):
        await ctx.tick().until(rig.controller.ready)
        await ctx.tick().repeat(10)

    assert rig.run(wait) is Rule.NONE
    commands = rig.commands()
    assert commands[0][0] >= POWER
    assert [name for _, name, _, _ in commands] == ["PRECHARGE", "REFRESH"] * 8 + [
        "PRECHARGE",
        "MODE",
    ]
    assert all(address >> 10 & 1 for _, name, _, address in commands if name == "PRECHARGE")
    assert commands[-1][2:] == (0, timing.cas << 4 | 1)
    # The chip drives nothing before its mode is known.
    masks = [mask for *_, mask in rig.seen[: commands[-2][0]]]
    assert set(masks) == {0b11}
    assert rig.seen[-1][-1] == 0


@pytest.mark.parametrize("slots", SLOTS)
def test_refreshes_come_on_time_between_words_that_wait_for_ever(slots):
    rig = Rig(slots=slots)
    port, timing = rig.controller.port, rig.controller.timing

    async def stuck(ctx):
        # A write whose words never come.
        await send(ctx, port.command, [{"address": 5, "words": 9, "write": 1}])
        await send(ctx, port.write, [1, 2])
        await ctx.tick().repeat(4 * timing.refresh)

    assert rig.run(stuck) is Rule.NONE
    cycles = [cycle for cycle, name, _, _ in rig.commands() if name == "REFRESH"][7:]
    assert len(cycles) >= 4
    assert max(b - a for a, b in pairwise(cycles)) <= timing.refresh


@pytest.mark.parametrize("slots", SLOTS)
@pytest.mark.parametrize("idle", [100, 101, 333])
def test_after_a_start_the_same_commands_take_the_same_cycles(idle, slots):
    rig = Rig(slots=slots)
    port, timing = rig.controller.port, rig.controller.timing
    starts = []

    async def work(ctx):
        await ctx.tick().until(rig.controller.ready)
        for wait in (57, idle):
            await ctx.tick().repeat(wait)
            starts.append(len(rig.seen))
            ctx.set(rig.controller.start, 1)
            await ctx.tick()
            ctx.set(rig.controller.start, 0)
            for address in (3, 200, 40, 200):
                command = {"address": address, "words": 30, "write": 0}
                await send(ctx, port.command, [command])
                await receive(ctx, port.read, 30)
            await ctx.tick().repeat(timing.refresh)

    assert rig.run(work) is Rule.NONE
    first, second = (
        [
            (cycle - start, *rest)
            for cycle, *rest in rig.commands()
            if start <= cycle < start + timing.refresh
        ]
        for start in starts
    )
    assert first == second
    assert first[0][1] == "PRECHARGE"
    assert first[1][1] == "REFRESH"
    assert len([name for _, name, *_ in first if name == "READ"]) == 120


@pytest.mark.parametrize(("slots", "delay"), [(1, 0), (2, 0), (2, 7), (2, 12)])
def test_the_next_row_is_open_before_the_burst_comes_to_it(slots, delay):
    rig = Rig(delay=delay, slots=slots)
    port = rig.controller.port

    async def work(ctx):
        await ctx.tick().until(rig.controller.ready)
        await send(ctx, port.command, [{"address": 0, "words": 100, "write": 0}])
        await receive(ctx, port.read, 100)

    assert rig.run(work) is Rule.NONE
    reads = [cycle for cycle, name, _, _ in rig.commands() if name == "READ"]
    # 100 words of rows of 16, without a gap.
    assert reads == list(range(reads[0], reads[0] + 200, 2))
    opened = [(bank, row) for _, name, bank, row in rig.commands() if name == "ACTIVATE"]
    assert opened == [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1), (1, 1), (2, 1)]


@pytest.mark.parametrize(("slots", "latency"), [*product(SLOTS, range(1, 5)), (1, 15), (2, 15)])
def test_a_wrong_latency_gives_wrong_words_and_loses_none(slots, latency):
    rig = Rig(slots=slots)
    rig.latency = latency
    port = rig.controller.port
    words = [0x1111 * n + 0x80000000 for n in range(1, 9)]
    got = []

    async def work(ctx):
        await send(ctx, port.command, [{"address": 0, "words": 8, "write": w} for w in (1, 0)])
        got.extend(await receive(ctx, port.read, 8))

    async def write(ctx):
        await send(ctx, port.write, words)

    assert rig.run(work, write) is Rule.NONE
    assert (got == words) == (latency == rig.controller.timing.cas)


@pytest.mark.parametrize("seed", range(2))
def test_pieces_end_where_rows_do(seed):
    print("seed", seed)
    rng = Random(seed)
    dut = BurstSplitter(CHIP)
    commands = [
        {
            "address": rng.randrange(SIZE),
            "words": rng.choice((0, 1, 15, 16, 17, 60)),
            "write": n & 1,
        }
        for n in range(40)
    ]
    expected = []
    for each in commands:
        places = [place % SIZE for place in range(each["address"], each["address"] + each["words"])]
        while places:
            row = [place for place in places if place >> 4 == places[0] >> 4][: len(places)]
            piece = places[: 16 - places[0] % 16]
            assert row[: len(piece)] == piece
            expected.append((piece[0], len(piece), each["write"]))
            places = places[len(piece) :]
    got = []

    async def give(ctx):
        await send(ctx, dut.i, commands, rng=Random(seed + 10))

    async def take(ctx):
        for piece in await receive(ctx, dut.o, len(expected), rng=Random(seed + 20)):
            address = piece["row"] << 6 | piece["bank"] << 4 | piece["column"]
            got.append((address, piece["words"], piece["write"]))

    simulator = Simulator(dut)
    simulator.add_clock(1e-8)
    simulator.add_process(monitor(dut.o, "o"))
    simulator.add_testbench(give, background=True)
    simulator.add_testbench(take)
    simulator.run()
    assert got == expected


def test_what_the_port_and_the_controller_cannot_be_is_refused():
    for bits in (0, 33, 8.0):
        sentence = rf"^An address must have an integer number of bits from 1 to 32, not {bits}$"
        with pytest.raises(ValueError, match=sentence):
            BurstCommand(bits)
        with pytest.raises(ValueError, match=sentence):
            MemoryPort(bits)
    with pytest.raises(ValueError, match=r"^Depth of the words read must be from 2 to 64, not 1$"):
        ReadPath(1)
    with pytest.raises(ValueError, match=r"^Chip must be an SdramChip, not 'W9825G6KH-6'$"):
        SdramController("W9825G6KH-6", CLOCK_HZ)
    for clock_hz, slots in ((200_000_000, 1), (100_000_000, 2)):
        sentence = r"^W9825G6KH-6 takes clocks of up to 166 MHz, not 200 MHz$"
        with pytest.raises(ValueError, match=sentence):
            SdramController(CHIP, clock_hz, slots)
    for slots in (0, 3):
        given = f"must be 1 or 2, not {slots}$"
        with pytest.raises(ValueError, match=f"^Slots of a memory's pins {given}"):
            SdramController(CHIP, CLOCK_HZ, slots)
        with pytest.raises(ValueError, match=f"^Slots of an external memory {given}"):
            ExternalMemory(CHIP, 0, slots)
    for delay in (-1, 13):
        sentence = rf"^Delay of an external memory is 0 to 12 cycles, not {delay}$"
        with pytest.raises(ValueError, match=sentence):
            ExternalMemory(CHIP, delay)


def test_pins_have_an_array_of_values_for_two_slots_only():
    alone, together = SdramPins(13).members, SdramPins(13, 2).members
    assert all(member.dimensions == () for member in alone.values())
    arrays = {name for name, member in together.items() if member.dimensions == (2,)}
    assert arrays == {"select", "command", "bank", "address", "data_o", "data_i"}
    assert together["mask"] == alone["mask"]
    assert (SdramPins(13).slots, SdramPins(13, 2).slots) == SLOTS


@pytest.mark.parametrize("slots", SLOTS)
@pytest.mark.parametrize("delay", [0, 3])
def test_a_word_is_there_when_the_controller_says(delay, slots):
    rig = Rig(delay=delay, slots=slots)
    port = rig.controller.port
    taken = []

    async def work(ctx):
        await ctx.tick().until(rig.controller.ready)
        await send(ctx, port.command, [{"address": 0, "words": 1, "write": 0}])
        await receive(ctx, port.read, 1)
        for idle in range(10, 18):
            await ctx.tick().repeat(idle)
            began = len(rig.seen)
            await send(ctx, port.command, [{"address": 1, "words": 1, "write": 0}])
            await receive(ctx, port.read, 1)
            # The word is taken in the last of these cycles.
            taken.append((len(rig.seen) - began) // slots - 1)

    assert rig.run(work) is Rule.NONE
    latency = rig.controller.timing.cas + delay
    if slots == 1:
        # Or a cycle more, with a command in the second cycle of a step.
        assert set(taken) == {11 + latency, 12 + latency}
    else:
        assert set(taken) == {7 + (latency + 1) // 2}
