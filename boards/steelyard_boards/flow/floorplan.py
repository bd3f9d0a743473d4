"""Places of multipliers and window memories in large devices of the ECP5.

The placer treats rows of multipliers as if they were logic: those of a column came to lie in three
rows and all over the chip, and every wire of their products was twice as long as need be
(docs/notes/bitstreams.md).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["GRIDS", "Grid", "floorplan"]

BLOCK_MULTIPLIERS = ((0, "MULT18_0"), (1, "MULT18_1"), (4, "MULT18_4"), (5, "MULT18_5"))
"""Offset and name of the multipliers of a block of nine tiles."""
BLOCK_RAMS = ((0, "EBR0"), (2, "EBR1"), (4, "EBR2"), (6, "EBR3"))
"""The same of the block RAMs above or below it."""


Block = tuple[int, int, int]
"""x, y of its multipliers and y of its block RAMs."""


@dataclass(frozen=True)
class Grid:
    """Where multipliers and block RAMs lie on a die.

    Attributes
    ----------
    rows : y of each row of multipliers and of the row of block RAMs that belongs to it, nearest to
        the block RAMs that are left over first
    blocks : x of the blocks of four multipliers and four block RAMs
    rams : y of a row of block RAMs without multipliers, beside the first of `rows`
    """

    rows: tuple[tuple[int, int], ...]
    blocks: tuple[int, ...]
    rams: int


GRIDS = {
    "LFE5U-85F": Grid(
        rows=((58, 70), (34, 46), (10, 22)),
        blocks=(4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114),
        rams=82,
    )
}
"""By the devices' names, as nextpnr-ecp5 numbers their tiles."""


