# amaranth: UnusedElaboratable=no
"""The vector unit against plain integers: maximum, sum, pairs, drain order, tags and timing."""

import random

import pytest
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard_hw.output.vector import VectorUnit

MAXIMUM, SUM, PAIR = 0, 1, 2
SHAPES = [(4, 4), (4, 2), (8, 2), (4, 1)]


def small(lanes, requantizers):
    return configure(
        "array", lanes=lanes, requantizers=requantizers, parameter_words=32, activation_words=64
    )


def second(operands):
    return operands[1]


def reduce(config, mode, windows, *, gaps=0.0, seed=0):
    """Feed windows (lists of words) as tightly as allowed; return beats got and beats expected."""
    rng = random.Random(seed)
    schedule, expected = [], []
    free = 0
    for words in windows:
        for n, word in enumerate(words):
            first, last = n == 0, n == len(words) - 1
            while rng.random() < gaps:
                schedule.append(None)
            while last and len(schedule) < free:
                schedule.append(None)
            tag = rng.randrange(32), rng.randrange(64)
            schedule.append((word, first, last, tag))
        cycle = len(schedule) - 1
        free = cycle + config.drain_beats
        combine = {MAXIMUM: max, SUM: sum, PAIR: second}[mode]
        results = [combine(lane) for lane in zip(*words, strict=True)]
        width = config.output.requantizers
        for beat in range(config.drain_beats):
            lanes = results[beat * width : (beat + 1) * width]
            firsts = words[0][beat * width : (beat + 1) * width] if mode == PAIR else None
            expected.append((cycle + VectorUnit.latency + beat, lanes, firsts, beat, *tag, 0, 0, 0))
    dut = VectorUnit(config)
    got = []

    async def testbench(ctx):
        # Pairs are in use while the mode of windows is anything.
        ctx.set(dut.mode, rng.randrange(2) if mode == PAIR else mode)
        ctx.set(dut.pair, int(mode == PAIR))
        shown = (9, 9)
        for cycle in range(len(schedule) + config.drain_beats + dut.latency):
            item = schedule[cycle] if cycle < len(schedule) else None
            ctx.set(dut.i_valid, int(item is not None))
            noise = [rng.randint(-128, 127) for _ in range(config.engine.lanes)]
            word, first, last, tag = item or (noise, rng.randrange(2), rng.randrange(2), (9, 9))
            ctx.set(dut.i_data, word)
            ctx.set(dut.i_first, int(first))
            ctx.set(dut.i_last, int(last))
            # Its parameters and row come a cycle behind a word.
            for port, value in zip((dut.i_param, dut.i_row), shown, strict=True):
                ctx.set(port, value)
            shown = tag
            if ctx.get(dut.o_valid):
                beat = dut.o
                lanes = [ctx.get(beat.data[n]) for n in range(config.output.requantizers)]
                fields = (
                    beat.beat,
                    beat.param,
                    beat.row,
                    beat.accumulate,
                    beat.store,
                    beat.psum,
                )
                firsts = [ctx.get(beat.operand[n]) for n in range(config.output.requantizers)]
                firsts = firsts if mode == PAIR else None
                got.append((cycle, lanes, firsts, *(ctx.get(field) for field in fields)))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return got, expected


def words(rng, lanes, count):
    edge = rng.choice((None, None, -128, 127))
    return [
        [rng.randint(-128, 127) if edge is None else edge for _ in range(lanes)]
        for _ in range(count)
    ]


@pytest.mark.parametrize("lanes, requantizers", SHAPES)
@pytest.mark.parametrize("mode", [MAXIMUM, SUM])
@pytest.mark.parametrize("gaps", [0.0, 0.5])
def test_windows_of_every_length(lanes, requantizers, mode, gaps):
    rng = random.Random(lanes + requantizers)
    windows = [words(rng, lanes, rng.choice((1, 1, 2, 4, 9))) for _ in range(60)]
    got, expected = reduce(small(lanes, requantizers), mode, windows, gaps=gaps, seed=mode)
    assert got == expected


@pytest.mark.parametrize("lanes, requantizers", SHAPES)
@pytest.mark.parametrize("gaps", [0.0, 0.5])
@pytest.mark.parametrize("bits", [8, 24])
def test_two_operands_leave_side_by_side(lanes, requantizers, gaps, bits):
    rng = random.Random(lanes * requantizers + bits)
    pairs = [words(rng, lanes, 2) for _ in range(60)]
    config = small(lanes, requantizers).with_(vector_bits=bits)
    got, expected = reduce(config, PAIR, pairs, gaps=gaps)
    assert got == expected


@pytest.mark.parametrize("value", [-128, 127])
def test_large_windows_sum_exactly(value):
    windows = [[[value] * 4] * 300, [[-1 - value] * 4] * 2]
    got, expected = reduce(small(4, 2), SUM, windows)
    assert got == expected
    assert got[0][1] == [300 * value] * 2


def test_something_else_than_a_configuration_is_refused():
    with pytest.raises(TypeError, match=r"^Configuration must be an AcceleratorConfig, not None$"):
        VectorUnit(None)
