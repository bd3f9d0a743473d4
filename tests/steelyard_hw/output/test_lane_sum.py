# amaranth: UnusedElaboratable=no
"""The sum of a word's lanes against plain integers."""

import random

import pytest
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard.contract.latencies import LANE_SUM_LATENCY
from steelyard_hw.output.lane_sum import LaneSum


def run(lanes, count, taps):
    """What leaves in each cycle, as (valid, first, last, total), for what enters in each."""
    dut = LaneSum(configure("array", lanes=lanes, requantizers=1))
    got = []

    async def testbench(ctx):
        ctx.set(dut.count, count)
        await ctx.tick()
        ctx.set(dut.i_ends, taps[0][2])
        await ctx.tick()
        for (valid, first, last, word), after in zip(taps, [*taps[1:], taps[0]], strict=True):
            ctx.set(dut.i_valid, valid)
            ctx.set(dut.i_first, first)
            ctx.set(dut.i_last, last)
            ctx.set(dut.i_ends, after[2])
            ctx.set(dut.i_data, word)
            ports = (dut.o_valid, dut.o_first, dut.o_last, dut.o_total)
            got.append(tuple(ctx.get(port) for port in ports))
            assert ctx.get(dut.across) == (count > 0)
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return got


def drawn(rng, lanes, count):
    edge = rng.choice((None, None, -128, 127))
    return [
        (
            rng.randrange(2), rng.randrange(2), rng.randrange(2),
            [rng.randint(-128, 127) if edge is None else edge for _ in range(lanes)],
        )
        for _ in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize("lanes, count", [(4, 1), (4, 4), (8, 3), (16, 16), (16, 5)])
def test_sums_come_two_cycles_later_and_leave_out_what_is_beyond_the_map(lanes, count):
    taps = drawn(random.Random(count), lanes, 200)
    got = run(lanes, count, taps)
    for (valid, first, last, word), found in zip(taps, got[LANE_SUM_LATENCY:], strict=False):
        total = sum(word[:count] if last else word)
        assert found == (valid, first, last, total)


def test_words_that_are_not_summed_pass_at_once():
    taps = drawn(random.Random(3), 8, 50)
    assert [found[:3] for found in run(8, 0, taps)] == [tap[:3] for tap in taps]
