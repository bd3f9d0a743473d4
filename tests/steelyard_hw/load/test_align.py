# amaranth: UnusedElaboratable=no
"""Aligner against a list of banks, for random segments of random words."""

from random import Random

import pytest
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard.contract.latencies import ALIGN_LATENCY
from steelyard_hw.load.align import Aligner


def random_word(rng, config, step):
    """Segments (first lane, bank of byte 0, banks) of one word, bytes inside the map, and bytes."""
    lanes, width, size = config.engine.lanes, config.engine.window_lanes, config.banks
    segments, expected = [], [0] * width
    inside = [rng.random() < 0.8 for _ in range(width)]
    lane = 0
    while lane < lanes:
        length = rng.choice([1, rng.randint(1, lanes), lanes])
        length = min(length, lanes - lane, size // step)
        rotate, banks = rng.randrange(size), [rng.randint(-128, 127) for _ in range(size)]
        segments.append((lane, rotate, banks))
        # Bytes behind the segment are those of later ones, if there are any.
        for n in range(lane, width):
            expected[n] = banks[(rotate + step * n) % size]
        lane += length
    return segments, inside, expected


@pytest.mark.parametrize("lanes", [4, 8, 16])
@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(
    ("wide", "neighbours"),
    [(False, False), (True, False), (True, True)],
    ids=["narrow", "wide", "neighbours"],
)
def test_words_are_assembled_from_segments_with_gaps_between_them(lanes, step, wide, neighbours):
    seed = lanes * step
    print(f"seed {seed}")
    rng = Random(seed)
    config = configure(
        "array", lanes=lanes, requantizers=lanes, wide_reads=wide, shared_taps=neighbours
    )
    dut = Aligner(config)
    pad_value = rng.randint(-128, 127)
    due = {}
    cycle = 0

    async def testbench(ctx):
        ctx.set(dut.step2, step == 2)
        ctx.set(dut.pad_value, pad_value)
        for _ in range(60):
            segments, inside, expected = random_word(rng, config, step)
            for number, (first, rotate, banks) in enumerate(segments):
                ctx.set(dut.i_from, first)
                ctx.set(dut.i_inside, sum(bit << n for n, bit in enumerate(inside)))
                # The loader may wait here, already showing where the segment begins.
                while rng.random() < 0.2:
                    ctx.set(dut.i_data, [rng.randint(-128, 127) for _ in range(config.banks)])
                    ctx.set(dut.i_rotate, rng.randrange(config.banks))
                    ctx.set(dut.i_done, rng.randint(0, 1))
                    await step_clock(ctx)
                ctx.set(dut.i_data, banks)
                ctx.set(dut.i_rotate, rotate)
                ctx.set(dut.i_done, number == len(segments) - 1)
                ctx.set(dut.i_valid, 1)
                if number == len(segments) - 1:
                    bytes_out = [
                        byte if bit else pad_value
                        for byte, bit in zip(expected, inside, strict=True)
                    ]
                    due[cycle + ALIGN_LATENCY] = bytes_out
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
