"""Words of several fields: a dictionary of their bits by name, the lowest first."""

from collections.abc import Mapping

__all__ = ["pack", "unpack"]


def pack(fields: Mapping[str, int], **values: int) -> int:
    """Word of fields that each fit their bits; those that are not given are 0."""
    word, low = 0, 0
    for name, bits in fields.items():
        word |= values.get(name, 0) << low
        low += bits
    return word


def unpack(fields: Mapping[str, int], word: int) -> dict[str, int]:
    """Fields of a word by name."""
    values = {}
    for name, bits in fields.items():
        values[name] = word & (1 << bits) - 1
        word >>= bits
    return values
