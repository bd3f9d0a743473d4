"""Mapping of layers and networks onto crossbars, from their actual weights."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...network import Conv, Network
from .areas import MAPPINGS, Layout
from .blocks import Block, LayerMapping, matrix_of
from .cells import block_cells
from .crossbar import CrossbarConfig
from .index import Index, IndexReader, IndexWriter
from .patterns import Area, row_sets
from .placing import Cut, Placed, decode_cut, place
from .reaches import block_reaches, reach_index

__all__ = ["NetworkMapping", "decode_index", "map_layer", "map_network"]

Part = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Rows and channels of a block."""


@dataclass(frozen=True, eq=False)
class NetworkMapping:
    """Mapping of every convolution and fully connected layer, by layer name.

    Crossbars are numbered through the network, and layers may share them.
    """

    mapping: str
    config: CrossbarConfig
    layers: dict[str, LayerMapping]

    @property
    def crossbars(self) -> int:
        """Crossbars in use."""
        return len(self.fills)

    @property
    def fills(self) -> NDArray[np.float64]:
        """Share of the cells of each crossbar that blocks take, float64 (crossbars,)."""
        return self._cells().sum(axis=0) / (self.config.rows * self.config.columns)

    def shares(self) -> dict[str, float]:
        """Crossbars that each layer answers for, by name: of a shared one its part of the cells in
        use, so that they add up to all."""
        cells = self._cells()
        parts = (cells / cells.sum(axis=0)).sum(axis=1)
        return dict(zip(self.layers, parts.tolist(), strict=True))

    def occupancy(self, crossbar: int) -> NDArray[np.int32]:
        """Number of the layer in every cell of a crossbar, int32 (rows, columns), -1 for none."""
        cells = np.full((self.config.rows, self.config.columns), -1, np.int32)
        for number, layer in enumerate(self.layers.values()):
            cells[layer.occupancy(crossbar) >= 0] = number
        return cells

    def _cells(self) -> NDArray[np.int64]:
        """Cells in use, int64 (layers, crossbars)."""
        found = [layer.cells_by_crossbar for layer in self.layers.values()]
        cells = np.zeros((len(found), max(map(len, found), default=0)), np.int64)
        for row, own in zip(cells, found, strict=True):
            row[: len(own)] = own
        return cells

    @property
    def cells(self) -> int:
        """Cells in use."""
        return sum(layer.cells for layer in self.layers.values())

    @property
    def index_bits(self) -> int:
        """Bits of all layers' indices, places and reaches included."""
        return sum(layer.index_bits for layer in self.layers.values())


def map_network(
    network: Network, config: CrossbarConfig, mapping: str, *, share: bool = True
) -> NetworkMapping:
    """Mapping of a network, whose convolutions have one group of channels each.

    Parameters
    ----------
    share : whether blocks of different layers may stand in one crossbar

    Raises
    ------
    UserError
        If the mapping is unknown.
    """
    for layer in network.layers:
        if isinstance(layer, Conv) and layer.groups > 1:
            raise layer.error(
                "crossbars hold convolutions of one group of channels; take it apart with "
                "steelyard.network.ungroup first."
            )
    layers = [
        _plan(layer.weight, config, mapping, layer.name, layer.fully_connected)
        for layer in network.layers
        if isinstance(layer, Conv)
    ]
    placed = place([layer.sizes for layer in layers], config, share=share)
    mapped = [layer.placed(own) for layer, own in zip(layers, placed, strict=True)]
    return NetworkMapping(mapping, config, {layer.name: layer for layer in mapped})


def map_layer(
    weight: NDArray[np.int8],
    config: CrossbarConfig,
    mapping: str,
    *,
    name: str = "layer",
    fully_connected: bool = False,
) -> LayerMapping:
    """Mapping of a layer's weights.

    Parameters
    ----------
    weight : int8 (out_channels, in_channels, KH, KW), -127 to 127
    mapping : ``traditional``, ``pattern``, ``mixed``, ``ou_row`` or ``structured``
    fully_connected : whether the kernel is the whole map

    Raises
    ------
    UserError
        If the mapping is unknown or the weights are not int8 of four axes.
    """
    planned = _plan(weight, config, mapping, name, fully_connected)
    (placed,) = place([planned.sizes], config)
    return planned.placed(placed)


