"""Places of the array's multipliers and window memories in large devices of the ECP5.

The placer treats rows of multipliers as if they were logic: those of a column came to lie in three
rows and all over the chip, and every wire of their products was twice as long as need be
(docs/notes/bitstreams.md).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

__all__ = ["GRIDS", "Grid", "floorplan"]

BLOCK_MULTIPLIERS = ((0, "MULT18_0"), (1, "MULT18_1"), (4, "MULT18_4"), (5, "MULT18_5"))
"""Offset and name of the multipliers of a block of nine tiles."""
BLOCK_RAMS = ((0, "EBR0"), (2, "EBR1"), (4, "EBR2"), (6, "EBR3"))
"""The same of the block RAMs above or below it."""


@dataclass(frozen=True)
class Grid:
    """Where multipliers and block RAMs lie on a die.

    Attributes
    ----------
    rows : y of each row of multipliers and of the row of block RAMs that belongs to it, nearest to
        the block RAMs that are left over first
    blocks : x of the blocks of four multipliers and four block RAMs
    """

    rows: tuple[tuple[int, int], ...]
    blocks: tuple[int, ...]


GRIDS = {
    "LFE5U-85F": Grid(
        rows=((58, 70), (34, 46), (10, 22)),
        blocks=(4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114),
    )
}
"""By the devices' names, as nextpnr-ecp5 numbers their tiles."""


def floorplan(grid: Grid, cells: Mapping[str, Mapping]) -> dict[str, str]:
    """Places of the cells of the array's columns; none if the array does not take several rows.

    A column takes whole blocks side by side, its window memory those block RAMs of the same blocks
    that suffice. Columns lie in a line that turns at the ends of the rows, since sums move from
    column to column; the first row, where the first column is, has what room is left.

    Parameters
    ----------
    cells : of the netlist, by name, with their ``type``
    """
    multipliers = _by_column(cells, "MULT18X18D", r"multipliers\.multiplier_(\d+)\.")
    windows = _by_column(cells, "DP16KD", r"window\.([\d.]+)$")
    columns = len(multipliers)
    each = max((len(column) for column in multipliers.values()), default=0)
    wide = -(-each // len(BLOCK_MULTIPLIERS))
    if not wide or len(grid.blocks) // wide >= columns:
        return {}
    a_row = len(grid.blocks) // wide
    if a_row * len(grid.rows) < columns:
        return {}
    places: dict[str, str] = {}
    slots = list(_slots(grid, columns, a_row))
    for number in sorted(multipliers):
        (y, y_ram), first = slots[number]
        blocks = grid.blocks[first * wide : (first + 1) * wide]
        sites = [f"X{x + dx}/Y{y}/{name}" for x in blocks for dx, name in BLOCK_MULTIPLIERS]
        places |= dict(zip(multipliers[number], sites, strict=False))
        rams = [f"X{x + dx}/Y{y_ram}/{name}" for x in blocks for dx, name in BLOCK_RAMS]
        window = windows.get(number, [])
        # Spread over the blocks; one that takes more than they have is left to the placer.
        step = len(rams) // len(window) if window else 0
        if step:
            places |= dict(zip(window, rams[::step], strict=False))
    return places


def _by_column(cells: Mapping[str, Mapping], kind: str, own: str) -> dict[int, list[str]]:
    """Names of cells of a type by their column's number, in the order of their own numbers."""
    pattern = re.compile(rf"\barray\.column_(\d+)\.{own}")
    found: dict[int, list[tuple[list[int], str]]] = {}
    for name, cell in cells.items():
        place = pattern.search(name) if cell["type"] == kind else None
        if place is not None:
            numbers = [int(part) for part in place[2].split(".")]
            found.setdefault(int(place[1]), []).append((numbers, name))
    return {column: [name for _, name in sorted(names)] for column, names in found.items()}


def _slots(grid: Grid, columns: int, a_row: int) -> Iterator[tuple[tuple[int, int], int]]:
    """Row and place in it of each column: down to the edge, and to and fro from there."""
    rows = -(-columns // a_row)
    in_first = columns - (rows - 1) * a_row
    for slot in reversed(range(in_first)):
        yield grid.rows[0], slot
    for number, row in enumerate(grid.rows[1:rows]):
        slots = range(a_row)
        for slot in reversed(slots) if number % 2 else slots:
            yield row, slot
