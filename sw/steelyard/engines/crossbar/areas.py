"""Mappings: which areas of a weight matrix take cells, and the index that says so.

Each mapping is a pair: `plan` finds the areas of a matrix and writes their index, `read` makes the
same areas of the index alone.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .crossbar import CrossbarConfig
from .index import IndexReader, IndexWriter, bits_for
from .patterns import Area, find_patterns, read_patterns

__all__ = ["MAPPINGS", "Layout"]

KEPT_DENSITY = 0.8
"""Share of nonzero weights from which `mixed` keeps a column as it is."""

JOINED_DENSITY = 0.8
"""Share of nonzero weights that a strip of `mixed` must have to take a further column."""


@dataclass(frozen=True)
class Layout:
    """What the index need not say: the matrix's size, its row sets and the configuration."""

    positions: int
    channels: int
    sets: NDArray[np.int32]
    config: CrossbarConfig


Plan = Callable[[NDArray[np.int8], Layout, IndexWriter], list[Area]]
Read = Callable[[Layout, IndexReader], list[Area]]


def _plan_traditional(matrix: NDArray[np.int8], layout: Layout, writer: IndexWriter) -> list[Area]:
    return [(np.arange(layout.positions), np.arange(layout.channels))]


def _read_traditional(layout: Layout, reader: IndexReader) -> list[Area]:
    return [(np.arange(layout.positions), np.arange(layout.channels))]


def _plan_structured(matrix: NDArray[np.int8], layout: Layout, writer: IndexWriter) -> list[Area]:
    rows, channels = (np.flatnonzero(matrix.any(axis=axis)) for axis in (1, 0))
    writer.write_subset("rows", rows, layout.positions)
    writer.write_subset("channels", channels, layout.channels)
    return [(rows, channels)]


def _read_structured(layout: Layout, reader: IndexReader) -> list[Area]:
    rows = reader.read_subset(layout.positions)
    return [(rows, reader.read_subset(layout.channels))]


def _strips(channels: int, config: CrossbarConfig) -> Iterator[NDArray[np.int64]]:
    """Runs of channels as wide as an operation unit."""
    for first in range(0, channels, config.ou_weights):
        yield np.arange(first, min(first + config.ou_weights, channels))


def _plan_ou_row(matrix: NDArray[np.int8], layout: Layout, writer: IndexWriter) -> list[Area]:
    areas: list[Area] = []
    for strip in _strips(layout.channels, layout.config):
        rows = np.flatnonzero(matrix[:, strip].any(axis=1))
        writer.write_subset("rows", rows, layout.positions)
        areas.append((rows, strip))
    return areas


def _read_ou_row(layout: Layout, reader: IndexReader) -> list[Area]:
    strips = _strips(layout.channels, layout.config)
    return [(reader.read_subset(layout.positions), strip) for strip in strips]


def _plan_pattern(matrix: NDArray[np.int8], layout: Layout, writer: IndexWriter) -> list[Area]:
    patterns = find_patterns(matrix, layout.sets, layout.config)
    patterns.write(writer)
    return patterns.areas()


def _read_pattern(layout: Layout, reader: IndexReader) -> list[Area]:
    return read_patterns(reader, layout.sets, layout.channels).areas()


def _parts(layout: Layout) -> Iterator[tuple[slice, slice]]:
    """Crossbar-sized sub-matrices: rows and channels."""
    height, width = layout.config.rows, layout.config.crossbar_weights
    for top in range(0, layout.positions, height):
        for left in range(0, layout.channels, width):
            yield (
                slice(top, min(top + height, layout.positions)),
                slice(left, min(left + width, layout.channels)),
            )


def _plan_mixed(matrix: NDArray[np.int8], layout: Layout, writer: IndexWriter) -> list[Area]:
    areas: list[Area] = []
    for rows, channels in _parts(layout):
        nonzero = matrix[rows, channels] != 0
        height, width = nonzero.shape
        dense = nonzero.sum(axis=0) >= KEPT_DENSITY * height
        kept = np.flatnonzero(dense)
        fine = np.flatnonzero(nonzero.any(axis=0) & ~dense)
        writer.write_subset("classes", kept, width)
        writer.write_subset("classes", fine, width)
        if len(kept):
            areas.append((np.arange(rows.start, rows.stop), kept + channels.start))
        for strip in _alike(nonzero[:, fine], layout.config.ou_weights):
            members = fine[strip]
            taken = np.flatnonzero(nonzero[:, members].any(axis=1))
            writer.write("channels", len(strip) - 1, bits_for(layout.config.ou_weights))
            writer.write("channels", strip, bits_for(len(fine)))
            writer.write_subset("rows", taken, height)
            areas.append((taken + rows.start, members + channels.start))
    return areas


def _read_mixed(layout: Layout, reader: IndexReader) -> list[Area]:
    areas: list[Area] = []
    for rows, channels in _parts(layout):
        height, width = rows.stop - rows.start, channels.stop - channels.start
        kept, fine = reader.read_subset(width), reader.read_subset(width)
        if len(kept):
            areas.append((np.arange(rows.start, rows.stop), kept + channels.start))
        left = len(fine)
        while left:
            count = reader.read_one(bits_for(layout.config.ou_weights)) + 1
            members = fine[reader.read(bits_for(len(fine)), count)]
            left -= count
            areas.append((reader.read_subset(height) + rows.start, members + channels.start))
    return areas


def _alike(nonzero: NDArray[np.bool_], width: int) -> list[NDArray[np.int64]]:
    """Columns in strips of up to `width` that keep much the same rows.

    A strip opens with the first free column and takes those that add the fewest rows, so columns
    pruned together come together again, while `JOINED_DENSITY` of the strip is nonzero: columns
    pruned alone stay alone. Ascending within a strip.
    """
    free = list(range(nonzero.shape[1]))
    strips = []
    while free:
        strip = [free.pop(0)]
        rows = nonzero[:, strip[0]].copy()
        while free and len(strip) < width:
            candidates = nonzero[:, free]
            added = (candidates & ~rows[:, None]).sum(axis=0)
            # Of equal additions the one that shares most: it leaves the least to others.
            nearest = int(np.lexsort((-candidates.sum(axis=0), added))[0])
            joined = rows | candidates[:, nearest]
            held = nonzero[:, [*strip, free[nearest]]].sum()
            if held < JOINED_DENSITY * joined.sum() * (len(strip) + 1):
                break
            rows = joined
            strip.append(free.pop(nearest))
        strips.append(np.sort(np.array(strip, np.int64)))
    return strips


MAPPINGS: dict[str, tuple[Plan, Read]] = {
    "traditional": (_plan_traditional, _read_traditional),
    "pattern": (_plan_pattern, _read_pattern),
    "mixed": (_plan_mixed, _read_mixed),
    "ou_row": (_plan_ou_row, _read_ou_row),
    "structured": (_plan_structured, _read_structured),
}
