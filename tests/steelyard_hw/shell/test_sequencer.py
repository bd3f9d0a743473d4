# amaranth: UnusedElaboratable=no
"""Sequencer against a model of engines that pause, and the counters that they should leave."""

import re
from random import Random

import pytest
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard.contract.descriptor import (
    ANY_UNDER_WAY,
    DESCRIPTOR_WORDS,
    FIELDS,
    Operation,
    absent,
)
from steelyard.contract.latencies import between, fetched_after, opening
from steelyard.contract.registers import COUNTERS
from steelyard_hw.lib.testing import monitor
from steelyard_hw.shell.layer import LayerLayout
from steelyard_hw.shell.sequencer import Sequencer

CONFIG = configure("array", max_layers=6, activation_words=256)
SETTLE = 9


def fields_of(words, config):
    """What the layer's registers must hold: each field as narrow as its register."""
    layout = LayerLayout(config)
    return {
        name: words[place.word] >> place.low & (1 << min(place.width, layout[name].width)) - 1
        for name, place in FIELDS.items()
        if name not in absent(config)
    }


class Bench:
    """Sequencer with a descriptor memory and engines."""

    def __init__(self, seed, config=CONFIG):
        print(f"seed {seed}")
        self.rng = Random(seed)
        self.config = config
        self.dut = Sequencer(config, settle=SETTLE)
        words = config.memory.max_layers * DESCRIPTOR_WORDS
        self.descriptors = [self.rng.getrandbits(32) for _ in range(words)]
        self.stored = {}
        self.expected = {}
        self.went = []
        self.copied = []

    def fields(self, number):
        """Fields of a layer's descriptor."""
        first = number * DESCRIPTOR_WORDS
        return fields_of(self.descriptors[first : first + DESCRIPTOR_WORDS], self.config)

    async def memory(self, ctx):
        tick = ctx.tick().sample(self.dut.descriptors.addr)
        while True:
            _, _, address = await tick
            # Behind the last layer the idle sequencer may point where nothing is.
            known = address < len(self.descriptors)
            ctx.set(self.dut.descriptors.data, self.descriptors[address] if known else 0)

    async def counters(self, ctx):
        """Memory of the counters, full of old sums."""
        dut = self.dut
        tick = ctx.tick().sample(
            dut.counter_read.addr,
            dut.counter_write.en,
            dut.counter_write.addr,
            dut.counter_write.data,
        )
        while True:
            _, _, read, write, address, data = await tick
            ctx.set(dut.counter_read.data, self.stored.get(read, 0xDEADBEEF))
            if write:
                self.stored[address] = data

    async def engines(self, ctx):
        """Work for a random time after each go, pausing for less than the settling time."""
        dut, rng = self.dut, self.rng
        layout = LayerLayout(self.config)
        while True:
            while not ctx.get(dut.go):
                await ctx.tick()
            number = self.order[len(self.went)]
            bits = ctx.get(dut.layer.as_value())
            held = {name: bits >> f.offset & (1 << f.width) - 1 for name, f in layout}
            assert held == self.fields(number)
            assert ctx.get(dut.convolve) == (held["op"] == Operation.CONV)
            self.went.append(number)
            counts = [0] * (len(COUNTERS) - 1)
            # Engines become active in the cycle after they have seen go.
            await ctx.tick()
            for _ in range(rng.randint(1, 4)):
                for length, active in ((rng.randint(1, 20), 1), (rng.randint(1, SETTLE - 1), 0)):
                    for _ in range(length):
                        events = rng.getrandbits(len(counts))
                        ctx.set(dut.active, active)
                        ctx.set(dut.events, events)
                        counts = [n + (events >> bit & 1) for bit, n in enumerate(counts)]
                        await ctx.tick()
                        assert not ctx.get(dut.go), "the layer ends while engines work"
                        assert not ctx.get(dut.convolve)
            ctx.set(dut.active, 0)
            ctx.set(dut.events, 0)
            self.expected |= {
                number * len(COUNTERS) + 1 + bit: count for bit, count in enumerate(counts)
            }

    async def tables(self, ctx):
        """Copy each table, for a random time in which the engines must not be let go."""
        dut = self.dut
        while True:
            while not ctx.get(dut.copy):
                await ctx.tick()
            assert not ctx.get(dut.go) and not ctx.get(dut.convolve)
            self.copied.append(self.order[len(self.went)])
            for _ in range(self.rng.randint(0, 9)):
                await ctx.tick()
                assert ctx.get(dut.copy) and not ctx.get(dut.go) and not ctx.get(dut.convolve)
            ctx.set(dut.copied, 1)
            await ctx.tick()
            ctx.set(dut.copied, 0)
            assert ctx.get(dut.go) and not ctx.get(dut.copy)

    def run(self, testbench):
        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(testbench)
        for process in self.around():
            sim.add_testbench(process, background=True)
        sim.run()

    def around(self):
        """Models of what is around the sequencer."""
        return [self.memory, self.counters, self.engines, self.tables]

    def layers(self, first, count):
        """Numbers of those in a range that engines are let go for."""
        return list(range(first, first + count))

    async def start(self, ctx, first, count):
        """Start layers and wait for their end; cycles that the sequencer was busy."""
        dut = self.dut
        self.order, self.went, self.copied = self.layers(first, count), [], []
        self.stored, self.expected = {}, {}
        ctx.set(dut.start, 1)
        ctx.set(dut.start_first, first)
        ctx.set(dut.start_count, count)
        await ctx.tick()
        ctx.set(dut.start, 0)
        # What the host's registers hold later must not matter.
        ctx.set(dut.start_first, 0xFFFF)
        ctx.set(dut.start_count, 0xFFFF)
        busy = 0
        while ctx.get(dut.busy):
            assert not ctx.get(dut.finished)
            await ctx.tick()
            busy += 1
            assert busy < 5000, "the sequencer hangs"
        await ctx.tick().repeat(4)
        return busy


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_a_range_of_layers_runs_in_order_and_leaves_its_counters(seed, ahead):
    bench = Bench(seed, CONFIG.with_(ahead=ahead))

    async def testbench(ctx):
        for first, count in ((0, 3), (4, 2), (2, 1)):
            busy = await bench.start(ctx, first, count)
            assert bench.went == bench.order
            table = FIELDS["table"]
            words = {n: bench.descriptors[n * DESCRIPTOR_WORDS] for n in bench.order}
            assert bench.copied == [n for n in bench.order if words[n] >> table.low & 1]
            assert ctx.get(bench.dut.finished)
            assert ctx.get(bench.dut.total) == busy
            cycles = [bench.stored.pop(number * len(COUNTERS)) for number in bench.order]
            assert bench.stored == bench.expected
            overhead = busy - sum(cycles)
            # Layers this short end before the next descriptor is there.
            short = DESCRIPTOR_WORDS + 3 - between(bench.config)
            waits = sum(max(0, short - own) for own in cycles[:-1])
            assert overhead == opening(bench.config) + count * between(bench.config) + waits

    bench.run(testbench)


