# amaranth: UnusedElaboratable=no
"""Sequencer against a model of engines that pause, and the counters that they should leave."""

import re
from random import Random

import pytest
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard.contract.descriptor import DESCRIPTOR_WORDS, FIELDS
from steelyard.contract.latencies import between, opening
from steelyard.contract.registers import COUNTERS
from steelyard_hw.shell.layer import LayerLayout
from steelyard_hw.shell.sequencer import Sequencer

CONFIG = configure("array", max_layers=6, activation_words=256)
SETTLE = 9


def fields_of(words):
    """What the layer's registers must hold: each field as narrow as its register."""
    layout = LayerLayout(CONFIG)
    return {
        name: words[place.word] >> place.low & (1 << min(place.width, layout[name].width)) - 1
        for name, place in FIELDS.items()
    }


class Bench:
    """Sequencer with a descriptor memory and engines."""

    def __init__(self, seed, config=CONFIG):
        print(f"seed {seed}")
        self.rng = Random(seed)
        self.config = config
        self.dut = Sequencer(config, settle=SETTLE)
        self.descriptors = [self.rng.getrandbits(32) for _ in range(6 * DESCRIPTOR_WORDS)]
        self.stored = {}
        self.expected = {}
        self.went = []
        self.copied = []

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
        layout = LayerLayout(CONFIG)
        while True:
            while not ctx.get(dut.go):
                await ctx.tick()
            number = self.order[len(self.went)]
            words = self.descriptors[number * DESCRIPTOR_WORDS : (number + 1) * DESCRIPTOR_WORDS]
            bits = ctx.get(dut.layer.as_value())
            held = {name: bits >> f.offset & (1 << f.width) - 1 for name, f in layout}
            assert held == fields_of(words)
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
            self.copied.append(self.order[len(self.went)])
            for _ in range(self.rng.randint(0, 9)):
                await ctx.tick()
                assert ctx.get(dut.copy) and not ctx.get(dut.go)
            ctx.set(dut.copied, 1)
            await ctx.tick()
            ctx.set(dut.copied, 0)
            assert ctx.get(dut.go) and not ctx.get(dut.copy)

    def run(self, testbench):
        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(testbench)
        for process in (self.memory, self.counters, self.engines, self.tables):
            sim.add_testbench(process, background=True)
        sim.run()

    async def start(self, ctx, first, count):
        """Start layers and wait for their end; cycles that the sequencer was busy."""
        dut = self.dut
        self.order, self.went, self.copied = list(range(first, first + count)), [], []
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
            short = DESCRIPTOR_WORDS + 2 - between(bench.config)
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


@pytest.mark.parametrize("settle", [0, -3, 1.5])
def test_sequencer_refuses_what_is_no_settling_time(settle):
    sentence = f"Settling time must be a positive number of cycles, not {settle!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        Sequencer(CONFIG, settle=settle)
