# amaranth: UnusedElaboratable=no
"""Column against numpy: window memory, products, accumulation and the chain of captured sums."""

from random import Random

import numpy as np
import pytest
from amaranth import ResetInserter, Signal
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard.contract.latencies import column_latency
from steelyard_hw.array.column import Column, select_latency

CONFIG = configure(
    "array", lanes=8, columns=2, group=8, requantizers=2, window_groups=4, accumulator_bits=22
)
CONFIGS = {
    "three taps a word": CONFIG,
    "a tap a word": CONFIG.with_(shared_taps=False),
}


def packed(values, bits):
    """Signed values side by side, the first one lowest."""
    return sum((int(value) & (1 << bits) - 1) << n * bits for n, value in enumerate(values))


class Bench:
    """Column that computes pass after pass while the sums before are shifted out."""

    def __init__(self, seed, config=CONFIG):
        print(f"seed {seed}")
        self.rng = Random(seed)
        self.config = config
        self.dut = Column(config)
        # By cycle and part, what selects the bytes that the lanes take of a word.
        self.selects = {}
        self.reset = Signal()
        self.window = np.zeros(
            (config.engine.window_groups, config.engine.group, config.engine.window_lanes), np.int64
        )
        self.cycle = 0
        self.captures = {}

    async def tick(self, ctx):
        await ctx.tick()
        self.cycle += 1
        if self.config.engine.shared_taps:
            select = self.dut.select
            parts = {"step": select.step, "second": select.second, "outside": select.outside}
            for name, part in parts.items():
                now = self.selects.pop((self.cycle, name), None)
                ctx.set(part, self.rng.getrandbits(len(part)) if now is None else now)

    async def fill(self, ctx):
        """Write the whole window memory, in random order."""
        dut = self.dut
        places = [
            (s, i) for s in range(CONFIG.engine.window_groups) for i in range(CONFIG.engine.group)
        ]
        self.rng.shuffle(places)
        for slot, index in places:
            word = [self.rng.choice([0, 255, self.rng.randint(0, 255)]) for _ in self.window[0, 0]]
            self.window[slot, index] = word
            ctx.set(dut.window_valid, 1)
            ctx.set(dut.window_address, slot * CONFIG.engine.group + index)
            ctx.set(dut.window_word, packed(word, 8))
            await self.tick(ctx)
            ctx.set(dut.window_valid, 0)
            # Without valid, address and word mean nothing.
            ctx.set(dut.window_word, self.rng.getrandbits(len(dut.window_word)))
            if self.rng.random() < 0.2:
                await self.tick(ctx)
        await self.tick(ctx)

    async def compute(self, ctx, items, stall, ends=True):
        """One pass of `items` weights, with idle cycles; notes when its sums are captured."""
        dut, rng = self.dut, self.rng
        sums = np.zeros(CONFIG.engine.lanes, np.int64)
        for n in range(items):
            while rng.random() < stall:
                ctx.set(dut.control.as_value(), rng.getrandbits(len(dut.control.as_value())) & ~1)
                ctx.set(dut.weight, rng.getrandbits(CONFIG.engine.weight_bits))
                await self.tick(ctx)
            slot, index = (
                rng.randrange(CONFIG.engine.window_groups),
                rng.randrange(CONFIG.engine.group),
            )
            value = rng.choice([-127, 127, rng.randint(-127, 127)])
            sums += value * self.taken(self.window[slot, index])
            last = ends and n == items - 1
            control = {"valid": 1, "last": last, "slot": slot}
            ctx.set(dut.control, control)
            ctx.set(dut.weight, index << 8 | value & 0xFF)
            if last:
                self.captures[self.cycle + column_latency(self.config)] = sums.tolist()
            await self.tick(ctx)
            ctx.set(dut.control.valid, 0)

    def taken(self, word):
        """What the lanes take of a word, for the item of this cycle."""
        lanes = self.config.engine.lanes
        if not self.config.engine.shared_taps:
            return word
        begin = self.cycle + select_latency(self.config)
        above = self.rng.randrange(3)
        outside = [self.rng.random() < 0.2 for _ in range(lanes)]
        self.selects[begin, "step"] = above > 0
        self.selects[begin + 1, "second"] = above == 2
        self.selects[begin + 2, "outside"] = packed(outside, 1)
        return np.where(outside, 0, word[above : above + lanes])

    async def chain(self, ctx):
        """Check each capture on its way out, and random sums of a neighbour behind it."""
        dut, wide = self.dut, CONFIG.engine.accumulator_bits
        beats = CONFIG.drain_beats
        while True:
            while self.cycle not in self.captures:
                await ctx.tick()
            sums = self.captures.pop(self.cycle)
            neighbour = [self.rng.randint(-(1 << 21), (1 << 21) - 1) for _ in sums]
            for place in range(0, 2 * CONFIG.engine.lanes, CONFIG.output.requantizers):
                lanes = (sums + neighbour)[place : place + CONFIG.output.requantizers]
                assert list(ctx.get(dut.chain_out)) == lanes, f"lane {place}"
                if place // CONFIG.output.requantizers == 2 * beats - 1:
                    break
                incoming = neighbour[place : place + CONFIG.output.requantizers] or [0, 0]
                ctx.set(dut.chain_in.as_value(), packed(incoming, wide))
                await ctx.tick()

    def run(self, testbench):
        sim = Simulator(ResetInserter(self.reset)(self.dut))
        sim.add_clock(1e-6)
        sim.add_testbench(testbench)
        sim.add_testbench(self.chain, background=True)
        sim.run()
        assert not self.captures, "sums that nobody checked"


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("name", CONFIGS)
def test_sums_of_every_pass_are_captured_on_time_and_leave_by_the_chain(name, stall):
    bench = Bench(7, CONFIGS[name])

    async def testbench(ctx):
        for _ in range(3):
            await bench.fill(ctx)
            # Long enough for the sums before to leave: the scheduler sees to that.
            for items in (9, 16, 33, 8, 12):
                await bench.compute(ctx, items, stall)
            for _ in range(column_latency(CONFIG) + 12):
                await bench.tick(ctx)

    bench.run(testbench)


def test_a_pass_of_one_weight_is_cleared_and_captured_at_once():
    bench = Bench(8)

    async def testbench(ctx):
        await bench.fill(ctx)
        for _ in range(4):
            await bench.compute(ctx, 1, 0.0)
            for _ in range(column_latency(CONFIG) + 12):
                await bench.tick(ctx)

    bench.run(testbench)


@pytest.mark.parametrize("cycles", [1, 4])
@pytest.mark.parametrize("begun", [1, 2, 3, 4, 7])
def test_a_reset_in_the_middle_of_a_pass_leaves_nothing_in_the_accumulators(begun, cycles):
    bench = Bench(9)

    async def testbench(ctx):
        await bench.fill(ctx)
        for _ in range(3):
            # A pass that breaks off: its weights are on their way at all stages.
            await bench.compute(ctx, begun, 0.0, ends=False)
            ctx.set(bench.reset, 1)
            for _ in range(cycles):
                await bench.tick(ctx)
            ctx.set(bench.reset, 0)
            await bench.compute(ctx, 9, 0.0)
            for _ in range(column_latency(CONFIG) + 12):
                await bench.tick(ctx)

    bench.run(testbench)