def test_a_start_of_no_layers_ends_at_once():
    bench = Bench(9)

    async def testbench(ctx):
        assert await bench.start(ctx, 3, 0) == 0
        assert ctx.get(bench.dut.finished)
        assert ctx.get(bench.dut.total) == 0
        await ctx.tick().repeat(2 * DESCRIPTOR_WORDS)
        assert bench.went == [] and bench.stored == {}

    bench.run(testbench)


def test_a_layer_without_work_ends_after_the_settling_time():
    bench = Bench(10)
    bench.engines = idle
    bench.descriptors[DESCRIPTOR_WORDS] &= ~(1 << FIELDS["table"].low)

    async def testbench(ctx):
        busy = await bench.start(ctx, 1, 1)
        assert SETTLE <= bench.stored[len(COUNTERS)] <= SETTLE + 4
        own = bench.stored[len(COUNTERS)]
        assert busy == own + opening(bench.config) + between(bench.config)

    bench.run(testbench)


async def idle(ctx):
    """Engines that have nothing to do."""
    await ctx.tick()


def as_given(fields):
    """A move's fields as the mover gets them, the length the last."""
    store = fields.get("op", Operation.LOAD) == Operation.STORE
    return (
        fields["space"], store, fields["external"], fields["item"], fields.get("batch", 0),
        fields.get("out_pitch", 0), fields.get("in_pitch", 0), fields["length"],
    )  # fmt: skip


