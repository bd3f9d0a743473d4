# amaranth: UnusedElaboratable=no
"""The requantizer of one lane equals the number contract, bit for bit."""

import random
from fractions import Fraction

import pytest
from amaranth.sim import Simulator

from steelyard_hw.output.requantizer import Requantizer

INT32 = (-(1 << 31), (1 << 31) - 1)
LARGEST = (1 << 24) - 1


def reference(total: int, shift: int, z_y: int = 0, lo: int = -128, hi: int = 127) -> int:
    """Contract of DESIGN section 2: Python rounds fractions half to even."""
    return min(max(z_y + round(Fraction(total, 1 << shift)), lo), hi)


def requantize(items, *, addends=(), z_y=0, lo=-128, hi=127):
    """Results of `items` (sum, bias, multiplier, shift), one a cycle, perhaps with addends."""
    dut = Requantizer(addends=bool(addends))
    results = []

    async def testbench(ctx):
        ctx.set(dut.z_y, z_y)
        ctx.set(dut.lo, lo)
        ctx.set(dut.hi, hi)
        for cycle in range(len(items) + dut.latency):
            item = items[cycle] if cycle < len(items) else (0, 0, 0, 1)
            ports = (dut.i_sum, dut.bias, dut.multiplier, dut.shift)
            for port, value in zip(ports, item, strict=True):
                ctx.set(port, value)
            if 1 <= cycle <= len(addends):
                ctx.set(dut.addend, addends[cycle - 1])
            if cycle >= dut.latency:
                results.append(ctx.get(dut.o_y))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    return results


def test_negative_sums_have_a_multiplier_of_their_own():
    rng = random.Random(11)
    cases = [
        (value, bias, multiplier, negative, rng.randint(1, 40))
        for value in (*INT32, -70, -5, -4, -3, 0, 12345, -(1 << 20))
        for bias in (-1, 0, 1, 4)
        if INT32[0] <= value + bias <= INT32[1]
        for multiplier, negative in (
            (LARGEST, 0), (0, LARGEST), (1 << 17, (1 << 17) - 1), (rng.getrandbits(24), 3),
            (rng.getrandbits(24), rng.getrandbits(24)),
        )
    ]  # fmt: skip
    dut = Requantizer(slopes=True)
    results = []

    async def testbench(ctx):
        ctx.set(dut.lo, -128)
        ctx.set(dut.hi, 127)
        ports = (dut.i_sum, dut.bias, dut.multiplier, dut.negative, dut.shift)
        for cycle in range(len(cases) + dut.latency):
            for port, value in zip(ports, cases[min(cycle, len(cases) - 1)], strict=True):
                ctx.set(port, value)
            if cycle >= dut.latency:
                results.append(ctx.get(dut.o_y))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    for case, result in zip(cases, results, strict=True):
        value, bias, multiplier, negative, shift = case
        total = value + bias
        assert result == reference(total * (negative if total < 0 else multiplier), shift), case


def check(cases, **clamp):
    """Assert that all (sum, bias, multiplier, shift) come out as the contract says."""
    results = requantize(cases, **clamp)
    for case, result in zip(cases, results, strict=True):
        value, bias, multiplier, shift = case
        assert result == reference((value + bias) * multiplier, shift, **clamp), case


def test_ties_round_to_the_even_neighbour_at_every_shift():
    cases = []
    for shift in range(1, 24):
        for half in (-255, -7, -5, -3, -1, 1, 3, 5, 7, 253):
            for near in (-1, 0, 1):
                cases.append((half, near, 1 << (shift - 1), shift))
    for shift in range(2, 30):
        for half in (-5, -3, -1, 1, 3, 5):
            for near in (-1, 0, 1):
                cases.append(((half << (shift - 1)) + near, 0, 1, shift))
    check(cases)


def test_extremes_are_exact():
    check(
        [
            (value, 0, multiplier, shift)
            for value in (*INT32, -1, 0, 1, INT32[0] + 1, 1 << 30, -(1 << 30))
            for multiplier in (0, 1, 1 << 17, (1 << 17) - 1, 1 << 23, LARGEST)
            for shift in (1, 2, 16, 17, 32, 33, 46, 47, 48, 49, 54, 55, 56, 57, 62, 63)
        ]
    )


def test_identity_passes_every_int8():
    check([(value, 0, 1 << 22, 22) for value in range(-128, 128)])


@pytest.mark.parametrize("seed", range(3))
def test_random_sums_of_every_magnitude(seed):
    rng = random.Random(seed)
    cases = []
    for _ in range(1200):
        # A result near the int8 range is the interesting one: choose the shift for it.
        total = rng.randint(*INT32) >> rng.randrange(32)
        multiplier = rng.randint(0, LARGEST) >> rng.choice((0, 0, 0, rng.randrange(24)))
        bits = (abs(total) * multiplier).bit_length()
        shift = min(max(bits - rng.randint(-2, 12), 1), 63)
        bias = rng.randint(max(INT32[0], INT32[0] + total), min(INT32[1], INT32[1] + total))
        cases.append((total - bias, bias, multiplier, shift))
    lo = rng.randint(-128, 0)
    check(cases, z_y=rng.randint(-128, 127), lo=lo, hi=rng.randint(lo, 127))


@pytest.mark.parametrize("z_y", [-128, -1, 127])
def test_zero_point_and_clamp(z_y):
    check([(value, 0, 1 << 22, 22) for value in range(-300, 300)], z_y=z_y, lo=-100, hi=90)


def test_addends_are_added_before_the_shift():
    rng = random.Random(5)
    # Products and addends at their ends, and sums that are a tie where neither is one.
    items = [(value, 0, LARGEST, 32) for value in (-255, 255, -255, 255)]
    addends = [-255 * LARGEST, 255 * LARGEST, 255 * LARGEST, -(1 << 32)]
    for shift in range(1, 25):
        items += [(1, 0, 1 << (shift - 1), shift), (3, 0, 1, shift)]
        addends += [1 << shift, (1 << (shift - 1)) - 3]
    for _ in range(500):
        items.append((rng.randint(-255, 255), 0, rng.getrandbits(24), rng.randint(1, 40)))
        addends.append(rng.randint(-255, 255) * rng.getrandbits(24))
    results = requantize(items, addends=addends)
    for item, addend, result in zip(items, addends, results, strict=True):
        assert result == reference(item[0] * item[2] + addend, item[3]), (item, addend)
