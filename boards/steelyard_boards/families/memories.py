"""Cells that synthesis makes a memory of: block RAMs, or RAMs of LUTs, and what selects them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Mapping", "RamCosts", "mapped"]

BYTE = 9
"""Bits of a block RAM that are written together; a memory takes whole ones of these."""


@dataclass(frozen=True)
class RamCosts:
    """What yosys' `memory_libmap` weighs when it chooses cells for a memory.

    A bit that a multiplexer of two selects counts half, a bit of the address' decoder as well.

    Attributes
    ----------
    block : cost of a block RAM
    words, bits, cost : of a RAM that is made of LUTs
    """

    block: float
    words: int
    bits: int
    cost: float


@dataclass(frozen=True)
class Mapping:
    """What a memory becomes.

    Attributes
    ----------
    block_rams : of them
    lut_rams : of LUTs, in place of block RAMs
    selected_bits : bits that are selected, in steps of one of two
    """

    block_rams: int
    lut_rams: int = 0
    selected_bits: int = 0


# Columns and banks have equal memories, and so have configurations that are tried in turn.
@lru_cache(maxsize=1 << 12)
def mapped(
    shapes: Sequence[tuple[int, int]], depth: int, bits: int, costs: RamCosts | None = None
) -> Mapping:
    """What a memory with one read port becomes.

    Parameters
    ----------
    shapes : words and bits that a block RAM can have, a tuple
    depth, bits : words and bits of the memory
    costs : by which yosys chooses; without, the shape that takes fewest block RAMs is taken
    """
    if costs is None:
        return Mapping(min(-(-depth // words) * -(-bits // width) for words, width in shapes))
    choices = [_block(shape, depth, bits, costs) for shape in shapes]
    choices.append(_luts(depth, bits, costs))
    return min(choices, key=lambda each: each[0])[1]


def _block(shape: tuple[int, int], depth: int, bits: int, costs: RamCosts) -> tuple[float, Mapping]:
    """Cost and result of block RAMs of one shape, which words beside each other may share."""
    words, width = shape
    parts = -(-depth // words)
    byte = min(BYTE, width)
    own = -(-bits // byte) * byte
    count = -(-parts * own // width)
    return costs.block * count + _selection(parts, bits), Mapping(
        count, selected_bits=(parts - 1) * bits
    )


def _luts(depth: int, bits: int, costs: RamCosts) -> tuple[float, Mapping]:
    """Cost and result of RAMs of LUTs."""
    parts = -(-depth // costs.words)
    count = parts * -(-bits // costs.bits)
    return costs.cost * count + _selection(parts, bits), Mapping(0, count, (parts - 1) * bits)


def _selection(parts: int, bits: int) -> float:
    """Cost of reading and writing one of several parts."""
    return 0.5 * ((parts - 1) * bits + (parts if parts > 1 else 0))
