"""Weight items of the crossbar tile, from mapped layers (docs/crossbar.md, section 5)."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ...contract import AcceleratorConfig, Descriptor
from ...errors import DoesNotFit
from ..timing import segments
from .blocks import LayerMapping
from .cells import DeviceEffects, block_cells
from .config import CrossbarTileConfig

__all__ = ["Unit", "cells_items", "crossbar_convolution", "estimate", "pack_layer", "unpack_items"]

ROWS, CELLS = 0, 1
TILE_CYCLES = 32
"""Cycles from a tile's last step to its first sum, and other things that happen once a tile."""
LAYER_CYCLES = 44
"""Cycles before a layer's first step and after its last sum."""
GATHER_CYCLES = 4
"""Cycles from taking an item of rows to its use, beside one for each row."""
WRITE_CYCLES = 3
"""Cycles after an item's last addition until new rows may add to the same output channels."""
BLOCK_ITEMS = 1 << 13
"""Items whose bits are unfolded at once, which bounds the temporary memory."""


@dataclass(frozen=True, eq=False)
class Unit:
    """Operation units of an item, side by side as the tile sees them."""

    rows: NDArray[np.int32]
    channels: NDArray[np.int32]
    cells: NDArray[np.uint8]
    """uint8 (rows, channels, weight_bitlines)."""


def _bits(values: NDArray, width: int) -> NDArray[np.uint8]:
    """Bits of integers (..., n), lowest first, uint8 (..., n * width)."""
    bits = values[..., None] >> np.arange(width) & 1
    return bits.astype(np.uint8).reshape(*values.shape[:-1], -1)


def _items(
    kind: int,
    count: NDArray,
    fields: list[NDArray[np.uint8]],
    config: AcceleratorConfig[CrossbarTileConfig],
) -> NDArray[np.uint32]:
    """Host words of items of one kind, uint32 (n, item_words), of the bits of their fields."""
    bits = np.zeros((len(count), 32 * config.engine.weight_item_words), np.uint8)
    bits[:, 0] = kind
    bits[:, 2 : 2 + config.engine.count_bits] = _bits(count[:, None], config.engine.count_bits)
    low = 2 + config.engine.count_bits
    for field in fields:
        bits[:, low : low + field.shape[1]] = field
        low += field.shape[1]
    return np.packbits(bits, axis=1, bitorder="little").view("<u4").astype(np.uint32, copy=False)


def _rows_items(
    rows: list[NDArray[np.int32]], config: AcceleratorConfig[CrossbarTileConfig]
) -> NDArray[np.uint32]:
    addresses = np.zeros((len(rows), config.engine.crossbar.ou_rows), np.int64)
    for item, own in zip(addresses, rows, strict=True):
        item[: len(own)] = own
    count = np.array([len(own) for own in rows])
    return _items(ROWS, count, [_bits(addresses, config.engine.address_bits)], config)


