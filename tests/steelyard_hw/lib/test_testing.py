# amaranth: UnusedElaboratable=no
"""Stream helpers: they move every item once and catch a stream that breaks its contract."""

from random import Random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import fifo, stream
from amaranth.sim import Simulator

from steelyard_hw.lib.testing import monitor, receive, send


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_items_pass_a_queue_in_order_whatever_the_stalls(seed):
    items = [Random(0).getrandbits(8) for _ in range(60)]
    m = Module()
    m.submodules.queue = queue = fifo.SyncFIFO(width=8, depth=2)
    source = stream.Signature(8).create()
    sink = stream.Signature(8).create()
    m.d.comb += [
        queue.w_data.eq(source.payload),
        queue.w_en.eq(source.valid),
        source.ready.eq(queue.w_rdy),
        sink.payload.eq(queue.r_data),
        sink.valid.eq(queue.r_rdy),
        queue.r_en.eq(sink.ready),
    ]
    sim = Simulator(m)
    sim.add_clock(1e-6)

    async def sender(ctx):
        rng = None if seed is None else Random(seed)
        await send(ctx, source, items, rng=rng, stall=0.5)

    async def receiver(ctx):
        rng = None if seed is None else Random(seed + 100)
        assert await receive(ctx, sink, len(items), rng=rng, stall=0.5) == items

    sim.add_testbench(sender)
    sim.add_testbench(receiver)
    sim.add_process(monitor(source, "source"))
    sim.add_testbench(monitor(sink, "sink"), background=True)
    sim.run()


def test_without_a_generator_an_item_moves_every_cycle():
    link = stream.Signature(8).create()
    m = Module()
    m.submodules.queue = queue = fifo.SyncFIFO(width=8, depth=4)
    m.d.comb += [
        queue.w_data.eq(link.payload),
        queue.w_en.eq(link.valid),
        link.ready.eq(queue.w_rdy),
        queue.r_en.eq(1),
    ]
    sim = Simulator(m)
    sim.add_clock(1e-6)

    taken = []

    async def watch(ctx):
        while True:
            _, _, valid, ready = await ctx.tick().sample(link.valid, link.ready)
            taken.append(valid & ready)

    async def testbench(ctx):
        await send(ctx, link, range(10))

    sim.add_testbench(testbench)
    sim.add_process(watch)
    sim.run()
    assert taken == [1] * 10


@pytest.mark.parametrize("as_process", [True, False])
@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ([(1, 0, 5), (0, 0, 5)], "Stream 'bad' withdrew valid before ready"),
        (
            [(1, 0, 5), (1, 0, 6)],
            "Stream 'bad' changed its payload before ready, from 5 to 6",
        ),
        (
            [(1, 1, 5), (1, 0, 6), (1, 1, 7)],
            "Stream 'bad' changed its payload before ready, from 6 to 7",
        ),
    ],
)
def test_monitor_names_the_stream_that_breaks_the_contract(script, sentence, as_process):
    with pytest.raises(AssertionError, match=f"^{sentence}$"):
        play(script, as_process)


def test_monitor_lets_a_taken_item_change_and_leave():
    play([(0, 1, 3), (1, 0, 5), (1, 1, 5), (1, 1, 6), (0, 0, 7), (1, 0, 8), (1, 1, 8), (0, 0, 0)])


def play(script, as_process=True):
    """Simulate a stream that takes the script's (valid, ready, payload), one a cycle."""
    link = stream.Signature(8).create()
    m = Module()
    cycles = Signal(8)
    m.d.sync += cycles.eq(cycles + 1)
    sim = Simulator(m)
    sim.add_clock(1e-6)

    async def player(ctx):
        for valid, ready, payload in script:
            ctx.set(link.valid, valid)
            ctx.set(link.ready, ready)
            ctx.set(link.payload, payload)
            await ctx.tick()

    sim.add_testbench(player)
    if as_process:
        sim.add_process(monitor(link, "bad"))
    else:
        sim.add_testbench(monitor(link, "bad"), background=True)
    sim.run()
