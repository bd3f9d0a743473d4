# amaranth: UnusedElaboratable=no
"""Memories against a Python model of their words and bytes."""

import re
from random import Random

import pytest
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard.contract.latencies import read_latency
from steelyard_hw.shell.memory import ActivationMemory, ItemMemory


def simulate(dut, testbench):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()


async def host_write(ctx, dut, address, sub, value, select=0):
    ctx.set(dut.host.select, select)
    ctx.set(dut.host.address, address)
    ctx.set(dut.host.sub, sub)
    ctx.set(dut.host.data, value)
    ctx.set(dut.host.write, 1)
    await ctx.tick()
    ctx.set(dut.host.write, 0)


async def host_read(ctx, dut, places):
    """Words of `places` (address, sub), each held for exactly ``HOST_LATENCY`` cycles."""
    results = []
    ctx.set(dut.host.select, 1)
    for address, sub in places:
        ctx.set(dut.host.address, address)
        ctx.set(dut.host.sub, sub)
        await ctx.tick().repeat(dut.HOST_LATENCY)
        results.append(ctx.get(dut.host.result))
    ctx.set(dut.host.select, 0)
    return results


@pytest.mark.parametrize(("latency", "registered"), [(1, True), (2, True), (1, False)])
@pytest.mark.parametrize(
    ("depth", "item_words", "bits"),
    [(16, 1, 32), (48, 2, 62), (16, 5, 129), (16, 6, 192), (16, 26, 832)],
)
def test_item_memory_holds_the_words_the_host_wrote(depth, item_words, bits, latency, registered):
    rng = Random(bits)
    dut = ItemMemory(depth, item_words, bits=bits, read_latency=latency, registered=registered)
    places = [(a, s) for a in range(depth) for s in range(item_words)]
    rng.shuffle(places)
    words = {place: rng.getrandbits(32) for place in places}
    mask = (1 << bits) - 1
    items = [sum(words[a, s] << (32 * s) for s in range(item_words)) & mask for a in range(depth)]

    async def testbench(ctx):
        for (address, sub), value in words.items():
            # Without registers one address serves both sides.
            await host_write(ctx, dut, address, sub, value, select=not registered)
        rng.shuffle(places)
        read = await host_read(ctx, dut, places)
        assert read == [items[a] >> (32 * s) & 0xFFFFFFFF for a, s in places]

        order = [rng.randrange(depth) for _ in range(20)]
        for cycle, address in enumerate([*order, 0]):
            if cycle >= latency:
                assert ctx.get(dut.read.data) == items[order[cycle - latency]]
            ctx.set(dut.read.addr, address)
            await ctx.tick()

    simulate(dut, testbench)


@pytest.mark.parametrize("read_latency", [1, 2])
def test_item_memory_takes_one_word_a_cycle_and_keeps_the_others(read_latency):
    dut = ItemMemory(16, 2, bits=64, read_latency=read_latency)

    async def testbench(ctx):
        for sub, value in ((0, 0x11111111), (1, 0x22222222), (0, 0x33333333)):
            await host_write(ctx, dut, 3, sub, value)
        assert await host_read(ctx, dut, [(3, 1), (3, 0)]) == [0x22222222, 0x33333333]

    simulate(dut, testbench)