class MovesBench(Bench):
    """The same with a mover, and descriptors that stand there only when a move has brought them.

    Parameters
    ----------
    moves : fields of moves by the number of their descriptor; the other descriptors are layers
    ready : probability of a cycle in which the mover takes a move
    ends : probability of a cycle in which a move ends
    """

    def __init__(self, seed, config, moves, *, ready=1.0, ends=1.0):
        super().__init__(seed, config)
        self.given, self.ready, self.ends = moves, ready, ends
        self.trace, self.run_of, self.hidden = [], [], {}
        for number in range(config.memory.max_layers):
            layer = {"op": self.rng.choice([*{*range(16)} - {Operation.LOAD, Operation.STORE}])}
            self.store(number, moves.get(number, layer))

    def store(self, number, values):
        """Store fields of a descriptor; those of a move are that."""
        rows = dict.fromkeys(("batch", "in_pitch", "out_pitch"), 0)
        for name, value in ({"op": Operation.LOAD} | rows | values).items():
            place, word = FIELDS[name], number * DESCRIPTOR_WORDS + FIELDS[name].word
            kept = self.descriptors[word] & ~((1 << place.width) - 1 << place.low)
            self.descriptors[word] = kept | value << place.low

    def waits(self, number):
        return self.given.get(number, {"under_way": ANY_UNDER_WAY})["under_way"] < ANY_UNDER_WAY

    def layers(self, first, count):
        self.trace, self.run_of = [], list(range(first, first + count))
        for number in self.run_of[:-1]:
            if self.waits(number):
                place = slice((number + 1) * DESCRIPTOR_WORDS, (number + 2) * DESCRIPTOR_WORDS)
                self.hidden[number] = (place, self.descriptors[place])
                self.descriptors[place] = [self.rng.getrandbits(32) for _ in range(32)]
        return [number for number in self.run_of if number not in self.given]

    def moves(self, last=None):
        """Of the moves of a run, up to a descriptor, what the mover must be given."""
        numbers = [n for n in self.run_of if n in self.given and (last is None or n <= last)]
        values = [as_given(self.given[n]) for n in numbers]
        return [each for each in values if each[-1]]

    def moves_taken(self):
        """Moves that the mover has taken since the last start."""
        return [values for _, _, values, ready, _ in self.trace if values and ready]

    def reveal(self, taken, under_way):
        """Let the descriptors stand in their place that moves have brought."""
        for number in [*self.hidden]:
            done = taken >= len(self.moves(number))
            if done and under_way <= self.given[number]["under_way"]:
                place, words = self.hidden.pop(number)
                self.descriptors[place] = words

    async def mover(self, ctx):
        """Take moves and let them end; what is seen of each cycle since the last start."""
        dut, rng = self.dut, self.rng
        under_way = 0
        tick = ctx.tick().sample(
            dut.busy, dut.go, dut.moves.valid, dut.moves.ready, dut.moves.payload
        )
        while True:
            ctx.set(dut.moves.ready, under_way < ANY_UNDER_WAY and rng.random() < self.ready)
            ctx.set(dut.under_way, under_way)
            _, _, busy, go, valid, ready, move = await tick
            values = valid and (
                move.space, move.store, move.external, move.item, move.rows, move.external_pitch,
                move.item_pitch, move.length,
            )  # fmt: skip
            self.trace.append((busy, go, values, ready, under_way))
            under_way -= under_way > 0 and rng.random() < self.ends
            under_way += valid and ready
            self.reveal(len(self.moves_taken()), under_way)

    def around(self):
        return [*super().around(), self.mover, monitor(self.dut.moves, "moves")]

    def check(self, busy):
        """Compare a run with its descriptors."""
        assert self.went == self.order
        assert self.moves_taken() == self.moves()
        cycles = [self.stored.pop(number * len(COUNTERS)) for number in self.run_of]
        for number in self.given:
            if number in self.run_of:
                base = number * len(COUNTERS)
                self.expected |= dict.fromkeys(range(base + 1, base + len(COUNTERS)), 0)
        assert self.stored == self.expected
        assert self.waited() == {
            number: count
            for number, count in zip(self.run_of, cycles, strict=True)
            if number in self.given and self.given[number]["length"]
        }
        overhead = opening(self.config) + len(self.run_of) * between(self.config)
        short = DESCRIPTOR_WORDS + 3 - between(self.config)
        for number, own in zip(self.run_of[:-1], cycles, strict=False):
            overhead += fetched_after(self.config) if self.waits(number) else max(0, short - own)
        assert busy == overhead + sum(cycles)

    def waited(self):
        """Cycles of each move as its stream tells, all in their order; none begins too soon."""
        cycles, limits, left = {}, [], [*self.run_of]
        number, counting, offered = None, False, False
        for busy, go, values, ready, under_way in self.trace:
            if go or (values and not offered) or (limits and not busy):
                assert under_way <= min(limits, default=ANY_UNDER_WAY), "it does not wait"
                limits.clear()
            if go or (values and not offered):
                # Moves of no words are only waited for.
                while self.given.get(left[0], {"length": 1})["length"] == 0:
                    left.pop(0)
                number = left.pop(0)
                assert (number in self.given) == bool(values)
            if counting:
                cycles[number] += 1
                counting = under_way > self.given[number]["under_way"]
            if values:
                cycles[number] = cycles.get(number, 0) + 1
                counting = ready
            offered = bool(values and not ready)
            if values and ready:
                limits.append(self.given[number]["under_way"])
        return cycles


MOVES = CONFIG.with_(max_layers=12, external_words=1 << 16)


