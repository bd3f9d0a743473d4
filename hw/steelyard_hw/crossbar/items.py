"""Weight items of the crossbar tile (docs/crossbar.md, section 5)."""

from amaranth.lib import data

from steelyard.contract import AcceleratorConfig

__all__ = ["CellsItem", "RowsItem"]


class RowsItem(data.StructLayout):
    """Window addresses of the rows on which the cells that follow work.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

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

    def __init__(self, config: AcceleratorConfig):
        super().__init__(
            {
                "kind": 1,
                "last": 1,
                "count": config.engine.count_bits,
                "addresses": data.ArrayLayout(
                    config.engine.address_bits, config.engine.crossbar.ou_rows
                ),
            }
        )


class CellsItem(data.StructLayout):
    """Operation units that work together, on the same rows.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    kind : ``1``
        1.
    last : ``1``
        No more operation units in this tile of pixels.
    count : ``count_bits``
        Output channels in use; none in a layer without weights.
    begins, ends : ``1``
        With dynamic formation only: its rows are the first, and the last, of their block.
    channels : ``ArrayLayout(channel_bits, item_weights)``
        Output channels.
    cells : ``ArrayLayout(cell_bits, ou_rows * item_columns)``
        Row by row.
    reaches : ``ArrayLayout(reach_bits, item_columns)``
        Bits that each bitline reaches; with dynamic formation and converters that stop only.
    """

    def __init__(self, config: AcceleratorConfig):
        unit = config.engine.crossbar
        cells = data.ArrayLayout(unit.cell_bits, unit.ou_rows * config.engine.item_columns)
        parts = {"begins": 1, "ends": 1} if unit.dynamic else {}
        reaches = {}
        if config.engine.reach_bits:
            reaches["reaches"] = data.ArrayLayout(
                config.engine.reach_bits, config.engine.item_columns
            )
        super().__init__(
            {
                "kind": 1,
                "last": 1,
                "count": config.engine.count_bits,
                **parts,
                "channels": data.ArrayLayout(
                    config.engine.channel_bits, config.engine.item_weights
                ),
                "cells": cells,
                **reaches,
            }
        )
