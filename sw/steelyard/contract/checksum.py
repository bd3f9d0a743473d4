"""CRC of words that are moved from external memory, which accelerator and host both make."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["CRC_BITS", "POLYNOMIAL", "crc", "power"]

CRC_BITS = 32
POLYNOMIAL = 0xAF
"""x**32 + x**7 + x**5 + x**3 + x**2 + x + 1 without its highest power: primitive, so no two bits
that change go unnoticed, however far apart, nor any that lie in one word."""
BYTE = 256


def power(exponent: int) -> int:
    """x to a power, modulo the polynomial; bit n is the coefficient of x**n."""
    value = 1
    for _ in range(exponent):
        value = _by_x(value)
    return value


def crc(words: NDArray[np.uint32]) -> int:
    """CRC of words, uint32 (n,): their remainder, the first word being the highest powers."""
    size = 1 << max(words.size - 1, 0).bit_length()
    # Zeros before the first word change nothing.
    values = np.concatenate([np.zeros(size - words.size, np.uint32), words])
    factor = power(CRC_BITS)
    while values.size > 1:
        values = _times(values[0::2], factor) ^ values[1::2]
        factor = int(_times(np.array([factor], np.uint32), factor)[0])
    return int(values[0])


def _by_x(value: int) -> int:
    value <<= 1
    return value ^ (1 << CRC_BITS | POLYNOMIAL) if value >> CRC_BITS else value


def _times(values: NDArray[np.uint32], factor: int) -> NDArray[np.uint32]:
    """Products of values and a factor, modulo the polynomial."""
    result = np.zeros(values.shape, np.uint32)
    for place in range(0, CRC_BITS, 8):
        table = np.zeros(1, np.uint32)
        for _ in range(8):
            table = np.concatenate([table, table ^ np.uint32(factor)])
            factor = _by_x(factor)
        result ^= table[values >> np.uint32(place) & np.uint32(BYTE - 1)]
    return result