@dataclass(frozen=True, eq=False)
class _Planned:
    """A layer whose areas are known, and not yet their blocks."""

    name: str
    mapping: str
    shape: tuple[int, int, int, int]
    config: CrossbarConfig
    matrix: NDArray[np.int8]
    areas: list[Area]
    index: Index

    def sizes(self, cut: Cut) -> list[tuple[int, int]]:
        """Rows and channels of the blocks, if they are cut in some way."""
        height, width = cut.block_rows(self.config), self.config.block_weights
        return [
            (min(height, len(rows) - top), min(width, len(channels) - left))
            for rows, channels in self.areas
            for top in range(0, len(rows), height)
            for left in range(0, len(channels), width)
        ]

    def placed(self, placed: Placed) -> LayerMapping:
        """The mapping."""
        blocks = tuple(
            Block(rows, channels, self.matrix[np.ix_(rows, channels)])
            for rows, channels in _cut(self.areas, self.shape, self.config, placed.cut)
        )
        mapped = LayerMapping(
            self.name, self.mapping, self.shape, self.config, blocks, placed.places, self.index,
            placed.index,
        )  # fmt: skip
        if self.config.adc_resolve == "all":
            return mapped
        reaches = block_reaches(block_cells(mapped), self.config)
        return replace(mapped, reach_index=reach_index(reaches, self.config))


def _plan(
    weight: NDArray[np.int8], config: CrossbarConfig, mapping: str, name: str, fully_connected: bool
) -> _Planned:
    """Areas of a layer, and their index."""
    if mapping not in MAPPINGS:
        raise UserError(
            f"Crossbar mapping {mapping!r} is unknown; use one of {', '.join(MAPPINGS)}."
        )
    if weight.dtype != np.int8 or weight.ndim != 4 or not weight.size:
        raise UserError(
            f"Weights of layer {name!r} must be int8 of four axes (out, in, height, width), "
            f"not {weight.dtype} of shape {weight.shape}; quantize them first."
        )
    shape = (weight.shape[0], weight.shape[1], weight.shape[2], weight.shape[3])
    matrix = matrix_of(weight)
    layout = _layout(shape, config, fully_connected)
    writer = IndexWriter()
    plan, _ = MAPPINGS[mapping]
    areas = plan(matrix, layout, writer)
    return _Planned(name, mapping, shape, config, matrix, areas, writer.finish())


def decode_index(mapping: LayerMapping, *, fully_connected: bool = False) -> list[Part]:
    """Rows and channels of all blocks, in order, from the index bits alone."""
    layout = _layout(mapping.shape, mapping.config, fully_connected)
    _, read = MAPPINGS[mapping.mapping]
    areas = read(layout, IndexReader(mapping.index))
    return list(_cut(areas, mapping.shape, mapping.config, decode_cut(mapping.place_index)))


def _layout(
    shape: tuple[int, int, int, int], config: CrossbarConfig, fully_connected: bool
) -> Layout:
    sets = row_sets(shape, config, fully_connected=fully_connected)
    return Layout(shape[1] * shape[2] * shape[3], shape[0], sets, config)


def _cut(
    areas: Iterable[Area], shape: tuple[int, int, int, int], config: CrossbarConfig, cut: Cut
) -> Iterator[Part]:
    """Areas cut into parts that fit a crossbar, at whole operation units; empty ones vanish."""
    inputs, height, width = shape[1], cut.block_rows(config), config.block_weights
    for positions, channels in areas:
        # Taps of one input channel are zero together more often than taps of several.
        rows = positions[np.lexsort((positions // inputs, positions % inputs))]
        for top in range(0, len(rows), height):
            for left in range(0, len(channels), width):
                yield (
                    rows[top : top + height].astype(np.int32),
                    channels[left : left + width].astype(np.int32),
                )
