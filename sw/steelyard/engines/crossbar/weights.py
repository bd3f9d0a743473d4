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
from .reaches import block_reaches

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
    part: int = 0,
    reaches: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint32]:
    """Items of a run of rows: channels (n,), cells (rows, n, weight_bitlines).

    With dynamic formation `part` is 1 for the first rows of a block, and 2 more for the last, and
    reaches, where items hold them, are (n, weight_bitlines).
    """
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
    held = np.zeros((items * width, bitlines), np.uint8)
    if reaches is not None:
        held[:total] = reaches
    grid = spread.reshape(unit.ou_rows, items, width * bitlines)
    levels = np.ascontiguousarray(grid.transpose(1, 0, 2))
    packed = []
    for first in range(0, items, BLOCK_ITEMS):
        some = slice(first, first + BLOCK_ITEMS)
        number = len(count[some])
        fields = [
            _bits(np.full((number, 1), part), config.engine.part_bits),
            _bits(names.reshape(items, -1)[some], config.engine.channel_bits),
            _bits(levels[some].reshape(number, -1), unit.cell_bits),
            _bits(held.reshape(items, -1)[some], config.engine.reach_bits),
        ]
        packed.append(_items(CELLS, count[some], fields, config))
    return np.concatenate(packed)


def pack_layer(
    mapping: LayerMapping,
    config: AcceleratorConfig[CrossbarTileConfig],
    effects: DeviceEffects | None = None,
) -> NDArray[np.uint32]:
    """Weight items of a layer, uint32 (n, item_words): rows, and the operation units on them.

    A layer without weights has one item of rows and one of no cells. With dynamic formation the
    rows of a block that has more of them than an operation unit pass for each item of its channels
    anew, since sums of these wait for the rows that follow.

    Parameters
    ----------
    mapping : for the configuration's crossbar
    effects : effects of real devices on the cells
    """
    unit = config.engine.crossbar
    order: list[NDArray[np.uint32]] = []
    cells = block_cells(mapping, effects)
    reaches: list[NDArray[np.uint8]] | list[None] = [None] * len(cells)
    if config.engine.reach_bits:
        reaches = [own[0] for own in block_reaches(cells, unit)]
    for block, own, reached in zip(mapping.blocks, cells, reaches, strict=True):
        runs = [
            slice(first, first + unit.ou_rows) for first in range(0, len(block.rows), unit.ou_rows)
        ]
        ahead = _rows_items([block.rows[run] for run in runs], config)
        parts = []
        for number, run in enumerate(runs):
            part = (number == 0) + 2 * (number == len(runs) - 1)
            parts.append(_cells_items(block.channels, own[run], config, part, reached))
        if unit.dynamic and len(runs) > 1:
            # The rows of a block pass once for each item of its channels.
            passed = np.broadcast_to(ahead[:, None], (len(runs), len(parts[0]), ahead.shape[1]))
            both = np.stack([passed, np.stack(parts)], axis=2)
            order.append(both.swapaxes(0, 1).reshape(-1, ahead.shape[1]))
        else:
            for number, items in enumerate(parts):
                order += [ahead[number : number + 1], items]
    if not order:
        nothing = _items(CELLS, np.zeros(1, np.int64), [], config)
        order = [_rows_items([np.zeros(1, np.int32)], config), nothing]
    items = np.concatenate(order)
    # The last rows and the last cells of a tile of pixels.
    rows = np.flatnonzero(items[:, 0] & 1 == ROWS)
    items[[rows[-1], -1], 0] |= np.uint32(2)
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
        begin = low + config.engine.part_bits
        channels = numbers(item, begin, config.engine.channel_bits, config.engine.item_weights)[
            :count
        ]
        place = begin + config.engine.item_weights * config.engine.channel_bits
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
    unit = config.engine.crossbar
    rows = 0
    for block in mapping.blocks:
        runs = -(-len(block.rows) // unit.ou_rows)
        across = -(-len(block.channels) // config.engine.item_weights)
        rows += runs * across if unit.dynamic and runs > 1 else runs
    return rows + cells_items(mapping, config) if rows else 2


def _work(mapping: LayerMapping, config: AcceleratorConfig[CrossbarTileConfig]) -> int:
    """Cycles of a tile of pixels from its first row to its last product, if no step is skipped."""
    unit = config.engine.crossbar
    # Runs of rows: rows, items of cells, output channels of the last item, passes of a step.
    parts = []
    for block in mapping.blocks:
        full, rest = divmod(len(block.rows), unit.ou_rows)
        across = -(-len(block.channels) // config.engine.item_weights)
        final = len(block.channels) - (across - 1) * config.engine.item_weights
        if unit.dynamic and len(block.rows) > unit.ou_rows:
            runs = [
                (1, unit.ou_rows, 1, 1),
                (full - 1, unit.ou_rows, 1, 2),
                (int(rest > 0), rest, 1, 2),
            ]
            counts = [config.engine.item_weights] * (across - 1) + [final]
            parts += [
                (n, rows, one, own, passes) for own in counts for n, rows, one, passes in runs
            ]
        else:
            parts += [
                (full, unit.ou_rows, across, final, 1), (int(rest > 0), rest, across, final, 1),
            ]  # fmt: skip
    if not parts:
        return GATHER_CYCLES
    times, *columns = np.array(parts, np.int64).T
    rows, items, last, passes = (np.repeat(column, times) for column in columns)
    slot = max(unit.steps, config.engine.item_weights)
    # New rows wait until the products before are written.
    first = np.maximum(unit.steps * passes, np.append(0, last[:-1] + WRITE_CYCLES))
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
