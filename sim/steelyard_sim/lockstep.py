"""Two simulations of one design that must do the same in every clock cycle."""

from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from .simulation import Simulation

__all__ = ["Difference", "Lockstep"]

T = TypeVar("T")


class Difference(AssertionError):
    """First transfer in which two simulations differ; the sentence names it."""


class Lockstep:
    """Reference and subject behind the interface of one :class:`.simulation.Simulation`.

    Each call goes to both. They must take and give the same words, and have made the same number of
    clock cycles then.

    Parameters
    ----------
    reference, subject : closed with this
    names : of both, for messages

    Members
    -------
    words_in, words_out : words that have gone to and come from each of them
    """

    def __init__(
        self,
        reference: Simulation,
        subject: Simulation,
        names: tuple[str, str] = ("RTL", "netlist"),
    ) -> None:
        self._both = reference, subject
        self._names = names
        self.words_in = self.words_out = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def cycles(self) -> int:
        """Clock cycles since creation, of each."""
        return self._same("clock cycles", *(each.cycles for each in self._both))

    @property
    def reference_cycles(self) -> int:
        """Clock cycles of the reference since creation, also after a difference."""
        return self._both[0].cycles

    def step(self, cycles: int) -> None:
        """Clock with no transfer on either stream."""
        for each in self._both:
            each.step(cycles)

    def write(self, words: NDArray[np.uint32], limit: int) -> int:
        """Number of `words`, uint32 (n,), that both take within `limit` cycles."""
        taken = [each.write(words, limit) for each in self._both]
        self.words_in += self._same("words taken", *taken)
        return self._at_once(taken[0])

    def read(self, count: int, limit: int) -> NDArray[np.uint32]:
        """Up to `count` words that both give within `limit` cycles, uint32 (n,)."""
        first, second = (each.read(count, limit) for each in self._both)
        self._same("words given", len(first), len(second))
        different = np.flatnonzero(first != second)
        if different.size:
            place = int(different[0])
            raise Difference(
                f"Word {self.words_out + place} from the accelerator is {first[place]:#010x} in "
                f"the {self._names[0]} and {second[place]:#010x} in the {self._names[1]} "
                f"({different.size} of {len(first)} words differ)"
            )
        self.words_out += len(first)
        return self._at_once(first)

    def wait_idle(self, limit: int) -> bool:
        """Whether both are idle within `limit` cycles."""
        idle = [each.wait_idle(limit) for each in self._both]
        self._same(f"the state at cycle {self._both[0].cycles}: idle", *idle)
        return self._at_once(idle[0])

    def close(self) -> None:
        """Free both. May be called again."""
        for each in self._both:
            each.close()

    def _at_once(self, result: T) -> T:
        """Result, if both have made as many clock cycles for it."""
        _ = self.cycles
        return result

    def _same(self, what: str, first: int, second: int) -> int:
        if first != second:
            raise Difference(
                f"After {self.words_in} words to and {self.words_out} from the accelerator "
                f"{what} are {first} in the {self._names[0]} and {second} in the {self._names[1]}"
            )
        return first
