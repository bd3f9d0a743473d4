# amaranth: UnusedElaboratable=no
"""Weight fetch against the plain repetition of a slice of the weight memory."""

import re
from random import Random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard_hw.lib.testing import monitor, receive
from steelyard_hw.shell.memory import ItemMemory
from steelyard_hw.shell.weights import WeightFetch
from steelyard_hw.shell.weights_direct import DirectFetch

CONFIG = configure("array", columns=3, weight_words=48, lanes=4, requantizers=4)
BITS = CONFIG.engine.columns * CONFIG.engine.weight_bits


def bench(fetch_type=WeightFetch, **options):
    """Fetch connected to a weight memory, and the memory's random items."""
    m = Module()
    m.submodules.memory = memory = ItemMemory(
        CONFIG.memory.weight_words,
        CONFIG.engine.weight_item_words,
        bits=BITS,
        read_latency=fetch_type.MEMORY_LATENCY,
        registered=fetch_type is not DirectFetch,
    )
    m.submodules.fetch = fetch = fetch_type(CONFIG, **options)
    wiring.connect(m, fetch.read, memory.read)
    rng = Random(3)
    items = [rng.getrandbits(BITS) for _ in range(CONFIG.memory.weight_words)]

    async def fill(ctx):
        for address, item in enumerate(items):
            for sub in range(CONFIG.engine.weight_item_words):
                ctx.set(memory.host.address, address)
                ctx.set(memory.host.sub, sub)
                ctx.set(memory.host.data, item >> (32 * sub) & 0xFFFFFFFF)
                ctx.set(memory.host.write, 1)
                ctx.set(memory.host.select, 1)
                await ctx.tick()
        ctx.set(memory.host.write, 0)
        ctx.set(memory.host.select, 0)

    return m, fetch, items, fill


def simulate(m, fetch, testbench):
    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    # The direct fetch drops the item that nobody takes when the next layer begins.
    if isinstance(fetch, WeightFetch):
        sim.add_process(monitor(fetch.o, "weights"))
    sim.run()


async def begin(ctx, fetch, base, count, repeats):
    ctx.set(fetch.base, base)
    ctx.set(fetch.count, count)
    ctx.set(fetch.repeats, repeats)
    ctx.set(fetch.start, 1)
    await ctx.tick()
    ctx.set(fetch.start, 0)
    # What the layer's registers hold later must not matter.
    for member in (fetch.base, fetch.count, fetch.repeats):
        ctx.set(member, 1)


LAYERS = [
    (0, 48, 1),
    (7, 1, 5),
    (5, 2, 4),
    (47, 1, 1),
    (20, 9, 3),
    (3, 0, 4),
    (3, 4, 0),
    (30, 3, 2),
]


@pytest.mark.parametrize("stall", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("copies", [1, 2, 4])
def test_what_was_offered_is_read_a_cycle_late(monkeypatch, stall, copies):
    monkeypatch.setattr(WeightFetch, "COLUMNS_A_COPY", copies)
    m, fetch, items, fill = bench(taken=True)
    late = []

    async def testbench(ctx):
        await fill(ctx)
        rng = Random(12)
        for base, count, repeats in LAYERS:
            await begin(ctx, fetch, base, count, repeats)
            got = await receive(ctx, fetch.o, count * repeats, rng=rng, stall=stall)
            assert got == items[base : base + count] * repeats
            await ctx.tick().repeat(12)

    async def watch(ctx):
        offered = None
        async for *_, valid, item, taken in ctx.tick().sample(
            fetch.o.valid, fetch.o.payload, fetch.taken
        ):
            if offered is not None:
                late.append(taken)
                assert taken == offered
            offered = item if valid else None

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.add_process(watch)
    sim.run()
    assert len(late) >= sum(count * repeats for _, count, repeats in LAYERS)


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
def test_layers_stream_their_items_once_a_repetition(stall):
    m, fetch, items, fill = bench()

    async def testbench(ctx):
        await fill(ctx)
        rng = Random(11)
        for base, count, repeats in LAYERS:
            await begin(ctx, fetch, base, count, repeats)
            got = await receive(ctx, fetch.o, count * repeats, rng=rng, stall=stall)
            assert got == items[base : base + count] * repeats
            for _ in range(12):
                await ctx.tick()
                assert not ctx.get(fetch.o.valid), "more items than the layer has"

    simulate(m, fetch, testbench)


def test_a_blocked_stream_prefetches_without_losing_items():
    m, fetch, items, fill = bench()

    async def testbench(ctx):
        await fill(ctx)
        await begin(ctx, fetch, 4, 30, 2)
        await ctx.tick().repeat(60)
        assert await receive(ctx, fetch.o, 60) == items[4:34] * 2

    simulate(m, fetch, testbench)


@pytest.mark.parametrize(("base", "count", "repeats"), [(2, 40, 1), (2, 1, 40), (9, 4, 10)])
def test_the_first_item_comes_after_six_cycles_and_then_one_a_cycle(base, count, repeats):
    m, fetch, _, fill = bench()

    async def testbench(ctx):
        await fill(ctx)
        ctx.set(fetch.o.ready, 1)
        await begin(ctx, fetch, base, count, repeats)
        valid = []
        for _ in range(5 + count * repeats + 4):
            valid.append(ctx.get(fetch.o.valid))
            await ctx.tick()
        assert valid == [0] * 5 + [1] * (count * repeats) + [0] * 4

    simulate(m, fetch, testbench)


@pytest.mark.parametrize("stall", [0.0, 0.3, 0.8])
def test_the_direct_fetch_repeats_a_layer_until_the_next_begins(stall):
    m, fetch, items, fill = bench(DirectFetch)

    async def testbench(ctx):
        await fill(ctx)
        rng = Random(5)
        for base, count, repeats in ((0, 48, 2), (7, 1, 5), (5, 2, 4), (47, 1, 2), (20, 9, 3)):
            ctx.set(fetch.base, base)
            ctx.set(fetch.count, count)
            ctx.set(fetch.start, 1)
            await ctx.tick()
            ctx.set(fetch.start, 0)
            assert not ctx.get(fetch.o.valid), "an item of the layer before"
            await ctx.tick()
            assert ctx.get(fetch.o.valid), "the first item is late"
            got = await receive(ctx, fetch.o, count * repeats, rng=rng, stall=stall)
            assert got == items[base : base + count] * repeats
            assert ctx.get(fetch.o.valid), "one item a cycle"

    simulate(m, fetch, testbench)


def test_fetch_refuses_what_is_no_configuration():
    sentence = "Configuration must be an AcceleratorConfig, not None"
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}$"):
        WeightFetch(None)
