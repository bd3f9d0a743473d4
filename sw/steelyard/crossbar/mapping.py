"""Mapping of layers and networks onto crossbars, from their actual weights."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..network import Conv, Network
from .blocks import Block, LayerMapping, matrix_of
from .config import CrossbarConfig
from .index import IndexReader, IndexWriter
from .methods import METHODS, Layout
from .packing import pack
from .patterns import Area, row_sets

__all__ = ["NetworkMapping", "decode_index", "map_layer", "map_network"]

Part = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Rows and channels of a block."""


@dataclass(frozen=True, eq=False)
class NetworkMapping:
    """Mapping of every convolution and fully connected layer, by layer name."""

    method: str
    config: CrossbarConfig
    layers: dict[str, LayerMapping]

    @property
    def crossbars(self) -> int:
        """Crossbars in use; layers share none."""
        return sum(layer.crossbars for layer in self.layers.values())

    @property
    def cells(self) -> int:
        """Cells in use."""
        return sum(layer.cells for layer in self.layers.values())

    @property
    def index_bits(self) -> int:
        """Bits of all layers' indices."""
        return sum(layer.index.bits for layer in self.layers.values())


def map_network(network: Network, config: CrossbarConfig, method: str) -> NetworkMapping:
    """Mapping of a network.

    Raises
    ------
    UserError
        If the method is unknown.
    """
    layers = {
        layer.name: map_layer(
            layer.weight, config, method, name=layer.name, fully_connected=layer.fully_connected
        )
        for layer in network.layers
        if isinstance(layer, Conv)
    }
    return NetworkMapping(method, config, layers)


def map_layer(
    weight: NDArray[np.int8],
    config: CrossbarConfig,
    method: str,
    *,
    name: str = "layer",
    fully_connected: bool = False,
) -> LayerMapping:
    """Mapping of a layer's weights.

    Parameters
    ----------
    weight : int8 (out_channels, in_channels, KH, KW), -127 to 127
    method : ``traditional``, ``pattern``, ``mixed``, ``ou_row`` or ``structured``
    fully_connected : whether the kernel is the whole map

    Raises
    ------
    UserError
        If the method is unknown or the weights are not int8 of four axes.
    """
    if method not in METHODS:
        raise UserError(f"Crossbar mapping {method!r} is unknown; use one of {', '.join(METHODS)}.")
    if weight.dtype != np.int8 or weight.ndim != 4 or not weight.size:
        raise UserError(
            f"Weights of layer {name!r} must be int8 of four axes (out, in, height, width), "
            f"not {weight.dtype} of shape {weight.shape}; quantize them first."
        )
    shape = (weight.shape[0], weight.shape[1], weight.shape[2], weight.shape[3])
    matrix = matrix_of(weight)
    layout = _layout(shape, config, fully_connected)
    writer = IndexWriter()
    plan, _ = METHODS[method]
    areas = plan(matrix, layout, writer)
    blocks = tuple(
        Block(rows, channels, matrix[np.ix_(rows, channels)])
        for rows, channels in _cut(areas, config)
    )
    places, crossbars = pack(
        np.array([len(block.rows) for block in blocks]),
        np.array([len(block.channels) for block in blocks]) * config.weight_bitlines,
        config.rows,
        config.columns,
    )
    return LayerMapping(name, method, shape, config, blocks, places, crossbars, writer.finish())


def decode_index(mapping: LayerMapping, *, fully_connected: bool = False) -> list[Part]:
    """Rows and channels of all blocks, in order, from the index bits alone."""
    layout = _layout(mapping.shape, mapping.config, fully_connected)
    _, read = METHODS[mapping.method]
    return list(_cut(read(layout, IndexReader(mapping.index)), mapping.config))


def _layout(
    shape: tuple[int, int, int, int], config: CrossbarConfig, fully_connected: bool
) -> Layout:
    sets = row_sets(shape, config, fully_connected=fully_connected)
    return Layout(shape[1] * shape[2] * shape[3], shape[0], sets, config)


def _cut(areas: Iterable[Area], config: CrossbarConfig) -> Iterator[Part]:
    """Areas cut into parts that fit a crossbar; empty ones vanish."""
    for rows, channels in areas:
        for top in range(0, len(rows), config.rows):
            for left in range(0, len(channels), config.crossbar_weights):
                yield (
                    rows[top : top + config.rows].astype(np.int32),
                    channels[left : left + config.crossbar_weights].astype(np.int32),
                )
