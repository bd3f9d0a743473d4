"""Index bits of a mapping: what hardware must know beside the cells, written and read by bits."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Index", "IndexReader", "IndexWriter", "bits_for"]


def bits_for(values: int) -> int:
    """Bits that tell `values` different values apart."""
    return max(0, values - 1).bit_length()


@dataclass(frozen=True)
class Index:
    """Encoded index of one layer."""

    data: bytes
    """The bits, lowest of a byte first, the last byte filled with zeros."""
    parts: dict[str, int]
    """Bits by what they say."""

    @property
    def bits(self) -> int:
        """All bits."""
        return sum(self.parts.values())


@dataclass
class IndexWriter:
    """Bits in writing, counted under the part they belong to."""

    _bits: list[NDArray[np.uint8]] = field(default_factory=list)
    _parts: dict[str, int] = field(default_factory=dict)

    def write(self, part: str, values: ArrayLike, width: int) -> None:
        """Unsigned numbers of `width` bits each, lowest bit first."""
        numbers = np.atleast_1d(np.asarray(values, dtype=np.int64))
        shifts = np.arange(width, dtype=np.int64)
        self._bits.append(((numbers[:, None] >> shifts) & 1).astype(np.uint8).ravel())
        self._parts[part] = self._parts.get(part, 0) + len(numbers) * width

    def write_subset(self, part: str, members: NDArray[np.integer], size: int) -> None:
        """Ascending members of ``range(size)``, in the shortest of four forms.

        Two bits say which: 0 a bit for each number, 1 the count and list of the members, 2 the
        count and list of all others, 3 the count, the low bits of the members, and for each value
        of their high bits in turn a one for every member and a zero (Elias and Fano).
        """
        count_bits, width = bits_for(size + 1), bits_for(size)
        low = _low_bits(len(members), size)
        lengths = [
            size,
            *(count_bits + n * width for n in (len(members), size - len(members))),
            count_bits + len(members) * (low + 1) + (size >> low) + 1,
        ]
        form = lengths.index(min(lengths))
        self.write(part, form, 2)
        bitmap = np.zeros(size, np.int64)
        bitmap[members] = 1
        if form == 0:
            self.write(part, bitmap, 1)
        elif form == 3:
            self.write(part, len(members), count_bits)
            self.write(part, members & ((1 << low) - 1), low)
            high = np.zeros(len(members) + (size >> low) + 1, np.int64)
            high[(members >> low) + np.arange(len(members))] = 1
            self.write(part, high, 1)
        else:
            listed = np.flatnonzero(bitmap == (form == 1))
            self.write(part, len(listed), count_bits)
            self.write(part, listed, width)

    def finish(self) -> Index:
        """The index written so far."""
        bits = np.concatenate([np.zeros(0, np.uint8), *self._bits])
        return Index(np.packbits(bits, bitorder="little").tobytes(), dict(self._parts))


def _low_bits(members: int, size: int) -> int:
    """Low bits of a member in the fourth form of a subset: those of the mean distance."""
    return (size // members).bit_length() - 1 if members else bits_for(size)


class IndexReader:
    """Bits of an index, read in the order of their writing."""

    def __init__(self, index: Index) -> None:
        self._bits = np.unpackbits(np.frombuffer(index.data, np.uint8), bitorder="little")
        self._at = 0

    def read(self, width: int, count: int = 1) -> NDArray[np.int64]:
        """Numbers of `width` bits each."""
        taken = self._bits[self._at : self._at + width * count].astype(np.int64)
        self._at += width * count
        return (taken.reshape(count, width) << np.arange(width, dtype=np.int64)).sum(axis=1)

    def read_one(self, width: int) -> int:
        """One number of `width` bits."""
        return int(self.read(width)[0])

    def read_subset(self, size: int) -> NDArray[np.int64]:
        """Members written by :meth:`IndexWriter.write_subset`."""
        form = self.read_one(2)
        if form == 0:
            return np.flatnonzero(self.read(1, size))
        count = self.read_one(bits_for(size + 1))
        if form == 3:
            low = _low_bits(count, size)
            below = self.read(low, count)
            high = np.flatnonzero(self.read(1, count + (size >> low) + 1)) - np.arange(count)
            return (high << low) | below
        listed = self.read(bits_for(size), count)
        return listed if form == 1 else np.setdiff1d(np.arange(size), listed)
