"""Blocks of layers in common crossbars: bands of equal height, packed, and the index of places.

A *band* is blocks of one layer and one height side by side, as many as the bitlines of a crossbar,
or of a part of it, hold. In the layer's order each block joins one of a few open bands, which its
width decides, so hardware that walks the blocks in order needs the places of bands alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .crossbar import CrossbarConfig
from .index import Index, IndexReader, IndexWriter, bits_for
from .packing import pack

__all__ = ["CUTS", "Cut", "Placed", "decode_cut", "decode_places", "place"]


@dataclass(frozen=True)
class Cut:
    """Parts of a crossbar that blocks and bands are at most as large as.

    Members
    -------
    heights : parts of its wordlines, in whole operation units, that blocks are cut at
    widths : parts of its bitlines that bands end at
    """

    heights: int
    widths: int

    def block_rows(self, config: CrossbarConfig) -> int:
        """Most wordlines of a block."""
        return -(-(config.rows // config.ou_rows) // self.heights) * config.ou_rows


CUTS = (Cut(1, 1), Cut(2, 1), Cut(4, 1), Cut(4, 4))
"""What placing tries, in this order."""

OPEN_BANDS = 4
"""Bands of a height that blocks may still join."""


@dataclass
class _Bands:
    """Bands of one layer, in the order in which they begin."""

    columns: int
    heights: list[int] = field(default_factory=list)
    widths: list[int] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    """Band of each block."""
    offsets: list[int] = field(default_factory=list)
    """Bitlines of the band before each block."""
    _open: dict[int, list[int]] = field(default_factory=dict)
    """Open bands of each height."""

    def add(self, height: int, width: int) -> None:
        """Join the next block to the fullest open band that has room, or begin one."""
        bands = self._open.setdefault(height, [])
        roomy = [band for band in bands if self.widths[band] + width <= self.columns]
        if roomy:
            band = max(roomy, key=self.widths.__getitem__)
        else:
            if len(bands) == OPEN_BANDS:
                bands.remove(max(bands, key=self.widths.__getitem__))
            band = len(self.heights)
            bands.append(band)
            self.heights.append(height)
            self.widths.append(0)
        self.owners.append(band)
        self.offsets.append(self.widths[band])
        self.widths[band] += width

    def places(self, bands: NDArray[np.int32]) -> NDArray[np.int32]:
        """Places of blocks, int32 (blocks, 3), from those of bands."""
        places = bands[self.owners] if self.owners else np.zeros((0, 3), np.int32)
        places[:, 2] += np.array(self.offsets, np.int32)
        return places


BIT_CELLS = 4
"""Cells that a bit of an index is worth when cuts are compared: in ISAAC's figures one in eDRAM has
as much area as so many cells of a 512x512 crossbar, with their share of all beside them."""

Sizes = Sequence[tuple[int, int]]
"""Rows and channels of each block of a layer, in order."""


@dataclass(frozen=True, eq=False)
class Placed:
    """Places of a layer's blocks.

    Members
    -------
    cut : that its blocks and bands are cut by
    places : int32 (blocks, 3), crossbar, first wordline and first bitline of each block
    index : of these
    """

    cut: Cut
    places: NDArray[np.int32]
    index: Index


def place(
    layers: Sequence[Callable[[Cut], Sizes]], config: CrossbarConfig, *, share: bool = True
) -> list[Placed]:
    """Places of the blocks of layers in crossbars that are counted from 0.

    Blocks that share crossbars are cut alike: in the first way of :data:`CUTS` unless another takes
    fewer crossbars, and less memory for crossbars and places together: a bit counts as
    :data:`BIT_CELLS` cells.

    Parameters
    ----------
    layers : sizes of a layer's blocks, if they are cut in some way
    share : whether blocks of different layers may stand in one crossbar
    """
    found: list[tuple[Cut, _Bands, NDArray[np.int32]]] = []
    used = 0
    for group in [layers] if share else [[own] for own in layers]:
        cut, made, placed, crossbars = _best(group, config)
        placed[:, 0] += used
        used += crossbars
        ends = np.cumsum([len(own.heights) for own in made])
        parts = np.split(placed, ends)[:-1]
        found += [(cut, own, bands) for own, bands in zip(made, parts, strict=True)]
    return [
        Placed(cut, own.places(bands), _written(cut, bands, config, used))
        for cut, own, bands in found
    ]


def decode_cut(index: Index) -> Cut:
    """How a layer's blocks are cut, from the index of places alone."""
    return CUTS[IndexReader(index).read_one(bits_for(len(CUTS)))]


