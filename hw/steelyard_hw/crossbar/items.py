"""Weight items of the crossbar tile (docs/crossbar.md, section 5)."""

from amaranth.lib import data

from steelyard.contract.tile import TileConfig

__all__ = ["CellsItem", "RowsItem"]


class RowsItem(data.StructLayout):
    """Window addresses of the rows on which the cells that follow work.

    Parameters
    ----------
    config : :class:`~steelyard.contract.tile.TileConfig`

    Members
    -------
    kind : ``1``
        0.
    last : ``1``
        No more rows in this tile of pixels.
    count : ``count_bits``
        Rows in use, at least 1.
    addresses : ``ArrayLayout(address_bits, ou_rows)``
        Flattened positions.
    """

    def __init__(self, config: TileConfig):
        super().__init__(
            {
                "kind": 1,
                "last": 1,
                "count": config.count_bits,
                "addresses": data.ArrayLayout(config.address_bits, config.crossbar.ou_rows),
            }
        )


class CellsItem(data.StructLayout):
    """Operation units that work together, on the same rows.

    Parameters
    ----------
    config : :class:`~steelyard.contract.tile.TileConfig`

    Members
    -------
    kind : ``1``
        1.
    last : ``1``
        No more operation units in this tile of pixels.
    count : ``count_bits``
        Output channels in use; none in a layer without weights.
    channels : ``ArrayLayout(channel_bits, item_weights)``
        Output channels.
    cells : ``ArrayLayout(cell_bits, ou_rows * item_columns)``
        Row by row.
    """

    def __init__(self, config: TileConfig):
        unit = config.crossbar
        cells = data.ArrayLayout(unit.cell_bits, unit.ou_rows * config.item_columns)
        super().__init__(
            {
                "kind": 1,
                "last": 1,
                "count": config.count_bits,
                "channels": data.ArrayLayout(config.channel_bits, config.item_weights),
                "cells": cells,
            }
        )
