"""Dynamic formation of operation units: rows with an input bit, chosen anew in every step.

Sparse ReRAM Engine (Yang et al., ISCA 2019, doi 10.1145/3307650.3322271) forms operation units so:
the wordlines of a block share its bitlines, so any `ou_rows` of them may work together, and those
without an input bit need not be among them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .crossbar import CrossbarConfig

__all__ = ["Formed", "formed", "greatest_levels", "live_rows", "row_runs"]

GATHERED = 1 << 24
"""Cells of rows that are gathered at once if all have a bit: sums should stay in a core's cache."""


@dataclass(frozen=True, eq=False)
class Formed:
    """Operation units that some output pixels form out of a block's rows, in all steps.

    Members
    -------
    pixels : of each unit, intp (units,), counted from the first pixel of these
    steps : of each unit, intp (units,)
    rows : of each unit, intp (most rows, units), counted in the block; units with fewer are filled
        up with the number of rows that the block has
    digits : what is applied to these, uint8, 0 where they are filled up
    """

    pixels: NDArray[np.intp]
    steps: NDArray[np.intp]
    rows: NDArray[np.intp]
    digits: NDArray[np.uint8]


def formed(
    inputs: NDArray[np.uint8], config: CrossbarConfig, width: int
) -> Iterator[tuple[slice, Formed]]:
    """Operation units of a block's rows over all steps, some output pixels at a time.

    Parameters
    ----------
    inputs : uint8 (rows, pixels), of the block's rows in its order
    width : cells of a row that will be gathered for each live row
    """
    rows, pixels = inputs.shape
    size = max(1, GATHERED // max(1, rows * config.steps * width))
    for first in range(0, pixels, size):
        part = inputs[:, first : first + size].T
        applied = np.stack([digits(part, step, config) for step in range(config.steps)], axis=1)
        pixel, step, row = np.nonzero(applied)
        # Live rows of a pixel's step are neighbours, in the block's order.
        place = pixel * config.steps + step
        starts = np.flatnonzero(np.diff(place, prepend=-1))
        rank = np.arange(len(place)) - np.repeat(starts, np.diff(starts, append=len(place)))
        within = rank % config.ou_rows
        unit = np.cumsum(within == 0) - 1
        begins = np.flatnonzero(within == 0)
        shape = int(within.max(initial=-1)) + 1, len(begins)
        members, values = np.full(shape, rows), np.zeros(shape, np.uint8)
        members[within, unit], values[within, unit] = row, applied[pixel, step, row]
        found = Formed(pixel[begins], step[begins], members, values)
        yield slice(first, first + len(part)), found


def digits(inputs: NDArray[np.uint8], step: int, config: CrossbarConfig) -> NDArray[np.uint8]:
    """What a step applies of inputs, uint8 of their shape."""
    mask = np.uint8((1 << config.dac_bits) - 1)
    return (inputs >> np.uint8(step * config.dac_bits)) & mask


def live_rows(inputs: NDArray[np.uint8], config: CrossbarConfig) -> NDArray[np.int32]:
    """Rows with an input bit in each step, int32 (steps, pixels), of inputs (rows, pixels)."""
    return np.stack(
        [np.count_nonzero(digits(inputs, step, config), axis=0) for step in range(config.steps)]
    ).astype(np.int32)


def row_runs(rows: int, config: CrossbarConfig) -> list[slice]:
    """Rows of a block of so many whose cells may meet in a bitline sum: those of one operation
    unit, or with dynamic formation all of them."""
    size = max(rows, 1) if config.dynamic else config.ou_rows
    return [slice(first, first + size) for first in range(0, rows, size)]


def greatest_levels(levels: NDArray[np.integer], config: CrossbarConfig) -> NDArray[np.int64]:
    """Greatest sums of levels (rows, ...) of one :func:`row_runs` run that an operation unit of it
    can meet, int64 (...): of its `ou_rows` greatest cells."""
    if len(levels) > config.ou_rows:
        levels = np.partition(levels, -config.ou_rows, axis=0)[-config.ou_rows :]
    found: NDArray[np.int64] = levels.sum(axis=0, dtype=np.int64)
    return found