def _cells_items(
    channels: NDArray[np.int32],
    cells: NDArray[np.uint8],
    config: AcceleratorConfig[CrossbarTileConfig],
) -> NDArray[np.uint32]:
    """Items of a run of rows: channels (n,), cells (rows, n, weight_bitlines)."""
    unit = config.engine.crossbar
    rows, total, bitlines = cells.shape
    width = config.engine.item_weights
    items = -(-total // width)
    spread = np.zeros((unit.ou_rows, items * width, bitlines), np.uint8)
    spread[:rows, :total] = cells
    names = np.zeros(items * width, np.int64)
    names[:total] = channels
    count = np.full(items, width)
    count[-1] = total - (items - 1) * width
    grid = spread.reshape(unit.ou_rows, items, width * bitlines)
    levels = np.ascontiguousarray(grid.transpose(1, 0, 2))
    packed = []
    for first in range(0, items, BLOCK_ITEMS):
        part = slice(first, first + BLOCK_ITEMS)
        fields = [
            _bits(names.reshape(items, -1)[part], config.engine.channel_bits),
            _bits(levels[part].reshape(len(count[part]), -1), unit.cell_bits),
        ]
        packed.append(_items(CELLS, count[part], fields, config))
    return np.concatenate(packed)


def pack_layer(
    mapping: LayerMapping,
    config: AcceleratorConfig[CrossbarTileConfig],
    effects: DeviceEffects | None = None,
) -> NDArray[np.uint32]:
    """Weight items of a layer, uint32 (n, item_words): rows, and the operation units on them.

    A layer without weights has one item of rows and one of no cells.

    Parameters
    ----------
    mapping : for the configuration's crossbar
    effects : effects of real devices on the cells
    """
    size = config.engine.crossbar.ou_rows
    rows: list[NDArray[np.int32]] = []
    parts: list[NDArray[np.uint32]] = []
    order: list[NDArray[np.uint32]] = []
    for block, cells in zip(mapping.blocks, block_cells(mapping, effects), strict=True):
        for first in range(0, len(block.rows), size):
            rows.append(block.rows[first : first + size])
            parts.append(_cells_items(block.channels, cells[first : first + size], config))
    if not rows:
        rows.append(np.zeros(1, np.int32))
        parts.append(_items(CELLS, np.zeros(1, np.int64), [], config))
    ahead = _rows_items(rows, config)
    for run, cells_items in enumerate(parts):
        order += [ahead[run : run + 1], cells_items]
    items = np.concatenate(order)
    # The last rows and the last cells of a tile of pixels.
    items[[-1 - len(parts[-1]), -1], 0] |= np.uint32(2)
    return items


def unpack_items(
    items: NDArray[np.uint32], config: AcceleratorConfig[CrossbarTileConfig]
) -> list[Unit]:
    """Operation units of weight items, uint32 (n, item_words), item by item in order.

    Raises
    ------
    ValueError
        If cells come before rows, or the last rows and cells are not marked.
    """
    unit = config.engine.crossbar
    bits = np.unpackbits(items.astype("<u4").view(np.uint8), axis=1, bitorder="little")

    def numbers(item: int, low: int, width: int, count: int) -> NDArray[np.int32]:
        field = bits[item, low : low + width * count].reshape(count, width).astype(np.int32)
        return (field << np.arange(width, dtype=np.int32)).sum(axis=1, dtype=np.int32)

    units: list[Unit] = []
    rows: NDArray[np.int32] | None = None
    last = []
    low = 2 + config.engine.count_bits
    for item in range(len(items)):
        count = int(numbers(item, 2, config.engine.count_bits, 1)[0])
        if bits[item, 1]:
            last.append(item)
        if bits[item, 0] == ROWS:
            rows = numbers(item, low, config.engine.address_bits, unit.ou_rows)[:count]
            continue
        if rows is None:
            raise ValueError(f"Weight item {item} holds cells, but no rows came before")
        channels = numbers(item, low, config.engine.channel_bits, config.engine.item_weights)[
            :count
        ]
        place = low + config.engine.item_weights * config.engine.channel_bits
        levels = numbers(item, place, unit.cell_bits, unit.ou_rows * config.engine.item_columns)
        used = levels.reshape(unit.ou_rows, config.engine.item_columns)[: len(rows)]
        cells = used[:, : count * unit.weight_bitlines].astype(np.uint8)
        if count:
            units.append(Unit(rows, channels, cells.reshape(len(rows), count, -1)))
    kinds = bits[last, 0].tolist()
    if kinds != [ROWS, CELLS] or last[1] != len(items) - 1 or (bits[last[0] + 1 :, 0] == 0).any():
        raise ValueError(f"Weight items {last} are marked as the last of {len(items)}")
    return units


def crossbar_convolution(
    base: Descriptor, mapping: LayerMapping, config: AcceleratorConfig[CrossbarTileConfig]
) -> Descriptor:
    """Descriptor `base` of a convolution, for the crossbar tile.

    Raises
    ------
    DoesNotFit
        If the layer's receptive field or its output channels are too many; names the layer.
    """
    groups = -(-mapping.positions // config.engine.group)
    if groups > config.engine.window_groups:
        raise DoesNotFit(
            f"Layer {mapping.name!r} has {mapping.positions} inputs of an output, "
            f"{mapping.positions - config.engine.window_positions} more than the window memory "
            "holds; raise window_groups or group."
        )
    channels = mapping.shape[0]
    if channels > config.engine.partial_sum_channels:
        raise DoesNotFit(
            f"Layer {mapping.name!r} has {channels} output channels and the configuration sums "
            f"{config.engine.partial_sum_channels}; raise partial_sum_channels to {channels}."
        )
    return replace(
        base,
        chunks=groups,
        passes=channels,
        last_columns=1,
        weight_count=_item_count(mapping, config),
    )


def cells_items(mapping: LayerMapping, config: AcceleratorConfig[CrossbarTileConfig]) -> int:
    """Items of cells of a layer that has weights."""
    return sum(
        -(-len(block.rows) // config.engine.crossbar.ou_rows)
        * -(-len(block.channels) // config.engine.item_weights)
        for block in mapping.blocks
    )


def _item_count(mapping: LayerMapping, config: AcceleratorConfig[CrossbarTileConfig]) -> int:
    """Weight items of a layer."""
    runs = sum(-(-len(block.rows) // config.engine.crossbar.ou_rows) for block in mapping.blocks)
    return runs + cells_items(mapping, config) if runs else 2


def _work(mapping: LayerMapping, config: AcceleratorConfig[CrossbarTileConfig]) -> int:
    """Cycles of a tile of pixels from its first row to its last product, if no step is skipped."""
    unit = config.engine.crossbar
    # Runs of rows: rows, items of cells and output channels of the last item.
    parts = []
    for block in mapping.blocks:
        full, rest = divmod(len(block.rows), unit.ou_rows)
        across = -(-len(block.channels) // config.engine.item_weights)
        final = len(block.channels) - (across - 1) * config.engine.item_weights
        parts += [(full, unit.ou_rows, across, final), (int(rest > 0), rest, across, final)]
    if not parts:
        return GATHER_CYCLES
    times, *columns = np.array(parts, np.int64).T
    rows, items, last = (np.repeat(column, times) for column in columns)
    slot = max(unit.steps, config.engine.item_weights)
    # New rows wait until the products before are written.
    first = np.maximum(unit.steps, np.append(0, last[:-1] + WRITE_CYCLES))
    busy = first + (items - 1) * slot
    # The next rows are taken when the last item but one has begun.
    ahead = np.where(items == 1, -unit.steps, np.where(items == 2, 0, busy - 2 * slot))
    gather = rows[1:] + np.maximum(ahead[:-1] + GATHER_CYCLES, 1)
    return int(rows[0] + np.maximum(busy[:-1], gather).sum() + busy[-1]) + GATHER_CYCLES


def estimate(
    descriptor: Descriptor, mapping: LayerMapping, config: AcceleratorConfig[CrossbarTileConfig]
) -> int:
    """Bound of a layer's cycles on the tile, near them if no step is skipped.

    Skipped steps, which the activations decide, only make it faster.
    """
    work = _work(mapping, config) + mapping.shape[0] * max(config.drain_cycles, 2) + TILE_CYCLES
    reads = segments(descriptor, config) * mapping.positions
    # The walker describes a tile, a lane a cycle, while the one before is loaded.
    walk = config.engine.lanes + 1
    loads = np.maximum(reads[1:], walk + reads[1:] - reads[:-1])
    if 2 * descriptor.chunks <= config.engine.window_groups:
        # A tile is worked on while the next is loaded.
        loads = np.maximum(loads, work)
    else:
        loads += work
    return walk + int(reads[0]) + int(loads.sum()) + work + LAYER_CYCLES
