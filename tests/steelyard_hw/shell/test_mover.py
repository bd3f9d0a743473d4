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
LANE_WORDS = 4
ITEMS = 4096
DEFAULTS = {"store": 0, "rows": 0, "external_pitch": 0, "item_pitch": 0}


def word_at(address):
    """What the external memory holds at first; behind its last word comes the first."""
    return (address % WORDS * 0x9E3779B1 + 0x7F4A7C15) & 0xFFFFFFFF


def activation_at(item, sub):
    """What the activation memory holds at first."""
    return ((item * LANE_WORDS + sub) * 0x85EBCA6B + 0xC2B2AE35) & 0xFFFFFFFF


class Expected:
    """What must be seen of moves, one after the other.

    Attributes
    ----------
    commands : (address, words, write) of each burst
    writes : (space, item, word of the item, data) of each word that is loaded, in order
    reads : (item, word of the item) of each word of activations that is stored
    stored : data of these
    external : words of the external memory that have changed, by their address
    """

    def __init__(self, moves):
        self.commands, self.writes, self.reads, self.stored = [], [], [], []
        self.external, self.activations = {}, {}
        for move in moves:
            for row in range(max(move["rows"], 1)):
                item = move["item"] + row * move["item_pitch"]
                first = (move["external"] + row * move["external_pitch"]) % WORDS
                self.commands.append((first, move["length"], move["store"]))
                for n in range(move["length"]):
                    self.word(move, item, (first + n) % WORDS, n)

    def word(self, move, item, address, n):
        """The n-th word of a row."""
        inside = move["space"] == Space.ACTIVATIONS
        item_words = LANE_WORDS if inside else ITEM_WORDS[move["space"]]
        place = item + n // item_words, n % item_words
        if move["store"]:
            value = self.activations.get(place, activation_at(*place))
            self.reads.append(place)
            self.stored.append(value)
            self.external[address] = value
            return
        value = self.external.get(address, word_at(address))
        self.writes.append((move["space"], *place, value))
        if inside:
            self.activations[place] = value


def random_move(rng, lengths=(1, 1, 2, 3, 7, 12, 40)):
    length = rng.choice(lengths)
    return DEFAULTS | {
        "space": rng.choice([*ITEM_WORDS]),
        "external": rng.choice([rng.randrange(WORDS), WORDS - rng.randint(1, length)]),
        "item": rng.randrange(ITEMS - length),
        "length": length,
    }


