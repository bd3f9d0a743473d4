# amaranth: UnusedElaboratable=no
"""The requantizer without multipliers equals the number contract, in as many cycles as it says."""

import random
import re
from fractions import Fraction

import pytest
from amaranth.sim import Simulator

from steelyard.contract.sections import SERIAL_SHIFTS
from steelyard_hw.output.requantizer_serial import SerialRequantizer

INT32 = (-(1 << 31), (1 << 31) - 1)
LARGEST = (1 << 24) - 1


def reference(total, shift, z_y, lo, hi):
    return min(max(z_y + round(Fraction(total, 1 << shift)), lo), hi)


def requantize(cases, bits, *, z_y=0, lo=-128, hi=127):
    """Results of cases (value, multiplier, shift), each read in the last cycle that it may take."""
    dut = SerialRequantizer(bits)
    rng = random.Random(1)
    results = []

    async def testbench(ctx):
        ctx.set(dut.z_y, z_y)
        ctx.set(dut.lo, lo)
        ctx.set(dut.hi, hi)
        for value, multiplier, shift in cases:
            ctx.set(dut.start, 1)
            ctx.set(dut.multiplier, multiplier)
            ctx.set(dut.shift, shift)
            # What lies there before the start must not matter.
            ctx.set(dut.value, rng.randint(*INT32))
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.value, value)
            await ctx.tick().repeat((shift + 13) // bits + rng.choice([0, 0, 3]))
            results.append(ctx.get(dut.o_y))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return results


def check(cases, bits, *, z_y=0, lo=-128, hi=127):
    results = requantize(cases, bits, z_y=z_y, lo=lo, hi=hi)
    for case, result in zip(cases, results, strict=True):
        value, multiplier, shift = case
        assert result == reference(value * multiplier, shift, z_y, lo, hi), case


BITS = pytest.mark.parametrize("bits", [2, 4])
SHIFTS = range(SERIAL_SHIFTS[0], SERIAL_SHIFTS[1] + 1)


@BITS
def test_extremes_are_exact(bits):
    cases = [
        (value, multiplier, shift)
        for value in (*INT32, -1, 0, INT32[0] + 1, 1 << 30)
        for multiplier in (0, 1 << 23, LARGEST)
        for shift in (15, 17, 18, 28, 42)
    ]
    check(cases, bits)


@BITS
def test_ties_round_to_the_even_neighbour_at_every_shift(bits):
    cases = []
    for shift in SHIFTS[::3]:
        for half in (-255, -3, -1, 1, 3):
            for near in (-1, 0, 1):
                cases.append(((half << max(shift - 24, 0)) + near, 1 << min(shift - 1, 23), shift))
    check(cases, bits)


@BITS
@pytest.mark.parametrize("seed", range(2))
def test_random_scales_of_every_size(bits, seed):
    print(f"seed {seed}")
    rng = random.Random(seed)
    z_y = rng.choice([-128, 127, rng.randint(-128, 127)])
    lo = rng.randint(-128, 100)
    cases = []
    for _ in range(120):
        shift, multiplier = rng.choice(SHIFTS), rng.randint(1 << 23, LARGEST)
        # Results in and around int8, so that few are clamped.
        reach = min((300 << shift) // multiplier + 1, INT32[1])
        cases.append((rng.randint(-reach, reach), multiplier, shift))
    check(cases, bits, z_y=z_y, lo=lo, hi=rng.randint(lo, 127))


def test_other_steps_are_refused():
    sentence = "Bits of a step must be 2 or 4, not 3"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        SerialRequantizer(3)
