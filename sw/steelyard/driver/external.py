"""External memory of a board: its read latency, and words that it has lost."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contract.registers import READ_LATENCIES, Register, Space
from .errors import MemoryFault
from .port import HostPort

__all__ = ["LostWord", "ReadLatency", "find_read_latency", "rewrite"]

BLOCK = 32
"""Words at each of some places, each of which differs from all others in many bits."""
OWN = 0


@dataclass(frozen=True)
class ReadLatency:
    """Read latency of an external memory.

    Attributes
    ----------
    chosen : cycles, 0 for what the board was made with
    good : all that give what was written, as far as they were tried
    """

    chosen: int
    good: tuple[int, ...]

    def __str__(self) -> str:
        cycles = ", ".join(str(each) for each in self.good if each != OWN)
        own = "the board's own" if self.chosen == OWN else f"{self.chosen} cycles"
        return f"read latency {own}" + (f" (good: {cycles})" if cycles else "")


def find_read_latency(port: HostPort, words: int, *, all_of_them: bool = False) -> ReadLatency:
    """Choose the read latency of an accelerator's external memory, and leave it chosen.

    What the board was made with stays if it gives what was written; else the middle of those that
    do is taken. Overwrites some words of the memory.

    Parameters
    ----------
    words : of the memory
    all_of_them : try every latency, even if the board's own is good

    Raises
    ------
    MemoryFault
        If none gives what was written.
    """
    places = sorted({0, words // 2, words - BLOCK})
    patterns = [_pattern(place) for place in places]
    for place, pattern in zip(places, patterns, strict=True):
        port.write(Space.EXTERNAL, place, pattern)

    def works(latency: int) -> bool:
        port.write(Space.REGISTERS, Register.READ_LATENCY, np.array([latency], np.uint32))
        return all(
            np.array_equal(port.read(Space.EXTERNAL, place, BLOCK), pattern)
            for place, pattern in zip(places, patterns, strict=True)
        )

    own = works(OWN)
    if own and not all_of_them:
        return ReadLatency(OWN, (OWN,))
    good = tuple(latency for latency in READ_LATENCIES if works(latency))
    if not own and not good:
        raise MemoryFault(
            f"The external memory gives back other words than were written, with every read "
            f"latency from {READ_LATENCIES[0]} to {READ_LATENCIES[-1]} cycles; check that the "
            "bitstream is the one of this board."
        )
    chosen = OWN if own else good[len(good) // 2]
    works(chosen)
    return ReadLatency(chosen, (OWN, *good) if own else good)


def _pattern(place: int) -> NDArray[np.uint32]:
    """Words of some places, uint32 (BLOCK,)."""
    return np.random.default_rng(place).integers(0, 1 << 32, BLOCK, dtype=np.uint32)


@dataclass(frozen=True)
class LostWord:
    """Word of an external memory that was not what had been written.

    Attributes
    ----------
    address : in words of 32 bits
    found, written : what it was, and what it is again
    """

    address: int
    found: int
    written: int

    def __str__(self) -> str:
        return f"word {self.address} was {self.found:#010x} in place of {self.written:#010x}"


def rewrite(port: HostPort, words: NDArray[np.uint32]) -> list[LostWord]:
    """Read an external memory back and write anew what differs; the words that did.

    Parameters
    ----------
    words : that it should hold, uint32 (n,), from its first word on
    """
    found = port.filled(Space.EXTERNAL, words.size)
    places = np.flatnonzero(found != words)
    for run in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
        if run.size:
            port.write(Space.EXTERNAL, int(run[0]), words[run[0] : run[-1] + 1])
    return [LostWord(int(n), int(found[n]), int(words[n])) for n in places]
