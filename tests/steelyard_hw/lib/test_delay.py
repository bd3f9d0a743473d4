# amaranth: UnusedElaboratable=no
"""Delays: how long, in what shape, and what a reset leaves of them."""

import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data
from amaranth.sim import Simulator

from steelyard_hw.lib.delay import delay, delays

PAIR = data.StructLayout({"low": signed(3), "high": 2})


def simulate(m, testbench) -> None:
    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()


@pytest.mark.parametrize("cycles", [0, 1, 3])
def test_a_value_comes_so_many_cycles_later_and_keeps_its_shape(cycles):
    m, value, later = Module(), Signal(PAIR), Signal(PAIR)
    delayed = delay(m, value, cycles)
    assert delayed.shape() == PAIR
    m.d.comb += later.eq(delayed)
    m.d.sync += Signal(name="clocked").eq(1)

    async def testbench(ctx):
        sent = [{"low": n % 8 - 4, "high": n % 3} for n in range(10)]
        for number, item in enumerate(sent):
            ctx.set(value, item)
            await ctx.delay(1e-9)
            seen = ctx.get(later)
            due = sent[number - cycles] if number >= cycles else {"low": 0, "high": 0}
            assert {"low": seen.low, "high": seen.high} == due
            await ctx.tick()

    simulate(m, testbench)


def test_all_stages_are_there_and_named_from_one_on():
    m, value = Module(), Signal(4)
    first, *others = delays(m, value, 3, "count")
    assert first is value
    assert [each.name for each in others] == ["count_1", "count_2", "count_3"]


@pytest.mark.parametrize("reset_less", [True, False])
def test_a_reset_clears_those_that_have_one(reset_less):
    m, value = Module(), Signal(4)
    later = delay(m, value, 1, reset_less=reset_less)
    assert later.reset_less is reset_less
