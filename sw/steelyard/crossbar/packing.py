"""Places of blocks in crossbars: rectangles packed on shelves, first fit, largest first.

Blocks of about one height stand side by side on a shelf as wide as a crossbar, and shelves are
stacked in crossbars; or the same with the axes exchanged, whichever takes fewer crossbars. Pattern
blocks, which come in a few heights, fill the first kind well; narrow strips the second.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = ["pack"]


def pack(
    heights: NDArray[np.integer], widths: NDArray[np.integer], rows: int, columns: int
) -> NDArray[np.int32]:
    """Places of rectangles in as few crossbars as the packing finds; deterministic.

    Parameters
    ----------
    heights, widths : wordlines and bitlines of each rectangle, none larger than a crossbar
    rows, columns : wordlines and bitlines of a crossbar

    Returns
    -------
    int32 (rectangles, 3): crossbar, first wordline, first bitline; crossbars are counted from 0 and
    none is empty
    """
    if not len(heights):
        return np.zeros((0, 3), np.int32)
    high, wide = heights.astype(np.int64), widths.astype(np.int64)
    bins, first, second = _shelves(high, wide, rows, columns)
    turned, column, row = _shelves(wide, high, columns, rows)
    if turned.max() < bins.max():
        bins, first, second = turned, row, column
    return np.stack([bins, first, second], axis=1).astype(np.int32)


def _shelves(
    heights: NDArray[np.int64], widths: NDArray[np.int64], rows: int, columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Crossbar, first wordline and first bitline of each rectangle on horizontal shelves."""
    order = np.lexsort((-widths, -heights))
    shelf, left = _first_fit(widths[order], columns)
    # A shelf is as high as the first, and so the highest, of its rectangles.
    _, opening = np.unique(shelf, return_index=True)
    stack, top = _first_fit(heights[order][opening], rows)
    bins, first, second = (np.empty(len(order), np.int64) for _ in range(3))
    bins[order], first[order], second[order] = stack[shelf], top[shelf], left
    return bins, first, second


def _first_fit(
    lengths: NDArray[np.int64], capacity: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bin of each length in turn, the first with room, and where in it the length begins."""
    free = np.full(len(lengths), capacity, np.int64)
    used = 0
    bins, begins = np.empty(len(lengths), np.int64), np.empty(len(lengths), np.int64)
    for i, length in enumerate(lengths):
        room = free[: used + 1] >= length
        which = int(room.argmax())
        used = max(used, which + 1)
        bins[i], begins[i] = which, capacity - free[which]
        free[which] -= length
    return bins, begins