@pytest.mark.parametrize(
    ("arguments", "bits", "sentence"),
    [
        ((1, 2), 64, "Depth must be an integer from 2 to 16777216, not 1"),
        (("9", 2), 64, "Depth must be an integer from 2 to 16777216, not '9'"),
        ((16, 0), 64, "Words of an item must be an integer from 1 to 64, not 0"),
        ((16, 65), 64, "Words of an item must be an integer from 1 to 64, not 65"),
        ((16, 2), 65, "Bits of an item of 2 words must be an integer from 33 to 64, not 65"),
        ((16, 2), 32, "Bits of an item of 2 words must be an integer from 33 to 64, not 32"),
    ],
)
def test_item_memory_refuses_bad_parameters(arguments, bits, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        ItemMemory(*arguments, bits=bits)


def test_item_memory_refuses_another_read_latency():
    with pytest.raises(ValueError, match="^Read latency must be 1 or 2, not 3$"):
        ItemMemory(16, 2, bits=64, read_latency=3)


CONFIGS = [
    configure("array", lanes=16, requantizers=8, activation_words=48),
    configure("array", lanes=4, requantizers=1, activation_words=32),
    configure("array", lanes=8, requantizers=8, activation_words=16),
    configure("array", lanes=32, requantizers=2, activation_words=16),
    configure(
        "array", lanes=8, requantizers=4, activation_words=48, wide_reads=False, shared_taps=False
    ),
    configure("array", "compact", lanes=4, requantizers=1, activation_words=16),
]


class Model:
    """Words of signed bytes, as the activation memory should hold them."""

    def __init__(self, config, rng):
        self.lanes, self.depth = config.engine.lanes, config.memory.activation_words
        self.banks = config.banks
        self.writers, self.beats = config.output.requantizers, config.drain_beats
        self.rows = [
            [rng.randrange(-128, 128) for _ in range(self.lanes)] for _ in range(self.depth)
        ]

    def word(self, row, sub):
        return sum(
            (v & 0xFF) << (8 * n) for n, v in enumerate(self.rows[row][4 * sub : 4 * sub + 4])
        )

    def read(self, row, split):
        """A byte of every bank: rows hold as many words as there are banks for."""
        each = self.banks // self.lanes
        words = [((row + (b < split)) * each + b // self.lanes) for b in range(self.banks)]
        return [self.rows[word % self.depth][b % self.lanes] for b, word in enumerate(words)]


async def fill(ctx, dut, model):
    for row in range(model.depth):
        for sub in range(model.lanes // 4):
            await host_write(ctx, dut, row, sub, model.word(row, sub))


@pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda c: f"{c.engine.lanes}_{c.output.requantizers}"
)
def test_activation_memory_reads_rows_split_between_banks(config):
    rng = Random(config.engine.lanes)
    latency = read_latency(config)
    model = Model(config, rng)
    dut = ActivationMemory(config)

    async def testbench(ctx):
        await fill(ctx, dut, model)
        rows = model.depth * model.lanes // model.banks
        reads = [(rows - 1, split) for split in (0, 1, model.banks - 1)]
        reads += [(rng.randrange(rows), rng.randrange(model.banks)) for _ in range(40)]
        for cycle in range(len(reads) + latency):
            if cycle >= latency:
                got = [ctx.get(dut.read.data[b]) for b in range(model.banks)]
                assert got == model.read(*reads[cycle - latency])
            if cycle < len(reads):
                ctx.set(dut.read.row, reads[cycle][0])
                ctx.set(dut.read.split, reads[cycle][1])
            await ctx.tick()

    simulate(dut, testbench)


@pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda c: f"{c.engine.lanes}_{c.output.requantizers}"
)
def test_activation_memory_stores_beats_that_the_host_reads(config):
    rng = Random(config.output.requantizers)
    model = Model(config, rng)
    dut = ActivationMemory(config)
    places = [(row, sub) for row in range(model.depth) for sub in range(model.lanes // 4)]

    async def testbench(ctx):
        await fill(ctx, dut, model)
        for _ in range(100):
            row, beat = rng.randrange(model.depth), rng.randrange(model.beats)
            values = [rng.randrange(-128, 128) for _ in range(model.writers)]
            valid = rng.random() < 0.7
            ctx.set(dut.write.en, valid)
            ctx.set(dut.write.row, row)
            ctx.set(dut.write.beat, beat)
            ctx.set(dut.write.data, values)
            await ctx.tick()
            if valid:
                model.rows[row][beat * model.writers : (beat + 1) * model.writers] = values
        ctx.set(dut.write.en, 0)
        rng.shuffle(places)
        # The split must not reach the host's reads.
        ctx.set(dut.read.split, model.banks - 1)
        assert await host_read(ctx, dut, places) == [model.word(*place) for place in places]

    simulate(dut, testbench)


def test_activation_memory_reads_a_row_as_early_as_it_says():
    config = CONFIGS[2]
    dut = ActivationMemory(config)

    async def testbench(ctx):
        ctx.set(dut.write.row, 5)
        ctx.set(dut.write.data, [-7] * config.output.requantizers)
        ctx.set(dut.write.en, 1)
        for _ in range(dut.WRITE_LATENCY):
            await ctx.tick()
            ctx.set(dut.write.en, 0)
        # The fifth word is the second one of its row.
        ctx.set(dut.read.row, 2)
        for _ in range(read_latency(config)):
            await ctx.tick()
            ctx.set(dut.read.row, 0)
        lanes = range(config.engine.lanes, config.banks)
        assert [ctx.get(dut.read.data[b]) for b in lanes] == [-7] * config.engine.lanes

    simulate(dut, testbench)


def test_activation_memory_refuses_what_is_no_configuration():
    sentence = "Configuration must be an AcceleratorConfig, not 16"
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}$"):
        ActivationMemory(16)
