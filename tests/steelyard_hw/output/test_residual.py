# amaranth: UnusedElaboratable=no
"""Fused residual additions against the golden model's rounding, and the words that they read."""

import random
from fractions import Fraction

import pytest
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard.contract.latencies import ADDEND_LATENCY, FUSED_LATENCY
from steelyard_hw.output.residual import FusedSum, ResidualAdder
from steelyard_hw.shell.memory import ActivationMemory


def simulate(dut, *testbenches):
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for number, testbench in enumerate(testbenches):
        (sim.add_testbench if number == 0 else sim.add_process)(testbench)
    sim.run()


def code(rng):
    """Int8, the ends more often."""
    return rng.choice([-128, 127, rng.randint(-128, 127), rng.randint(-128, 127)])


def parameters(rng):
    """Static inputs of a layer: scales near those of networks, or any at all."""
    shift = rng.randint(17, 32)
    if rng.random() < 0.3:
        m_a, m_b = rng.choice([(0, 0), ((1 << 24) - 1,) * 2, (1 << 23, 1 << 22)])
    elif rng.random() < 0.5:
        # Exact halves: ties.
        m_a, m_b = (1 << min(shift - 1, 23)), 3 << min(shift - 3, 22)
    else:
        m_a, m_b = (min((1 << 24) - 1, int(rng.uniform(0.1, 1.5) * 2**shift)) for _ in "ab")
    lo, hi = sorted((code(rng), code(rng)))
    return {
        "z_a": code(rng), "z_b": code(rng), "m_a": m_a, "m_b": m_b, "shift": shift - 17,
        "z_y": code(rng), "lo": lo, "hi": hi,
    }  # fmt: skip


def expected(a, b, p):
    total = (a - p["z_a"]) * p["m_a"] + (b - p["z_b"]) * p["m_b"]
    # Python rounds fractions half to even.
    y = p["z_y"] + round(Fraction(total, 1 << p["shift"] + 17))
    return min(max(y, p["lo"]), p["hi"])