def decode_places(
    index: Index, sizes: Sizes, config: CrossbarConfig, crossbars: int
) -> NDArray[np.int32]:
    """Places of a layer's blocks, int32 (blocks, 3), from the bits of :func:`place` alone.

    Parameters
    ----------
    sizes : rows and channels of each block, as the layer's index gives them
    crossbars : of the whole network
    """
    reader = IndexReader(index)
    made = _bands(sizes, config, CUTS[reader.read_one(bits_for(len(CUTS)))])
    widths = _widths(config, crossbars)
    bands = [[reader.read_one(width) for width in widths] for _ in made.heights]
    places = np.array(bands, np.int32).reshape(-1, 3)
    places[:, 2] *= config.weight_bitlines
    return made.places(places)


def _best(
    group: Sequence[Callable[[Cut], Sizes]], config: CrossbarConfig
) -> tuple[Cut, list[_Bands], NDArray[np.int32], int]:
    """Cut, bands of each layer, places of all bands, and crossbars."""
    tried: set[tuple[int, tuple[tuple[tuple[int, int], ...], ...]]] = set()
    best: tuple[Cut, list[_Bands], NDArray[np.int32], int] | None = None
    least = 0
    for cut in CUTS:
        sizes = tuple(tuple(sizes_of(cut)) for sizes_of in group)
        if (cut.widths, sizes) in tried:
            continue
        tried.add((cut.widths, sizes))
        made = [_bands(own, config, cut) for own in sizes]
        heights, widths = (
            np.array([size for own in made for size in getattr(own, side)], np.int64)
            for side in ("heights", "widths")
        )
        placed = pack(heights, widths, config.rows, config.columns)
        crossbars = int(placed[:, 0].max(initial=-1)) + 1
        memory = config.rows * config.columns * crossbars
        taken = memory + BIT_CELLS * len(placed) * sum(_widths(config, crossbars))
        if best is None or (crossbars < best[3] and taken < least):
            best, least = (cut, made, placed, crossbars), taken
        cells = sum(rows * channels for own in sizes for rows, channels in own)
        if memory - config.rows * config.columns < cells * config.weight_bitlines:
            break
    assert best is not None  # There is a way to cut.
    return best


def _bands(sizes: Sizes, config: CrossbarConfig, cut: Cut) -> _Bands:
    made = _Bands(config.columns // cut.widths)
    for rows, channels in sizes:
        made.add(rows, channels * config.weight_bitlines)
    return made


def _widths(config: CrossbarConfig, crossbars: int) -> tuple[int, int, int]:
    """Bits of a crossbar's number, of a wordline's, and of a weight's place along a wordline."""
    return bits_for(crossbars), bits_for(config.rows), bits_for(config.crossbar_weights)


def _written(cut: Cut, bands: NDArray[np.int32], config: CrossbarConfig, crossbars: int) -> Index:
    writer = IndexWriter()
    writer.write("places", CUTS.index(cut), bits_for(len(CUTS)))
    for crossbar, row, column in bands.tolist():
        numbers = (crossbar, row, column // config.weight_bitlines)
        for number, width in zip(numbers, _widths(config, crossbars), strict=True):
            writer.write("places", number, width)
    return writer.finish()
