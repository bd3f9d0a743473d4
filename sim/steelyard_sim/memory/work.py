"""Random work for a memory, and what it must give."""

import numpy as np
from numpy.typing import NDArray

from .simulation import Burst, Stalls

__all__ = ["golden_reads", "random_bursts", "random_stalls", "random_words"]

LONGEST = 700
"""Words of a random burst at most, more than two rows of the smaller chips."""


def random_bursts(rng: np.random.Generator, word_bits: int, count: int) -> list[Burst]:
    """Bursts that come back to places where others were, in the ways that a controller may fail on.

    Lengths from none to some rows, many of them short; addresses near the last one, near the ends
    of rows, in other rows of the same bank, at the ends of the memory, and anywhere.

    Parameters
    ----------
    word_bits : of an address
    count : number of bursts
    """
    size = 1 << word_bits
    bursts: list[Burst] = []
    address = int(rng.integers(size))
    writes = True
    places: list[int] = []
    for _ in range(count):
        if rng.random() < 0.5:
            words = int(rng.integers(0, 9))
        else:
            words = int(2 ** rng.uniform(0, np.log2(LONGEST)))
        kind = rng.random()
        if kind < 0.3:
            # A few places only, so that reads find what was written.
            address = places[int(rng.integers(len(places)))] if places else address
        elif kind < 0.5:
            address += int(rng.integers(-40, 41))
        elif kind < 0.6:
            row = 1 << int(rng.integers(7, 10))
            address = int(rng.integers(size // row)) * row - int(rng.integers(0, 4))
        elif kind < 0.75:
            address ^= 1 << int(rng.integers(8, word_bits))
        elif kind < 0.8:
            address = size - int(rng.integers(1, 400))
        elif kind < 0.9:
            address = int(rng.integers(size))
        address %= size
        if rng.random() < 0.4:
            writes = not writes
        bursts.append(Burst(address, words, writes))
        if writes:
            places = [*places[-7:], address]
        if rng.random() < 0.5:
            address += words
    return bursts


def random_words(rng: np.random.Generator, bursts: list[Burst]) -> NDArray[np.uint32]:
    """Words for all that the bursts write."""
    count = sum(each.words for each in bursts if each.write)
    return rng.integers(0, 1 << 32, count, dtype=np.uint32)


def random_stalls(rng: np.random.Generator) -> Stalls:
    """No stalls, few, or so many that a stream stands still most of the time."""
    command, write, read = (int(rng.choice((0, 0, 30, 128, 240))) for _ in range(3))
    return Stalls(command=command, write=write, read=read)


def golden_reads(
    memory: NDArray[np.uint32], bursts: list[Burst], words: NDArray[np.uint32]
) -> NDArray[np.uint32]:
    """Words that the bursts read, one burst after another; `memory` is written.

    Parameters
    ----------
    memory : what the memory holds, uint32, one word an address
    bursts : commands, in order
    words : of those that write
    """
    found = [np.zeros(0, np.uint32)]
    used = 0
    for each in bursts:
        places = np.arange(each.address, each.address + each.words) % memory.size
        if each.write:
            memory[places] = words[used : used + each.words]
            used += each.words
        else:
            found.append(memory[places])
    return np.concatenate(found)