@pytest.mark.parametrize("seed", range(6))
def test_sums_are_rounded_once_half_to_even(seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    dut = FusedSum()

    async def testbench(ctx):
        for _ in range(40):
            p = parameters(rng)
            for name, value in p.items():
                ctx.set(getattr(dut, name), value)
            sent = []
            for cycle in range(60 + FUSED_LATENCY):
                a, b = code(rng), code(rng)
                ctx.set(dut.a, a)
                ctx.set(dut.b, b)
                sent.append(expected(a, b, p))
                if cycle >= FUSED_LATENCY:
                    assert ctx.get(dut.y) == sent[cycle - FUSED_LATENCY], p
                await ctx.tick()

    simulate(dut, testbench)


SHAPES = {
    "two beats": {"lanes": 8, "requantizers": 4},
    "four beats": {"lanes": 8, "requantizers": 2},
    "one bank a lane": {"lanes": 8, "requantizers": 4, "wide_reads": False, "shared_taps": False},
    "no tables": {"lanes": 4, "requantizers": 2, "tables": False},
}


def shaped(shape):
    return configure("array", activation_words=64, parameter_words=48, **SHAPES[shape])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_other_operand_is_read_while_other_lanes_are_written(shape):
    config = shaped(shape)
    lanes, requantizers, beats = (
        config.engine.lanes, config.output.requantizers, config.drain_beats
    )  # fmt: skip
    rng = random.Random(shape)
    dut = ActivationMemory(config)
    words = [[code(rng) for _ in range(lanes)] for _ in range(64)]

    async def testbench(ctx):
        for row, word in enumerate(words):
            for beat in range(beats):
                ctx.set(dut.write.en, 1)
                ctx.set(dut.write.row, row)
                ctx.set(dut.write.beat, beat)
                for n in range(requantizers):
                    ctx.set(dut.write.data[n], word[beat * requantizers + n])
                await ctx.tick()
        asked = []
        for cycle in range(400):
            # Beat n is asked for in cycle n of the rhythm; what is written then is another one.
            row, beat = rng.randrange(64), cycle % beats
            ctx.set(dut.addend.row, row)
            ctx.set(dut.addend.beat, beat)
            asked.append(words[row][beat * requantizers :][:requantizers])
            written, place = rng.randrange(64), (beat + 1) % beats
            ctx.set(dut.write.en, rng.random() < 0.7)
            ctx.set(dut.write.row, written)
            ctx.set(dut.write.beat, place)
            data = [code(rng) for _ in range(requantizers)]
            for n, value in enumerate(data):
                ctx.set(dut.write.data[n], value)
            if ctx.get(dut.write.en):
                first = place * requantizers
                words[written] = (
                    words[written][:first] + data + words[written][first + requantizers :]
                )
            if cycle >= ADDEND_LATENCY:
                found = [ctx.get(dut.addend.data[n]) for n in range(requantizers)]
                assert found == asked[cycle - ADDEND_LATENCY]
            await ctx.tick()

    simulate(dut, testbench)


@pytest.mark.parametrize("shape", SHAPES)
def test_results_pass_at_once_or_are_added_to_the_words_asked_for(shape):
    config = shaped(shape)
    requantizers, beats = config.output.requantizers, config.drain_beats
    rng = random.Random(shape)
    dut = ResidualAdder(config)

    def byte(row, beat, lane):
        return (row * 31 + beat * 7 + lane * 3) % 256 - 128

    async def memory(ctx):
        """Bytes of the place that was asked for, as late as the activation memory gives them."""
        history = []
        async for *_, row, beat in ctx.tick().sample(dut.addend.row, dut.addend.beat):
            history.append((row, beat))
            if len(history) >= ADDEND_LATENCY:
                place = history[-ADDEND_LATENCY]
                for lane in range(requantizers):
                    ctx.set(dut.addend.data[lane], byte(*place, lane))

    async def testbench(ctx):
        for fused in (0, 1, 1, 0):
            p, offset = parameters(rng), rng.randint(-20, 20)
            layer = {
                "fused": fused, "addend_offset": offset, "z_a": p["z_a"], "z_b": p["z_b"],
                "m_a": p["m_a"], "m_b": p["m_b"], "sum_shift": p["shift"], "z_sum": p["z_y"],
                "lo_sum": p["lo"], "hi_sum": p["hi"],
            }  # fmt: skip
            for name, value in layer.items():
                ctx.set(getattr(dut.layer, name), value)
            # What comes, cycle by cycle: nothing, or a place and codes.
            coming = [
                (rng.randrange(20, 44), cycle % beats, [code(rng) for _ in range(requantizers)])
                if rng.random() < 0.7
                else None
                for cycle in range(80)
            ]
            wanted = {}
            for cycle in range(len(coming) + 40):
                for port, late in ((dut.coming, 0), (dut.results, dut.lead)):
                    place = cycle - late
                    now = coming[place] if 0 <= place < len(coming) else None
                    ctx.set(port.en, now is not None)
                    if now is not None:
                        ctx.set(port.row, now[0])
                        ctx.set(port.beat, now[1])
                        if late:
                            for lane, value in enumerate(now[2]):
                                ctx.set(port.data[lane], value)
                            row, beat, codes = now
                            if fused:
                                codes = [
                                    expected(a, byte(row + offset, beat, lane), p)
                                    for lane, a in enumerate(codes)
                                ]
                            wanted[cycle + FUSED_LATENCY * fused] = (row, beat, codes)
                await ctx.delay(0)
                assert ctx.get(dut.write.en) == (cycle in wanted)
                if cycle in wanted:
                    found = [ctx.get(dut.write.data[lane]) for lane in range(requantizers)]
                    place = ctx.get(dut.write.row), ctx.get(dut.write.beat)
                    assert (*place, found) == wanted[cycle]
                await ctx.tick()

    simulate(dut, testbench, memory)


def test_what_is_no_configuration_is_refused():
    with pytest.raises(TypeError, match="^Configuration must be an AcceleratorConfig, not 5$"):
        ResidualAdder(5)
