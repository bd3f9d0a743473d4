"""Blocks of layers in common crossbars: bands of equal height, packed, and the index of places.

A *band* is blocks of one layer and one height side by side, as many as the bitlines of a crossbar
hold. In the layer's order each block joins one of a few open bands, which its width decides, so
hardware that walks the blocks in order needs the places of bands alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .blocks import LayerMapping
from .crossbar import CrossbarConfig
from .index import Index, IndexReader, IndexWriter, bits_for
from .packing import pack

__all__ = ["decode_places", "place"]


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


def place(layers: Sequence[LayerMapping], *, share: bool = True) -> list[LayerMapping]:
    """Layers with places in crossbars that are counted from 0, and the index of these places.

    Parameters
    ----------
    layers : of one configuration
    share : whether blocks of different layers may stand in one crossbar
    """
    made = [_bands(_sizes(layer), layer.config) for layer in layers]
    placed: list[NDArray[np.int32]] = []
    used = 0
    for group in [made] if share else [[own] for own in made]:
        heights, widths = (
            np.array([size for own in group for size in getattr(own, side)], np.int64)
            for side in ("heights", "widths")
        )
        if not len(heights):
            placed += [np.zeros((0, 3), np.int32) for _ in group]
            continue
        config = layers[0].config
        packed = pack(heights, widths, config.rows, config.columns)
        packed[:, 0] += used
        used = int(packed[:, 0].max()) + 1
        ends = np.cumsum([len(own.heights) for own in group])
        placed += np.split(packed, ends)[:-1]
    return [
        replace(layer, places=own.places(bands), place_index=_written(bands, layer.config, used))
        for layer, own, bands in zip(layers, made, placed, strict=True)
    ]


def decode_places(
    index: Index, sizes: Sequence[tuple[int, int]], config: CrossbarConfig, crossbars: int
) -> NDArray[np.int32]:
    """Places of a layer's blocks, int32 (blocks, 3), from the bits of :func:`place` alone.

    Parameters
    ----------
    sizes : rows and channels of each block, as the layer's index gives them
    crossbars : of the whole network
    """
    made = _bands(sizes, config)
    reader = IndexReader(index)
    widths = _widths(config, crossbars)
    bands = [[reader.read_one(width) for width in widths] for _ in made.heights]
    places = np.array(bands, np.int32).reshape(-1, 3)
    places[:, 2] *= config.weight_bitlines
    return made.places(places)


def _sizes(layer: LayerMapping) -> list[tuple[int, int]]:
    return [(len(block.rows), len(block.channels)) for block in layer.blocks]


def _bands(sizes: Sequence[tuple[int, int]], config: CrossbarConfig) -> _Bands:
    made = _Bands(config.columns)
    for rows, channels in sizes:
        made.add(rows, channels * config.weight_bitlines)
    return made


def _widths(config: CrossbarConfig, crossbars: int) -> tuple[int, int, int]:
    """Bits of a crossbar's number, of a wordline's, and of a weight's place along a wordline."""
    return bits_for(crossbars), bits_for(config.rows), bits_for(config.crossbar_weights)


def _written(bands: NDArray[np.int32], config: CrossbarConfig, crossbars: int) -> Index:
    writer = IndexWriter()
    for crossbar, row, column in bands.tolist():
        numbers = (crossbar, row, column // config.weight_bitlines)
        for number, width in zip(numbers, _widths(config, crossbars), strict=True):
            writer.write("places", number, width)
    return writer.finish()
