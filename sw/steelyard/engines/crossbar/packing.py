"""Places of blocks in crossbars: rectangles cut from free rectangles, largest first, best fit.

Every placed rectangle leaves two free ones (a guillotine packing). Rectangles in descending area
fill what large ones leave with ever smaller ones, whether these are flat pattern blocks or tall
narrow strips.
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
    order = np.lexsort((-wide, -high, -high * wide))
    # What is too small for all that follow need not be kept.
    least = [np.minimum.accumulate(side[order][::-1])[::-1] for side in (high, wide)]
    free = _Free(rows, columns)
    places = np.empty((len(order), 3), np.int32)
    sizes = zip(high[order].tolist(), wide[order].tolist(), strict=True)
    after = zip(*(np.append(side[1:], 1).tolist() for side in least), strict=True)
    for number, size, rest in zip(order.tolist(), sizes, after, strict=True):
        places[number] = free.place(*size, *rest)
    return places


class _Free:
    """Free rectangles of the crossbars opened so far.

    Parameters
    ----------
    rows, columns : size of a crossbar
    """

    def __init__(self, rows: int, columns: int) -> None:
        self._size = rows, columns
        self._crossbars = 0
        self._count = 0
        # Of each rectangle: crossbar, first wordline, first bitline, height, width.
        self._table = np.zeros((5, 256), np.int64)

    def place(
        self, height: int, width: int, least_height: int, least_width: int
    ) -> tuple[int, int, int]:
        """Crossbar, first wordline and first bitline of a rectangle that is free no more.

        Parameters
        ----------
        height, width : size of the rectangle
        least_height, least_width : smallest sizes that are still to come
        """
        above, beside = self._table[3:, : self._count] - ((height,), (width,))
        # Of negative remainders the smaller one stays negative: it does not fit.
        short = np.minimum(above, beside)
        fits = short >= 0
        if fits.any():
            which = int(np.where(fits, short, np.iinfo(np.int64).max).argmin())
        else:
            which = self._count
            self._add(self._crossbars, 0, 0, *self._size)
            self._crossbars += 1
        crossbar, row, column, rows, columns = self._table[:, which].tolist()
        self._count -= 1
        self._table[:, which] = self._table[:, self._count]
        below, right = rows - height, columns - width
        # Of the two ways to cut the rest, the one with the largest rectangle.
        if max(below * columns, right * height) > max(below * width, right * rows):
            right_height, below_width = height, columns
        else:
            right_height, below_width = rows, width
        if right_height >= least_height and right >= least_width:
            self._add(crossbar, row, column + width, right_height, right)
        if below >= least_height and below_width >= least_width:
            self._add(crossbar, row + height, column, below, below_width)
        return crossbar, row, column

    def _add(self, *rectangle: int) -> None:
        if self._count == self._table.shape[1]:
            self._table = np.concatenate([self._table, np.zeros_like(self._table)], axis=1)
        self._table[:, self._count] = rectangle
        self._count += 1
