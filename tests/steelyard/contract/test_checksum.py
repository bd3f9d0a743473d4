"""CRC of moved words against long division."""

from itertools import combinations

import numpy as np
import pytest

from steelyard.contract.checksum import CRC_BITS, POLYNOMIAL, crc, power

DIVISOR = 1 << CRC_BITS | POLYNOMIAL


def remainder(value):
    """Of a polynomial whose coefficients are the bits of an integer."""
    while value.bit_length() > CRC_BITS:
        value ^= DIVISOR << value.bit_length() - DIVISOR.bit_length()
    return value


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 7, 64, 100])
def test_it_is_the_remainder_of_all_words(count):
    words = np.random.default_rng(count).integers(0, 1 << 32, count, dtype=np.uint32)
    value = int.from_bytes(words.astype(">u4").tobytes(), "big")
    assert crc(words) == remainder(value)


def test_powers_are_remainders_and_the_polynomial_is_primitive():
    for exponent in (0, 1, 31, 32, 33, 63, 200):
        assert power(exponent) == remainder(1 << exponent)
    order = (1 << CRC_BITS) - 1

    def raised(exponent):
        result, factor = 1, 2
        while exponent:
            if exponent & 1:
                result = product(result, factor)
            factor = product(factor, factor)
            exponent >>= 1
        return result

    def product(a, b):
        total = 0
        for bit in range(CRC_BITS):
            total ^= (a << bit) * (b >> bit & 1)
        return remainder(total)

    assert raised(order) == 1
    assert all(raised(order // prime) != 1 for prime in (3, 5, 17, 257, 65537))


def test_no_two_changed_bits_and_no_exchange_of_words_cancel():
    words = np.random.default_rng(5).integers(0, 1 << 32, 8, dtype=np.uint32)
    right = crc(words)
    for a, b in combinations(range(8 * CRC_BITS), 2):
        if (a * 31 + b) % 23:
            continue
        wrong = words.copy()
        for bit in (a, b):
            wrong[bit // CRC_BITS] ^= np.uint32(1 << bit % CRC_BITS)
        assert crc(wrong) != right
    for a, b in combinations(range(8), 2):
        wrong = words.copy()
        wrong[[a, b]] = words[[b, a]]
        assert crc(wrong) != right