def random_moves(rng, share):
    """Moves by the number of their descriptor."""
    return {
        number: {
            "op": rng.choice([Operation.LOAD, Operation.STORE]),
            "space": rng.randrange(1, 5),
            "external": rng.randrange(1 << 16),
            "item": rng.getrandbits(16),
            "batch": rng.choice([0, 1, rng.getrandbits(16)]),
            "in_pitch": rng.getrandbits(8),
            "out_pitch": rng.getrandbits(16),
            "length": rng.choice([0, 1, 65535, rng.randint(1, 65535)]),
            "under_way": rng.choice([0, 0, 1, 2, 14, ANY_UNDER_WAY, ANY_UNDER_WAY]),
        }
        for number in range(MOVES.memory.max_layers)
        if rng.random() < share
    }


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_moves_are_given_among_the_layers_and_wait_for_those_before_them(seed, ahead):
    moves = random_moves(Random(seed), (0.4, 0.8)[seed % 2])
    ready, ends = ((1, 1), (1, 0.05), (0.2, 0.01))[seed // 2]
    bench = MovesBench(seed, MOVES.with_(ahead=ahead), moves, ready=ready, ends=ends)

    async def testbench(ctx):
        for first, count in ((0, 12), (3, 5), (0, 12)):
            bench.check(await bench.start(ctx, first, count))
            table = FIELDS["table"]
            words = {n: bench.descriptors[n * DESCRIPTOR_WORDS] for n in bench.order}
            assert bench.copied == [n for n in bench.order if words[n] >> table.low & 1]
            while ctx.get(bench.dut.under_way):
                await ctx.tick()

    bench.run(testbench)


def move(under_way, length=7):
    return {"space": 3, "external": 5, "item": 9, "length": length, "under_way": under_way}


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("under_way", [1, 14, ANY_UNDER_WAY])
def test_a_move_that_waits_for_nothing_takes_two_cycles(ahead, under_way):
    bench = MovesBench(20, MOVES.with_(ahead=ahead), {0: move(under_way)}, ends=0)

    async def testbench(ctx):
        bench.check(await bench.start(ctx, 0, 2))

    bench.run(testbench)
    assert bench.waited() == {0: 2}


@pytest.mark.parametrize("ahead", [True, False])
def test_a_move_of_no_words_only_waits(ahead):
    moves = {0: move(ANY_UNDER_WAY), 1: move(ANY_UNDER_WAY), 2: move(0, length=0)}
    bench = MovesBench(21, MOVES.with_(ahead=ahead), moves, ends=0)
    bench.store(3, {"op": Operation.CONV, "table": 0})

    async def testbench(ctx):
        await bench.start(ctx, 0, 4)

    async def end(ctx):
        while len(bench.moves_taken()) < 2:
            await ctx.tick()
        bench.ready = 0
        for _ in range(200):
            await ctx.tick()
        assert bench.went == [] and bench.moves_taken() == [as_given(move(0))] * 2
        bench.ends = 1

    bench.around = lambda: [*MovesBench.around(bench), end]
    bench.run(testbench)
    ended = max(n for n, (*_, under_way) in enumerate(bench.trace) if under_way) + 1
    [went] = [n for n, (_, go, *_) in enumerate(bench.trace) if go]
    assert went == ended + between(bench.config) + fetched_after(bench.config) + 1
    # The two before it hide in what the descriptors take to come.
    assert bench.stored[2 * len(COUNTERS)] > 100


@pytest.mark.parametrize("ahead", [True, False])
def test_behind_a_move_that_need_not_be_done_a_descriptor_is_fetched_as_behind_a_layer(ahead):
    bench = MovesBench(22, MOVES.with_(ahead=ahead), {0: move(ANY_UNDER_WAY), 1: move(0)}, ready=0)
    later = move(0) | {"item": 77}

    async def testbench(ctx):
        await bench.start(ctx, 0, 2)

    async def change(ctx):
        for _ in range(100):
            await ctx.tick()
        assert not bench.moves_taken()
        bench.store(1, later)
        bench.ready = 1

    bench.around = lambda: [*MovesBench.around(bench), change]
    bench.run(testbench)
    assert bench.moves_taken() == [as_given(move(0)), as_given(move(0) if ahead else later)]


@pytest.mark.parametrize("ahead", [True, False])
def test_behind_the_last_descriptor_comes_the_first(ahead):
    bench = Bench(23, MOVES.with_(ahead=ahead, max_layers=4))
    for number in range(4):
        bench.descriptors[number * DESCRIPTOR_WORDS] &= ~0xF
    bench.layers = lambda first, count: [n % 4 for n in range(first, first + count)]

    async def testbench(ctx):
        await bench.start(ctx, 2, 15)
        assert bench.went == [2, 3, *range(4), *range(4), *range(4), 0]
        for number in range(4):
            del bench.stored[number * len(COUNTERS)]
        assert bench.stored == bench.expected

    bench.run(testbench)


@pytest.mark.parametrize("settle", [0, -3, 1.5])
def test_sequencer_refuses_what_is_no_settling_time(settle):
    sentence = f"Settling time must be a positive number of cycles, not {settle!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        Sequencer(CONFIG, settle=settle)
