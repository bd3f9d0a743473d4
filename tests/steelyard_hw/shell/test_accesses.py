# amaranth: UnusedElaboratable=no
"""Activation memory with a mover beside an engine, which sees nothing of it."""

from random import Random

import pytest
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard.contract.latencies import ADDEND_LATENCY
from steelyard_hw.shell.memory import ActivationMemory


def small(lanes, requantizers, **fields):
    return configure(
        "array", lanes=lanes, requantizers=requantizers, activation_words=32,
        external_words=1 << 16, **fields,
    )  # fmt: skip


CONFIGS = {
    "16_4": small(16, 4),
    "16_8": small(16, 8),
    "8_2": small(8, 2),
    "4_1": small(4, 1),
    "4_1_plain": small(4, 1, wide_reads=False, shared_taps=False, fused_additions=False),
    "4_4": small(4, 4),
    "16_4_twice": small(16, 4, external_slots=2),
    "4_1_twice": small(4, 1, external_slots=2),
    "16_2_plain": small(16, 2, fused_additions=False),
}


class Bench:
    """Memory, an engine that uses its ports as it likes, and a mover that never meets it.

    Rows of the engine's reads and writes and those of the mover are apart, as programs keep them.

    Parameters
    ----------
    busy : probability of a cycle in which the engine writes, and of one in which it reads addends
    """

    def __init__(self, config, seed, busy):
        print(f"seed {seed}")
        self.config, self.rng, self.busy = config, Random(seed), busy
        self.dut = ActivationMemory(config)
        lanes, depth = config.engine.lanes, config.memory.activation_words
        self.lanes, self.depth = lanes, depth
        self.rows = [[self.rng.randrange(256) for _ in range(lanes)] for _ in range(depth)]
        self.wanted, self.accesses = [], 0
        self.found = []

    def word(self, row, sub):
        return int.from_bytes(bytes(self.rows[row][4 * sub : 4 * sub + 4]), "little")

    async def fill(self, ctx):
        host = self.dut.host
        ctx.set(host.select, 1)
        ctx.set(host.write, 1)
        for row in range(self.depth):
            for sub in range(self.lanes // 4):
                ctx.set(host.address, row)
                ctx.set(host.sub, sub)
                ctx.set(host.data, self.word(row, sub))
                await ctx.tick()
        ctx.set(host.write, 0)
        await ctx.tick().repeat(4)
        ctx.set(host.select, 0)
        # What the host's registers hold later must not matter.
        ctx.set(host.data, 0xDEADBEEF)

    async def engine(self, ctx):
        """Writes and addends in any cycle; a clock long what is read must be right."""
        dut, rng, config = self.dut, self.rng, self.config
        writers = config.output.requantizers
        due = []
        own = range(self.depth // 2)
        for cycle in range(self.cycles):
            writes = rng.random() < self.busy
            row, beat = rng.choice(own), rng.randrange(config.drain_beats)
            values = [rng.randrange(256) for _ in range(writers)]
            ctx.set(dut.write.en, writes)
            ctx.set(dut.write.row, row)
            ctx.set(dut.write.beat, beat)
            ctx.set(dut.write.data, [value - 256 * (value > 127) for value in values])
            if writes:
                self.rows[row][beat * writers : (beat + 1) * writers] = values
            if config.fuses_additions:
                other, reads = rng.randrange(config.drain_beats), rng.random() < self.busy
                # Nothing is read where something is written.
                reads = reads and not (writes and other == beat)
                ctx.set(dut.addend.en, reads)
                ctx.set(dut.addend.row, rng.choice(own))
                ctx.set(dut.addend.beat, other)
                held = self.rows[ctx.get(dut.addend.row)][other * writers : (other + 1) * writers]
                due.append([*held] if reads else None)
                if len(due) > ADDEND_LATENCY:
                    expected = due.pop(0)
                    seen = [ctx.get(dut.addend.data[n]) & 0xFF for n in range(writers)]
                    assert expected is None or seen == expected, cycle
            await ctx.tick()
        ctx.set(dut.write.en, 0)

    async def mover(self, ctx):
        """Random accesses to the other rows, in their order."""
        access, rng = self.dut.moved.access, self.rng
        for number in range(self.count):
            while rng.random() < 0.2:
                await ctx.tick()
            row, sub = rng.randrange(self.depth // 2, self.depth), rng.randrange(self.lanes // 4)
            write, data = rng.randrange(2), rng.getrandbits(32)
            ctx.set(access.payload, {
                "address": row, "sub": sub, "write": write, "last": number & 1, "data": data,
            })  # fmt: skip
            ctx.set(access.valid, 1)
            if write:
                self.rows[row][4 * sub : 4 * sub + 4] = data.to_bytes(4, "little")
            else:
                self.wanted.append((self.word(row, sub), number & 1))
            while not ctx.get(access.ready):
                await ctx.tick()
            await ctx.tick()
            ctx.set(access.valid, 0)
            # Whoever takes this for a word finds nothing.
            ctx.set(access.payload.data, 0xDEADBEEF)
            self.accesses += 1

    async def watch(self, ctx):
        moved = self.dut.moved
        tick = ctx.tick().sample(moved.found, moved.result, moved.last)
        while True:
            _, _, found, result, last = await tick
            if found:
                self.found.append((result, last))

    def run(self, count, cycles):
        """Some accesses beside so many cycles of an engine; then memory is what it should be."""
        self.count, self.cycles = count, cycles
        dut = self.dut

        async def testbench(ctx):
            await self.fill(ctx)
            self.filled = True
            await self.engine(ctx)
            while self.accesses < self.count:
                await ctx.tick()
            await ctx.tick().repeat(12)
            assert self.found == self.wanted
            ctx.set(dut.host.select, 1)
            for row in range(self.depth):
                for sub in range(self.lanes // 4):
                    ctx.set(dut.host.address, row)
                    ctx.set(dut.host.sub, sub)
                    await ctx.tick().repeat(dut.HOST_LATENCY)
                    assert ctx.get(dut.host.result) == self.word(row, sub)

        async def mover(ctx):
            while not self.filled:
                await ctx.tick()
            await self.mover(ctx)

        self.filled = False
        sim = Simulator(dut)
        sim.add_clock(1e-6)
        sim.add_testbench(testbench)
        sim.add_testbench(mover, background=True)
        sim.add_testbench(self.watch, background=True)
        sim.run()


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("busy", [0.2, 0.6])
def test_activations_move_beside_an_engine_that_sees_nothing_of_it(name, busy):
    bench = Bench(CONFIGS[name], 7, busy)
    bench.run(100, 450)
    assert len(bench.found) > 30


@pytest.mark.parametrize("name", ["16_4", "4_1", "4_1_plain"])
@pytest.mark.parametrize("write", [0, 1])
def test_moves_take_every_second_cycle_beside_results_of_all_beats_in_turn(name, write):
    """An engine that writes in every cycle leaves the ports of the other beats."""
    config = CONFIGS[name]
    dut = ActivationMemory(config)
    taken = []

    async def testbench(ctx):
        ctx.set(dut.write.en, 1)
        ctx.set(dut.moved.access.valid, 1)
        ctx.set(dut.moved.access.payload.write, write)
        for cycle in range(200):
            ctx.set(dut.write.beat, cycle % config.drain_beats)
            ctx.set(dut.moved.access.payload.sub, cycle // 2 % config.activation_item_words)
            if ctx.get(dut.moved.access.ready):
                taken.append(cycle)
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()
    assert taken == list(range(0, 200, 2))


@pytest.mark.parametrize("write", [0, 1])
def test_moves_take_every_cycle_where_the_memory_has_a_word_in_each(write):
    """But for ports that the engine uses: of two words in its way one waits a cycle."""
    config = CONFIGS["16_4_twice"]
    dut = ActivationMemory(config)
    taken, found = [], []

    async def testbench(ctx):
        ctx.set(dut.moved.access.valid, 1)
        ctx.set(dut.moved.access.payload.write, write)
        for cycle in range(400):
            # The engine's results of one beat, every fourth cycle, and words of all of them.
            ctx.set(dut.write.en, cycle >= 200 and cycle % 4 == 0)
            ctx.set(dut.moved.access.payload.sub, cycle % config.activation_item_words)
            if ctx.get(dut.moved.access.ready):
                taken.append(cycle)
            if ctx.get(dut.moved.found):
                found.append(cycle)
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()
    assert taken[:200] == list(range(200))
    assert len(taken) >= 390
    if not write:
        assert found[:190] == list(range(found[0], found[0] + 190))
