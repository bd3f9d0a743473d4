# amaranth: UnusedElaboratable=no
"""Aligner against a list of banks, for random segments of random words."""

from random import Random

import pytest
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard.contract.latencies import ALIGN_LATENCY
from steelyard_hw.load.align import Aligner


def random_word(rng, lanes, step):
    """Segments (first lane, bank of lane 0, banks) of one word, lanes inside the map, and lanes."""
    segments, expected = [], [0] * lanes
    inside = [rng.random() < 0.8 for _ in range(lanes)]
    lane = 0
    while lane < lanes:
        length = rng.choice([1, rng.randint(1, lanes), lanes])
        length = min(length, lanes - lane, lanes if step == 1 else lanes // 2)
        rotate, banks = rng.randrange(lanes), [rng.randint(-128, 127) for _ in range(lanes)]
        segments.append((lane, rotate, banks))
        for n in range(lane, lane + length):
            expected[n] = banks[(rotate + step * n) % lanes]
        lane += length
    return segments, inside, expected


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("step", [1, 2])
def test_words_are_assembled_from_segments_with_gaps_between_them(lanes, step):
    seed = lanes * step
    print(f"seed {seed}")
    rng = Random(seed)
    dut = Aligner(configure("array", lanes=lanes, requantizers=lanes))
    pad_value = rng.randint(-128, 127)
    due = {}
    cycle = 0

    async def testbench(ctx):
        ctx.set(dut.step2, step == 2)
        ctx.set(dut.pad_value, pad_value)
        for _ in range(60):
            segments, inside, expected = random_word(rng, lanes, step)
            for number, (first, rotate, banks) in enumerate(segments):
                ctx.set(dut.i_from, first)
                ctx.set(dut.i_inside, sum(bit << n for n, bit in enumerate(inside)))
                # The loader may wait here, already showing where the segment begins.
                while rng.random() < 0.2:
                    ctx.set(dut.i_data, [rng.randint(-128, 127) for _ in range(lanes)])
                    ctx.set(dut.i_rotate, rng.randrange(lanes))
                    ctx.set(dut.i_done, rng.randint(0, 1))
                    await step_clock(ctx)
                ctx.set(dut.i_data, banks)
                ctx.set(dut.i_rotate, rotate)
                ctx.set(dut.i_done, number == len(segments) - 1)
                ctx.set(dut.i_valid, 1)
                if number == len(segments) - 1:
                    lanes_out = [
                        byte if bit else pad_value
                        for byte, bit in zip(expected, inside, strict=True)
                    ]
                    due[cycle + ALIGN_LATENCY] = lanes_out
                await step_clock(ctx)
                ctx.set(dut.i_valid, 0)
        for _ in range(ALIGN_LATENCY + 1):
            await step_clock(ctx)
        assert not due

    async def step_clock(ctx):
        nonlocal cycle
        _, _, valid, word = await ctx.tick().sample(dut.o_valid, dut.o_data)
        assert valid == (cycle in due)
        if valid:
            assert list(word) == due.pop(cycle)
        cycle += 1

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()