def random_strip(rng, lengths=(1, 2, 4, 9, 16), around=WORDS):
    """Rows of activations in one direction or the other."""
    rows, pitch, length = rng.randint(0, 5), rng.randint(0, 11), rng.choice(lengths)
    reach = max(rows - 1, 0) * pitch + -(-length // LANE_WORDS)
    return {
        "space": Space.ACTIVATIONS,
        "store": rng.randrange(2),
        "external": rng.randrange(around),
        "item": rng.randrange(64 - reach + 1),
        "length": length,
        "rows": rows,
        "external_pitch": rng.choice([length, rng.randrange(around)]),
        "item_pitch": pitch,
    }


class Bench:
    """Mover with memories and an observer that knows what must be seen in every cycle.

    Parameters
    ----------
    seed : of the memories' stalls; None for an external memory that takes every command at once and
        has a word in every cycle, the first in the one after the command, or takes one, and an
        activation memory that takes an access in every second cycle
    stall : probability of a cycle without a command taken, and of one without a word
    latency : most cycles from a command to its first word
    steal : probability that the activation memory takes an access in a cycle in which it may
    """

    def __init__(self, seed=None, *, stall=0.3, latency=12, steal=1.0):
        print(f"seed {seed}")
        self.rng = Random(seed) if seed is not None else None
        self.stall, self.latency, self.steal = stall, latency, steal
        self.dut = Mover(CONFIG, HostBus(ITEMS, max(ITEM_WORDS.values())))
        self.cycle = 0
        self.asleep = False
        self.taken, self.done, self.rows = [], 0, 0
        self.commands, self.writes, self.reads, self.stored = [], [], [], []
        self.offered, self.written, self.given = [], [], []
        self.external, self.activations = {}, {}
        self.outstanding = 0
        self.most = 0
        self.most_cycles = 20000

    def stalls(self):
        return self.asleep or (self.rng is not None and self.rng.random() < self.stall)

    async def memory(self, ctx):
        """Bursts in their order, words held until they are taken."""
        port = self.dut.port
        bursts, cycle = deque(), 0
        while True:
            ctx.set(port.command.ready, not self.stalls())
            # The memory takes some words to write before it may, as the port says.
            head = bursts[0] if bursts else None
            ctx.set(port.write.ready, bool(head and head[2]) and not self.stalls())
            due = head and not head[2] and head[3] <= cycle and not ctx.get(port.read.valid)
            if due and not self.stalls():
                ctx.set(port.read.valid, 1)
                ctx.set(port.read.payload, self.external.get(head[0], word_at(head[0])))
                self.step(bursts)
            _, _, asked, ready, command, valid, taken, gives, given, word = await ctx.tick().sample(
                port.command.valid,
                port.command.ready,
                port.command.payload,
                port.read.valid,
                port.read.ready,
                port.write.valid,
                port.write.ready,
                port.write.payload,
            )
            cycle += 1
            if gives and given:
                self.external[bursts[0][0]] = word
                self.step(bursts)
            if asked and ready:
                wait = self.rng.randrange(self.latency) if self.rng is not None else 0
                bursts.append([command.address, command.words, command.write, cycle + wait])
            if valid and taken:
                ctx.set(port.read.valid, 0)
                # Garbage, which nobody may take for a word.
                ctx.set(port.read.payload, 0xDEADBEEF)

    @staticmethod
    def step(bursts):
        """Go on to the next word of the first burst."""
        bursts[0][0] = (bursts[0][0] + 1) % WORDS
        bursts[0][1] -= 1
        if bursts[0][1] == 0:
            bursts.popleft()

    async def accesses(self, ctx):
        """Activation memory: what is taken takes effect in order, and what is read comes later."""
        port = self.dut.activations
        waits, found = deque(), deque()
        busy = False
        while True:
            steals = self.rng is None or self.rng.random() < self.steal
            ctx.set(port.access.ready, not busy and not self.asleep and len(waits) < 2 and steals)
            comes = found.popleft() if found else None
            ctx.set(port.found, comes is not None)
            ctx.set(port.result, comes[0] if comes else 0xDEADBEEF)
            ctx.set(port.last, comes[1] if comes else 1)
            _, _, valid, ready, access = await ctx.tick().sample(
                port.access.valid, port.access.ready, port.access.payload
            )
            busy = valid and ready
            if busy:
                waits.append(access)
            # An engine that uses the ports holds up what waits for them.
            if waits and (self.rng is None or self.rng.random() < self.steal):
                now = waits.popleft()
                place = now.address, now.sub
                if now.write:
                    self.activations[place] = now.data
                    found.append(None)
                else:
                    value = self.activations.get(place, activation_at(*place))
                    found.append((value, now.last))
            else:
                found.append(None)

    async def observer(self, ctx):
        """Compare what is seen of a cycle with what went before it."""
        dut = self.dut
        port, bus, moves, access = dut.port, dut.bus, dut.moves, dut.activations.access
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
            access.valid & access.ready,
            access.payload,
            port.write.valid & port.write.ready,
            port.write.payload,
            dut.under_way,
            bus.select,
        )
        loads, stores = deque(), deque()
        while True:
            (_, _, taken, move, asks, ready, command, valid, wanted, write, space, item, sub, word,
             accesses, access, given, data, under_way, never) = await tick  # fmt: skip
            assert not never, "the bus is selected"
            assert self.cycle < self.most_cycles, "the mover hangs"
            assert under_way == len(self.taken) - self.done
            assert under_way <= ANY_UNDER_WAY
            self.most = max(self.most, under_way)
            assert not wanted or self.outstanding, "a word is taken that was not asked for"
            stolen = accesses and access.write
            assert not (write and accesses), "two words in a cycle"
            assert (write or stolen) == (valid and wanted), "words come and go in the same cycle"
            if asks:
                assert len(self.commands) < self.rows, "a burst is asked for that no move is"
                if len(self.offered) == len(self.commands):
                    self.offered.append(self.cycle)
            if write or stolen:
                place = (access.address, access.sub, access.data) if stolen else (item, sub, word)
                self.outstanding -= 1
                self.writes.append((space, *place))
                self.written.append(self.cycle)
                self.count(loads)
            if accesses and not access.write:
                self.reads.append((access.address, access.sub))
            if given:
                self.stored.append(data)
                self.given.append(self.cycle)
                self.count(stores)
            if asks and ready:
                self.commands.append((command.address, command.words, command.write))
                self.outstanding += 0 if command.write else command.words
            if taken:
                self.taken.append(
                    {name: getattr(move, name) for name in (*DEFAULTS, "space", "external")}
                    | {"item": move.item, "length": move.length}
                )
                rows = max(move.rows, 1)
                self.rows += rows
                (stores if move.store else loads).append(rows * move.length)
            self.cycle += 1

    def count(self, left):
        """Count a word of the first of some moves."""
        left[0] -= 1
        if left[0] == 0:
            left.popleft()
            self.done += 1

    def run(self, *testbenches):
        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        for testbench in testbenches:
            sim.add_testbench(testbench)
        sim.add_testbench(self.memory, background=True)
        sim.add_testbench(self.accesses, background=True)
        sim.add_testbench(self.observer, background=True)
        sim.add_process(monitor(self.dut.moves, "moves"))
        sim.add_process(monitor(self.dut.port.command, "command"))
        sim.add_process(monitor(self.dut.port.read, "read"))
        sim.add_process(monitor(self.dut.port.write, "write"))
        sim.add_process(monitor(self.dut.activations.access, "access"))
        sim.run()

    def carry_out(self, moves, rng=None, stall=0.3):
        """Offer `moves` and wait until all are done; they must be, word by word."""
        rows = [each | {"rows": max(each["rows"], 1)} for each in moves]
        words = sum(each["rows"] * (each["length"] + 20) for each in rows)
        self.most_cycles = 200 + 20 * words

        async def testbench(ctx):
            await send(ctx, self.dut.moves, moves, rng=rng, stall=stall)
            while ctx.get(self.dut.under_way):
                await ctx.tick()
            # Nothing comes after the last word.
            await ctx.tick().repeat(20)

        self.run(testbench)
        expected = Expected(moves)
        assert self.taken == moves
        for name in ("commands", "writes", "reads", "stored", "external", "activations"):
            assert getattr(self, name) == getattr(expected, name), name
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
            DEFAULTS | {"space": Space.WEIGHTS, "external": 0x1234, "item": 5, "length": 3000},
            DEFAULTS | {"space": Space.PARAMETERS, "external": 0xFFF0, "item": 0, "length": 257},
            DEFAULTS | {"space": Space.DESCRIPTORS, "external": 3, "item": 7, "length": 1},
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
    assert bench.writes == Expected(moves).writes


