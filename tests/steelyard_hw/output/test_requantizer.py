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


def requantize(items, *, beats=1, z_y=0, lo=-128, hi=127):
    """Results of `items` (sum, bias, multiplier, shift, hold, join), one a cycle."""
    dut = Requantizer(beats)
    results = []

    async def testbench(ctx):
        ctx.set(dut.z_y, z_y)
        ctx.set(dut.lo, lo)
        ctx.set(dut.hi, hi)
        for cycle in range(len(items) + dut.latency):
            item = items[cycle] if cycle < len(items) else (0, 0, 0, 1, 0, 0)
            ports = (dut.i_sum, dut.bias, dut.multiplier, dut.shift, dut.hold, dut.join)
            for port, value in zip(ports, item, strict=True):
                ctx.set(port, value)
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
    dut = Requantizer(1, slopes=True)
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
    results = requantize([(*case, 0, 0) for case in cases], **clamp)
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


@pytest.mark.parametrize("beats", [1, 2, 4])
def test_held_products_are_summed_before_the_shift(beats):
    rng = random.Random(beats)
    items, expected = [], []

    def operand():
        return (rng.randint(*INT32) >> rng.randrange(32), 0, rng.randint(0, LARGEST))

    def idle(often):
        while rng.random() < often:
            items.append((rng.randint(*INT32), 0, LARGEST, 9, 0, 0))
            expected.append(reference(items[-1][0] * LARGEST, 9))

    for word in range(100):
        gaps = 0.4 * (word % 2)
        shift = rng.randint(1, 63)
        firsts = [operand() for _ in range(beats)]
        if word < 8:
            # Products whose sum needs the 57th bit, and whose sum is a tie that each alone is not.
            edge = [(INT32[word % 2], 0, LARGEST), (1 + word, 0, 1)][word // 2 % 2]
            firsts, shift = [edge] * beats, [47, 1 + word % 3][word // 2 % 2]
        seconds = [operand() if word >= 8 else first for first in firsts]
        for first in firsts:
            idle(gaps)
            items.append((*first, shift, 1, 0))
            expected.append(None)
        for first, second in zip(firsts, seconds, strict=True):
            idle(gaps)
            items.append((*second, shift, 0, 1))
            expected.append(reference(first[0] * first[2] + second[0] * second[2], shift))

    results = requantize(items, beats=beats)
    for n, (result, wanted) in enumerate(zip(results, expected, strict=True)):
        assert wanted is None or result == wanted, (n, items[n])


@pytest.mark.parametrize("beats", [0, -1, "2", 1.0])
def test_bad_beats_are_refused(beats):
    with pytest.raises(ValueError, match=r"^Held beats must be a positive integer, not "):
        Requantizer(beats)
