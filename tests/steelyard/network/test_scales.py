"""Real scales as multiplier and shift."""

import numpy as np

from steelyard.network import add_fixed_point, fixed_point


def test_float32_ratios_are_exact_in_24_bits() -> None:
    rng = np.random.default_rng(11)
    ratios = np.exp2(rng.uniform(-39.9, 22.9, 2000)).astype(np.float32)
    multiplier, shift = fixed_point(ratios)
    assert multiplier.min() >= 1 << 23
    assert multiplier.max() < 1 << 24
    assert shift.min() >= 1
    assert shift.max() <= 63
    np.testing.assert_array_equal(np.ldexp(multiplier.astype(np.float64), -shift), ratios)


def test_tiny_ratios_never_move_an_output() -> None:
    multiplier, shift = fixed_point([2.0**-41, 1e-30])
    assert shift.tolist() == [63, 63]
    assert multiplier.tolist() == [1 << 22, 0]


def test_add_shares_the_larger_ratios_shift() -> None:
    assert add_fixed_point(0.75, 0.1, "a") == (
        12582912,
        round(float(np.float32(0.1)) * 2**24),
        24,
    )