def floorplan(grid: Grid, cells: Mapping[str, Mapping]) -> dict[str, str]:
    """Places of the cells of the array's columns and outputs; none if a row has room for all.

    A column takes whole blocks side by side, its window memory those block RAMs of the same blocks
    that suffice. Columns lie in a line that turns at the ends of the rows, since sums move from
    column to column: where it turns a column lies in two rows. The first row, where the first
    column is, has what room is left; there, beside that column, the outputs' multipliers lie lane
    by lane, if there is room for them, and the descriptor memory beside the last of them. The
    activations lie in the row of block RAMs beside them, and the parameters in what is free nearest
    to them.

    Parameters
    ----------
    cells : of the netlist, by name, with their ``type``
    """
    multipliers = _numbered(cells, "MULT18X18D", r"\barray\.column_(\d+)\.multipliers\.\D+(\d+)\.")
    windows = _numbered(cells, "DP16KD", r"\barray\.column_(\d+)\.window\.([\d.]+)$")
    each = max((len(column) for column in multipliers.values()), default=0)
    wide = -(-each // len(BLOCK_MULTIPLIERS))
    lanes = _numbered(cells, "MULT18X18D", r"\b(?:pair|requantizer|sum)_(\d+)\.")
    outputs = [name for number in sorted(lanes) for name in lanes[number]]
    first, line = _line(grid, wide * len(multipliers), -(-len(outputs) // len(BLOCK_MULTIPLIERS)))
    if not line:
        return {}
    places: dict[str, str] = {}
    weights = _numbered(cells, "DP16KD", r"\bweights\.word_(\d+)\.([\d.]+)$")
    memories = [name for number in sorted(weights) for name in weights[number]]
    columns = len(multipliers)
    for place, number in enumerate(sorted(multipliers)):
        blocks = line[place * wide : (place + 1) * wide]
        places |= dict(zip(multipliers[number], _sites(blocks), strict=False))
        rams = _rams(blocks)
        window = windows.get(number, [])
        # Spread over the blocks; one that takes more than they have is left to the placer.
        step = len(rams) // len(window) if window else 0
        if step:
            places |= dict(zip(window, rams[::step], strict=False))
            left = [ram for ram in rams if ram not in rams[::step][: len(window)]]
        else:
            left = []
        # Columns follow each other in an item of weights.
        own = memories[place * len(memories) // columns : (place + 1) * len(memories) // columns]
        if len(own) <= len(left):
            places |= dict(zip(own, left, strict=False))
    sites = _sites(first)
    if len(outputs) <= len(sites):
        places |= dict(zip(outputs, sites, strict=False))
        # Their fields go everywhere; the placer puts them in a corner.
        fields = _numbered(cells, "DP16KD", r"\bdescriptors\.word_(\d+)\.([\d.]+)$")
        beside = _rams(first[: -(-len(outputs) // len(BLOCK_MULTIPLIERS))])[::-1]
        places |= dict(zip(fields.get(0, []), beside, strict=False))
    free = _free(first, places)
    places |= _activations(grid, cells, free)
    return places | _parameters(grid, cells, first, places)


def _free(blocks: list[Block], places: Mapping[str, str]) -> list[str]:
    """Block RAMs of some blocks that have no cell yet."""
    taken = set(places.values())
    return [ram for ram in _rams(blocks) if ram not in taken]


def _parameters(
    grid: Grid, cells: Mapping[str, Mapping], outputs: list[Block], places: Mapping[str, str]
) -> dict[str, str]:
    """Places of the parameters, and of the partial sums if there is room: those that are free
    nearest to the outputs, for the placer puts some of them in a corner."""
    if not outputs:
        return {}
    found = _numbered(cells, "DP16KD", r"\bparameters\.word_(\d+)\.([\d.]+)$")
    sums = _numbered(cells, "DP16KD", r"\boutput\.memory\.(\d+)\.([\d.]+)$")
    wanted = [name for own in (found, sums) for number in sorted(own) for name in own[number]]
    rows = [*grid.rows, (grid.rams, grid.rams)]
    every = _free([(x, *row) for row in rows for x in grid.blocks], places)
    middle = (outputs[0][0] + outputs[-1][0] + BLOCK_RAMS[-1][0]) / 2, outputs[0][1]

    def apart(site: str) -> tuple[float, str]:
        x, y = (int(part[1:]) for part in site.split("/")[:2])
        return abs(x - middle[0]) + abs(y - middle[1]), site

    return dict(zip(wanted, sorted(every, key=apart), strict=False))


def _activations(grid: Grid, cells: Mapping[str, Mapping], free: list[str]) -> dict[str, str]:
    """Places of the banks of the activations, those of one lane side by side.

    The placer puts them wherever a column has left a block RAM, all over the chip, and each has
    forty wires. They take the row of block RAMs without multipliers, less densely if they can, and
    what they need more of those that are `free` in the first row.
    """
    found = _numbered(cells, "DP16KD", r"\bactivations\.bank_(\d+)\.([\d.]+)$")
    lanes = max(len(found) // 2, 1)
    banks = [name for n in sorted(found, key=lambda n: (n % lanes, n)) for name in found[n]]
    row = _rams([(x, grid.rams, grid.rams) for x in grid.blocks])
    spread = min(len(banks) * len(BLOCK_RAMS) // (len(BLOCK_RAMS) - 1), len(row))
    sites = row[len(row) - spread :]
    if len(banks) > len(sites) + len(free):
        return {}
    more = max(len(banks) - len(sites), 0)
    if not more:
        sites = [sites[place * len(sites) // len(banks)] for place in range(len(banks))]
    return dict(zip(banks, [*free[:more], *sites], strict=False))


def _numbered(cells: Mapping[str, Mapping], kind: str, pattern: str) -> dict[int, list[str]]:
    """Names of cells of a type by the pattern's first number, in the order of its others."""
    found: dict[int, list[tuple[list[int], str]]] = {}
    for name, cell in cells.items():
        place = re.search(pattern, name) if cell["type"] == kind else None
        if place is not None:
            number, *order = (int(part) for part in ".".join(place.groups()).split("."))
            found.setdefault(number, []).append((order, name))
    return {number: [name for _, name in sorted(names)] for number, names in found.items()}


def _line(grid: Grid, count: int, outputs: int) -> tuple[list[Block], list[Block]]:
    """Blocks of the first row that are left over, and the line of those that columns take.

    It comes down the first row to the edge and goes to and fro from there, past as many blocks of
    the first row as the outputs take, if there are enough. Without room for it, or within one row,
    there is no line.
    """
    a_row = len(grid.blocks)
    if not a_row < count <= len(grid.rows) * a_row:
        return [], []
    number = min(-(-(count + outputs) // a_row), len(grid.rows))
    rows = [[(x, *row) for x in grid.blocks] for row in grid.rows[:number]]
    in_first = max(count - (number - 1) * a_row, 0)
    line = rows[0][:in_first][::-1]
    for number, row in enumerate(rows[1:]):
        line += row[::-1] if number % 2 else row
    return rows[0][in_first:], line[:count]


def _sites(blocks: list[Block]) -> list[str]:
    """Places of the multipliers of some blocks."""
    return [f"X{x + dx}/Y{y}/{name}" for x, y, _ in blocks for dx, name in BLOCK_MULTIPLIERS]


def _rams(blocks: list[Block]) -> list[str]:
    """Places of their block RAMs."""
    return [f"X{x + dx}/Y{y}/{name}" for x, _, y in blocks for dx, name in BLOCK_RAMS]