def test_a_burst_is_asked_for_while_the_words_before_come_so_that_moves_cost_no_cycle():
    bench = Bench()
    rng = Random(4)
    moves = [random_move(rng, (3, 4, 5, 16)) for _ in range(12)]
    bench.carry_out(moves)
    first = bench.written[0]
    assert bench.written == list(range(first, first + sum(move["length"] for move in moves)))
    # Each but the first while the second word of the one before is written.
    ends = 0
    for before, move in zip(bench.offered[1:], moves[:-1], strict=True):
        assert before == first + ends + 1
        ends += move["length"]


def test_a_move_of_one_word_costs_two_cycles_more():
    bench = Bench()
    rng = Random(5)
    bench.carry_out([random_move(rng, (1,)) for _ in range(10)])
    first = bench.written[0]
    assert bench.written == list(range(first, first + 3 * 10, 3))


def test_a_move_begins_as_soon_as_it_is_taken():
    bench = Bench()
    bench.carry_out([random_move(Random(6), (4,))])
    # It is taken in the first cycle and looked at in the second; the memory takes the burst in the
    # third and has a word in the fourth, in which the mover begins.
    assert bench.offered == [2]
    assert bench.written == [4, 5, 6, 7]


@pytest.mark.parametrize("seed", range(6))
def test_random_strips_go_both_ways_among_other_moves(seed):
    """A store's words are those that loads before it have brought, and the other way round."""
    rng = Random(seed)
    stall, latency = (0.0, 0.3, 0.7)[seed % 3], (1, 12, 40)[seed // 2]
    bench = Bench(seed, stall=stall, latency=latency, steal=(1.0, 0.5, 0.2)[seed // 2])
    # Within few external words, so that what is loaded was often stored before.
    strips = [random_strip(rng, around=(100, WORDS)[seed % 2]) for _ in range(24)]
    moves = [each if rng.random() < 0.8 else random_move(rng) for each in strips]
    bench.carry_out(moves, Random(seed + 2000), stall=(0.9, 0.0)[seed % 2])
    expected = Expected(moves)
    loaded = [each for each in expected.writes if each[0] == Space.ACTIVATIONS]
    assert bench.most > 1 and len(loaded) > 40 and len(bench.stored) > 40
    assert seed % 2 or {each[-1] for each in loaded} & set(bench.stored)


def strip(store, *, rows=4, length=16):
    return {
        "space": Space.ACTIVATIONS, "store": store, "external": 50, "item": 1, "length": length,
        "rows": rows, "external_pitch": 200, "item_pitch": 5,
    }  # fmt: skip


def test_activations_are_moved_every_second_cycle_without_a_gap_between_rows_and_moves():
    for store in (0, 1):
        bench = Bench()
        bench.carry_out([strip(store), strip(store, rows=0, length=5), strip(store)])
        seen = bench.given if store else bench.written
        assert seen == list(range(seen[0], seen[0] + 2 * len(seen), 2))
        assert len(seen) == 4 * 16 + 5 + 4 * 16


def test_a_store_begins_as_soon_as_it_is_taken():
    bench = Bench()
    bench.carry_out([strip(1, rows=1, length=4)])
    # Taken, looked at, asked for, taken up; then a word is read and kept.
    assert bench.offered == [2] and bench.given == [6, 8, 10, 12]


def test_a_store_waits_for_the_external_memory_with_as_many_words_as_it_keeps():
    bench = Bench()
    dut = bench.dut

    async def testbench(ctx):
        ctx.set(dut.moves.payload, strip(1))
        ctx.set(dut.moves.valid, 1)
        await ctx.tick()
        ctx.set(dut.moves.valid, 0)
        ctx.set(dut.port.command.ready, 1)
        await ctx.tick().repeat(100)
        assert len(bench.reads) == dut.STORE_WORDS and ctx.get(dut.under_way) == 1

    async def idle(ctx):
        await ctx.tick()

    bench.memory = idle
    bench.run(testbench)


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
