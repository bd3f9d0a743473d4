# amaranth: UnusedElaboratable=no
"""Tables behind the output stage against a list: copying, looking up, passing by, timing."""

import random

import pytest
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard.contract.latencies import TABLE_CYCLES
from steelyard_hw.output.tables import LookupTables


def config(requantizers):
    return configure(
        "array", lanes=4, requantizers=requantizers, parameter_words=80, activation_words=64
    )


class Bench:
    """Tables with a parameter memory of random items."""

    def __init__(self, requantizers, seed):
        print(f"seed {seed}")
        self.rng = random.Random(seed)
        self.dut = LookupTables(config(requantizers))
        self.lanes = requantizers
        self.items = [self.rng.getrandbits(64) for _ in range(80)]
        self.results = []

    def table(self, base):
        """Entries of the table at a parameter item, that of -128 first."""
        items = b"".join(item.to_bytes(8, "little") for item in self.items[base : base + 32])
        return [byte - 256 if byte > 127 else byte for byte in items]

    async def parameters(self, ctx):
        while True:
            _, _, address = await ctx.tick().sample(self.dut.address)
            ctx.set(self.dut.data, self.items[address] if address < 80 else 0)

    async def copy(self, ctx, base):
        """Copy a table; returns the cycles of `copy`."""
        ctx.set(self.dut.base, base)
        await ctx.tick()
        ctx.set(self.dut.copy, 1)
        cycles, copied = 0, 0
        while not copied:
            cycles += 1
            assert cycles <= TABLE_CYCLES
            copied = ctx.get(self.dut.copied)
            await ctx.tick()
        ctx.set(self.dut.copy, 0)
        # The base of the next layer may come at once.
        ctx.set(self.dut.base, self.rng.randrange(80))
        await ctx.tick().repeat(2)
        return cycles

    async def results_pass(self, ctx, table, codes):
        """Send words of `codes` with pauses; compare what leaves `latency` cycles later."""
        dut, rng = self.dut, self.rng
        expected = {}
        cycle = 0
        while codes or cycle <= max(expected):
            valid = bool(codes) and rng.random() < 0.7
            word = [codes.pop() if codes and valid else rng.randint(-128, 127)
                    for _ in range(self.lanes)]  # fmt: skip
            row, beat = rng.randrange(64), rng.randrange(4 // self.lanes)
            for signal, value in (
                (dut.results.en, valid), (dut.results.data, word),
                (dut.results.row, row), (dut.results.beat, beat),
            ):  # fmt: skip
                ctx.set(signal, value)
            if valid:
                results = word if table is None else [table[code + 128] for code in word]
                expected[cycle + dut.latency] = (row, beat, results)
            assert ctx.get(dut.write.en) == (cycle in expected)
            if cycle in expected:
                found = [ctx.get(dut.write.data[lane]) for lane in range(self.lanes)]
                assert (ctx.get(dut.write.row), ctx.get(dut.write.beat), found) == expected[cycle]
            await ctx.tick()
            cycle += 1
        ctx.set(dut.results.en, 0)

    async def testbench(self, ctx):
        for base in (48, 0, None, self.rng.randrange(48)):
            codes = list(range(-128, 128)) * self.lanes
            self.rng.shuffle(codes)
            table = None
            if base is not None:
                assert await self.copy(ctx, base) == TABLE_CYCLES
                table = self.table(base)
            ctx.set(self.dut.enable, table is not None)
            await self.results_pass(ctx, table, codes)

    def run(self):
        simulator = Simulator(self.dut)
        simulator.add_clock(1e-6)
        simulator.add_process(self.parameters)
        simulator.add_testbench(self.testbench)
        simulator.run()


@pytest.mark.parametrize("requantizers", [1, 2, 4])
def test_results_are_looked_up_in_the_copied_table_or_pass(requantizers):
    Bench(requantizers, seed=requantizers).run()


def test_only_a_configuration_makes_tables():
    with pytest.raises(TypeError, match="^Configuration must be an AcceleratorConfig, not 4$"):
        LookupTables(4)
