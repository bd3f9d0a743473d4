"""Kernel reordering: which weights of a row set each output channel keeps, and few patterns for it.

A *row set* is what a pattern is a pattern of: the taps of one input channel, or, in layers without
small kernels (1x1, fully connected), a run of consecutive rows of the weight matrix.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .crossbar import CrossbarConfig
from .index import IndexReader, IndexWriter, bits_for

__all__ = ["Area", "Patterns", "find_patterns", "read_patterns", "row_sets"]

Area = tuple[NDArray[np.integer], NDArray[np.integer]]
"""Rows and channels of the weight matrix whose weights all take cells."""

MAX_SET = 32
"""Rows of the largest set: a pattern is a mask in one machine word."""
MAX_PATTERNS = 256


def row_sets(
    shape: tuple[int, int, int, int], config: CrossbarConfig, *, fully_connected: bool = False
) -> NDArray[np.int32]:
    """Row sets of a layer, int32 (sets, rows), ascending; -1 fills up the last run.

    Parameters
    ----------
    shape : output channels, input channels, kernel height and width
    fully_connected : whether the kernel is the whole map, and its taps no neighbourhood
    """
    _, inputs, height, width = shape
    taps = height * width
    if not fully_connected and 1 < taps <= MAX_SET:
        sets = np.arange(taps)[None, :] * inputs + np.arange(inputs)[:, None]
        return sets.astype(np.int32)
    size = min(config.ou_rows, MAX_SET)
    runs = -(-inputs * taps // size)
    sets = np.arange(runs * size).reshape(runs, size)
    return np.where(sets < inputs * taps, sets, -1).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Patterns:
    """Patterns of a layer and the pattern of each of its kernels."""

    sets: NDArray[np.int32]
    """int32 (sets, rows), as of :func:`row_sets`."""
    masks: NDArray[np.int64]
    """int64 (patterns,): bit k says that row k of a set is kept."""
    chosen: NDArray[np.int64]
    """int64 (sets, out_channels): number of the pattern, -1 for a kernel of zeros."""

    def areas(self) -> list[Area]:
        """Rows and channels of the patterns' blocks: by row set, then by pattern."""
        kept = (self.masks[:, None] >> np.arange(self.sets.shape[1])) & 1 == 1
        areas: list[Area] = []
        for rows, chosen in zip(self.sets, self.chosen, strict=True):
            # A stable sort is the reordering: equal patterns adjacent, channels ascending.
            order = np.argsort(chosen, kind="stable")
            present, begins = np.unique(chosen[order], return_index=True)
            for pattern, channels in zip(present, np.split(order, begins[1:]), strict=True):
                if pattern >= 0:
                    taken = rows[kept[pattern]]
                    areas.append((taken[taken >= 0], channels))
        return areas

    def write(self, writer: IndexWriter) -> None:
        """Write as index: masks, then which kernels have which pattern, in the shortest form.

        Two bits say which: 0 the count of kernels of each pattern in each row set and the list of
        their channels; else pattern numbers, 1 of all kernels with 0 for one of zeros, 2 of those
        that a bit for each kernel marks, 3 of all kernels, none being of zeros.
        """
        patterns, channels = len(self.masks), self.chosen.shape[1]
        writer.write("patterns", patterns, bits_for(MAX_PATTERNS + 1))
        writer.write("patterns", self.masks, self.sets.shape[1])
        if not patterns:
            return
        present = self.chosen >= 0
        kernels, count_bits = int(present.sum()), bits_for(channels + 1)
        lengths = [
            len(self.sets) * patterns * count_bits + kernels * bits_for(channels),
            present.size * bits_for(patterns + 1),
            present.size + kernels * bits_for(patterns),
        ]
        if kernels == present.size:
            lengths.append(kernels * bits_for(patterns))
        form = lengths.index(min(lengths))
        writer.write("patterns", form, 2)
        if form == 0:
            for chosen in self.chosen:
                counts = np.bincount(chosen + 1, minlength=patterns + 1)
                order = np.argsort(chosen, kind="stable")[counts[0] :]
                writer.write("kernels", counts[1:], count_bits)
                writer.write("channels", order, bits_for(channels))
        elif form == 1:
            writer.write("kernels", self.chosen.ravel() + 1, bits_for(patterns + 1))
        else:
            if form == 2:
                writer.write("kernels", present.ravel(), 1)
            writer.write("kernels", self.chosen[present], bits_for(patterns))


