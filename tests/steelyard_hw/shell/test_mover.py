# amaranth: UnusedElaboratable=no
"""Mover against a Python model, in front of a memory that answers when it likes."""

from collections import deque
from random import Random

import pytest
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard.contract.descriptor import ANY_UNDER_WAY
from steelyard.contract.registers import Space
from steelyard_hw.lib.testing import monitor, send
from steelyard_hw.shell.mover import Mover
from steelyard_hw.shell.ports import HostBus

WORDS = 1 << 16
CONFIG = configure(
    "array",
    lanes=16,
    columns=16,
    group=16,
    weight_words=64,
    activation_words=64,
    external_words=WORDS,
)
ITEM_WORDS = {Space.DESCRIPTORS: 1, Space.PARAMETERS: 3, Space.WEIGHTS: 6}
ITEMS = 4096


def word_at(address):
    """What the external memory holds; behind its last word comes the first."""
    return (address % WORDS * 0x9E3779B1 + 0x7F4A7C15) & 0xFFFFFFFF


def writes_of(move):
    """(space, item, word of the item, data) of all words of a move, in order."""
    words = ITEM_WORDS[move["space"]]
    return [
        (move["space"], move["item"] + n // words, n % words, word_at(move["external"] + n))
        for n in range(move["length"])
    ]


def random_move(rng, lengths=(1, 1, 2, 3, 7, 12, 40)):
    length = rng.choice(lengths)
    return {
        "space": rng.choice([*ITEM_WORDS]),
        "external": rng.choice([rng.randrange(WORDS), WORDS - rng.randint(1, length)]),
        "item": rng.randrange(ITEMS - length),
        "length": length,
    }


class Bench:
    """Mover with a memory and an observer that knows what must be seen in every cycle.

    Parameters
    ----------
    seed : of the memory's stalls; None for a memory that takes every command at once and has a word
        in every cycle, the first in the one after the command
    stall : probability of a cycle without a command taken, and of one without a word
    latency : most cycles from a command to its first word
    """

    def __init__(self, seed=None, *, stall=0.3, latency=12):
        print(f"seed {seed}")
        self.rng = Random(seed) if seed is not None else None
        self.stall, self.latency = stall, latency
        self.dut = Mover(CONFIG, HostBus(ITEMS, max(ITEM_WORDS.values())))
        self.cycle = 0
        self.asleep = False
        self.taken, self.done = [], 0
        self.commands, self.writes = [], []
        self.offered, self.written = [], []
        self.outstanding = 0
        self.most = 0

    def stalls(self):
        return self.asleep or (self.rng is not None and self.rng.random() < self.stall)

    async def memory(self, ctx):
        """Bursts in their order, words held until they are taken."""
        port = self.dut.port
        words, cycle = deque(), 0
        while True:
            ctx.set(port.command.ready, not self.stalls())
            due = words and words[0][0] <= cycle and not ctx.get(port.read.valid)
            if due and not self.stalls():
                ctx.set(port.read.valid, 1)
                ctx.set(port.read.payload, words.popleft()[1])
            _, _, asked, ready, command, valid, taken = await ctx.tick().sample(
                port.command.valid,
                port.command.ready,
                port.command.payload,
                port.read.valid,
                port.read.ready,
            )
            cycle += 1
            if asked and ready:
                wait = self.rng.randrange(self.latency) if self.rng is not None else 0
                words += [
                    (cycle + wait, word_at(command.address + n)) for n in range(command.words)
                ]
            if valid and taken:
                ctx.set(port.read.valid, 0)
                # Garbage, which nobody may take for a word.
                ctx.set(port.read.payload, 0xDEADBEEF)

    async def observer(self, ctx):
        """Compare what is seen of a cycle with what went before it."""
        dut = self.dut
        port, bus, moves = dut.port, dut.bus, dut.moves
        tick = ctx.tick().sample(
            moves.valid & moves.ready,
            moves.payload,
            port.command.valid,
            port.command.ready,
            port.command.payload,
            port.read.valid,
            port.read.ready,
            bus.write,
            dut.space,
            bus.address,
            bus.sub,
            bus.data,
            dut.under_way,
            port.write.valid | bus.select,
        )
        ends = deque()
        while True:
            (_, _, taken, move, asks, ready, command, valid, wanted, write, space, item, sub, word,
             under_way, never) = await tick  # fmt: skip
            assert not never, "the memory is written, or the bus selected"
            assert under_way == len(self.taken) - self.done
            assert under_way <= ANY_UNDER_WAY
            self.most = max(self.most, under_way)
            assert not wanted or self.outstanding, "a word is taken that was not asked for"
            assert write == (valid and wanted), "words come and go in the same cycle"
            if asks:
                assert len(self.commands) < len(self.taken), "a burst is asked for that no move is"
                if len(self.offered) == len(self.commands):
                    self.offered.append(self.cycle)
            if write:
                self.outstanding -= 1
                self.writes.append((space, item, sub, word))
                self.written.append(self.cycle)
                ends[0] -= 1
                if ends[0] == 0:
                    ends.popleft()
                    self.done += 1
            if asks and ready:
                self.commands.append((command.address, command.words, command.write))
                self.outstanding += command.words
            if taken:
                self.taken.append((move.space, move.external, move.item, move.length))
                ends.append(move.length)
            self.cycle += 1

    def run(self, *testbenches):
        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        for testbench in testbenches:
            sim.add_testbench(testbench)
        sim.add_testbench(self.memory, background=True)
        sim.add_testbench(self.observer, background=True)
        sim.add_process(monitor(self.dut.moves, "moves"))
        sim.add_process(monitor(self.dut.port.command, "command"))
        sim.add_process(monitor(self.dut.port.read, "read"))
        sim.run()

    def carry_out(self, moves, rng=None, stall=0.3, most_cycles=None):
        """Offer `moves` and wait until all are done; they must be, word by word."""
        most_cycles = most_cycles or 200 + 20 * sum(each["length"] + 20 for each in moves)

        async def testbench(ctx):
            await send(ctx, self.dut.moves, moves, rng=rng, stall=stall)
            while ctx.get(self.dut.under_way):
                await ctx.tick()
                assert self.cycle < most_cycles, "the mover hangs"
            # Nothing comes after the last word.
            await ctx.tick().repeat(20)

        self.run(testbench)
        assert self.taken == [tuple(move.values()) for move in moves]
        assert self.commands == [(move["external"], move["length"], 0) for move in moves]
        assert self.writes == [each for move in moves for each in writes_of(move)]
        assert self.done == len(moves)
        assert self.outstanding == 0


@pytest.mark.parametrize("seed", range(6))
def test_random_moves_write_their_words_in_order_whatever_the_stalls(seed):
    rng = Random(seed)
    bench = Bench(seed, stall=(0.0, 0.3, 0.7)[seed % 3], latency=(1, 12, 40)[seed // 2])
    moves = [random_move(rng) for _ in range(50)]
    bench.carry_out(moves, Random(seed + 1000), stall=(0.9, 0.0)[seed % 2])
    assert bench.most > 1


def test_long_moves_and_short_ones_are_moved_to_their_last_word():
    bench = Bench()
    bench.carry_out(
        [
            {"space": Space.WEIGHTS, "external": 0x1234, "item": 5, "length": 3000},
            {"space": Space.PARAMETERS, "external": 0xFFF0, "item": 0, "length": 257},
            {"space": Space.DESCRIPTORS, "external": 3, "item": 7, "length": 1},
        ]
    )


def test_no_more_than_fifteen_moves_are_under_way_and_one_more_comes_with_each_that_ends():
    bench = Bench(3)
    bench.asleep = True
    dut = bench.dut
    rng = Random(33)
    moves = [random_move(rng, (2, 5)) for _ in range(18)]

    async def testbench(ctx):
        for number, move in enumerate(moves):
            ctx.set(dut.moves.payload, move)
            ctx.set(dut.moves.valid, 1)
            if number >= ANY_UNDER_WAY:
                # What is under way moves no sooner than the memory wakes.
                if bench.asleep:
                    await ctx.tick().repeat(50)
                    assert len(bench.taken) == ANY_UNDER_WAY
                    bench.asleep = False
                while not ctx.get(dut.moves.ready):
                    assert ctx.get(dut.under_way) == ANY_UNDER_WAY
                    await ctx.tick()
                assert ctx.get(dut.under_way) == ANY_UNDER_WAY - 1
            assert ctx.get(dut.moves.ready)
            await ctx.tick()
        ctx.set(dut.moves.valid, 0)
        while ctx.get(dut.under_way):
            await ctx.tick()
            assert bench.cycle < 5000, "the mover hangs"

    bench.run(testbench)
    assert bench.most == ANY_UNDER_WAY
    assert bench.writes == [each for move in moves for each in writes_of(move)]


def test_a_burst_is_asked_for_while_the_words_before_come_so_that_moves_cost_no_cycle():
    bench = Bench()
    rng = Random(4)
    moves = [random_move(rng, (2, 3, 5, 16)) for _ in range(12)]
    bench.carry_out(moves)
    first = bench.written[0]
    assert bench.written == list(range(first, first + sum(move["length"] for move in moves)))
    # Each but the first while the first word of the one before is written.
    ends = 0
    for before, move in zip(bench.offered[1:], moves[:-1], strict=True):
        assert before == first + ends
        ends += move["length"]


def test_a_move_of_one_word_costs_one_cycle_more():
    bench = Bench()
    rng = Random(5)
    bench.carry_out([random_move(rng, (1,)) for _ in range(10)])
    first = bench.written[0]
    assert bench.written == list(range(first, first + 2 * 10, 2))


def test_a_move_begins_as_soon_as_it_is_taken():
    bench = Bench()
    bench.carry_out([random_move(Random(6), (4,))])
    # It is taken in the first cycle; the memory takes the burst in the second and has a word in the
    # third, in which the mover begins.
    assert bench.offered == [1]
    assert bench.written == [3, 4, 5, 6]


def test_nothing_is_taken_from_a_memory_that_has_words_nobody_asked_for():
    bench = Bench()
    dut = bench.dut

    async def words(ctx):
        ctx.set(dut.port.read.valid, 1)
        ctx.set(dut.port.command.ready, 1)
        for _ in range(30):
            await ctx.tick()
            assert not ctx.get(dut.port.read.ready) and not ctx.get(dut.bus.write)

    async def idle(ctx):
        await ctx.tick()

    bench.memory = idle
    bench.run(words)