def read_patterns(reader: IndexReader, sets: NDArray[np.int32], channels: int) -> Patterns:
    """Inverse of :meth:`Patterns.write`."""
    patterns = reader.read_one(bits_for(MAX_PATTERNS + 1))
    masks = reader.read(sets.shape[1], patterns)
    chosen = np.full((len(sets), channels), -1, np.int64)
    form = reader.read_one(2) if patterns else None
    if form == 0:
        for row in chosen:
            counts = reader.read(bits_for(channels + 1), patterns)
            members = reader.read(bits_for(channels), int(counts.sum()))
            row[members] = np.repeat(np.arange(patterns), counts)
    elif form == 1:
        chosen = reader.read(bits_for(patterns + 1), chosen.size).reshape(chosen.shape) - 1
    elif form is not None:
        present = np.ones(chosen.shape, np.bool_)
        if form == 2:
            present = reader.read(1, chosen.size).reshape(chosen.shape) == 1
        chosen[present] = reader.read(bits_for(patterns), int(present.sum()))
    return Patterns(sets, masks, chosen)


def find_patterns(
    matrix: NDArray[np.int8], sets: NDArray[np.int32], config: CrossbarConfig
) -> Patterns:
    """Patterns with which a weight matrix takes the fewest bits of cells and index together.

    For each tried number of patterns, these are the most frequent sets of nonzero weights, and one
    that covers the rest where it must; each kernel takes the smallest that covers its weights. So
    weights that merely quantized to zero open no patterns of their own.

    Parameters
    ----------
    matrix : int8 (positions, out_channels)
    sets : as of :func:`row_sets`
    """
    nonzero = (matrix[sets] != 0) & (sets >= 0)[:, :, None]
    places = np.int64(1) << np.arange(sets.shape[1], dtype=np.int64)
    found = np.einsum("srk,r->sk", nonzero, places)
    distinct, inverse = np.unique(found, return_inverse=True)
    counts = np.bincount(inverse.ravel(), minlength=len(distinct))
    live = distinct != 0
    if not live.any():
        return Patterns(sets, np.zeros(0, np.int64), np.full(found.shape, -1, np.int64))
    # Ties by the mask itself: the same weights always give the same patterns.
    frequent = distinct[live][np.lexsort((distinct[live], -counts[live]))]
    candidates: list[tuple[int, Patterns]] = []
    for wanted in _numbers(len(frequent)):
        masks = _covering(frequent, wanted)
        owner = np.full(len(distinct), -1, np.int64)
        owner[live] = _smallest_cover(distinct[live], masks)
        # A pattern that lost all its kernels to smaller ones is none.
        used = np.unique(owner[live])
        renumbered = np.full(len(masks) + 1, -1, np.int64)
        renumbered[used] = np.arange(len(used))
        candidate = Patterns(sets, masks[used], renumbered[owner][inverse].reshape(found.shape))
        writer = IndexWriter()
        candidate.write(writer)
        kept = np.bitwise_count(masks[owner[live]]).astype(np.int64)
        cells = int((counts[live] * kept).sum()) * config.weight_bitlines
        candidates.append((cells * config.cell_bits + writer.finish().bits, candidate))
    return min(candidates, key=lambda pair: pair[0])[1]


def _numbers(distinct: int) -> list[int]:
    """Numbers of patterns to try."""
    tried = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, MAX_PATTERNS]
    return [number for number in tried if number < distinct] + [min(distinct, MAX_PATTERNS)]


def _covering(frequent: NDArray[np.int64], wanted: int) -> NDArray[np.int64]:
    """At most `wanted` masks, the most frequent first, that cover all."""
    masks = frequent[:wanted]
    rest = frequent[_smallest_cover(frequent, masks) < 0]
    if len(rest):
        masks = masks[: wanted - 1]
        rest = frequent[_smallest_cover(frequent, masks) < 0]
        masks = np.append(masks, np.bitwise_or.reduce(rest))
    return masks


def _smallest_cover(wanted: NDArray[np.int64], masks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the mask with the fewest rows that covers each wanted one, -1 where none does."""
    order = np.argsort(np.bitwise_count(masks), kind="stable")
    owner = np.full(len(wanted), -1, np.int64)
    for number in order:
        free = (owner < 0) & (wanted & ~masks[number] == 0)
        owner[free] = number
    return owner
