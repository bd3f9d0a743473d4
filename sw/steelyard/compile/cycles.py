"""Cycle model: how long the accelerator takes for a descriptor, from its schedule alone."""

import numpy as np
from numpy.typing import NDArray

from ..config import ArrayConfig
from .descriptor import Descriptor, Operation

__all__ = ["conv_tile_cycles", "predict", "segments"]

LAUNCH = 40
"""Cycles to read a descriptor and set up the walkers."""
PIPELINE = 20
"""Cycles from the last multiplication to the last output word, drain excluded."""
MINIMUM_DRAIN = 8
"""Least cycles between two drains: a stored partial sum takes that long until it may be read."""


def segments(descriptor: Descriptor, lanes: int) -> NDArray[np.int64]:
    """Aligned reads that each tile needs for one window word, int64 (out_tiles,)."""
    d = descriptor
    pixel = np.arange((d.out_tiles - 1) * lanes + d.last_lanes, dtype=np.int64)
    image, place = pixel % d.batch, pixel // d.batch
    row, column = place // d.out_w, place % d.out_w
    origin = (row * d.in_w + column) * d.stride * d.batch + image
    follows = np.zeros(len(pixel), bool)
    follows[1:] = np.diff(origin) == (2 if d.step2 else 1)
    follows[::lanes] = False
    starts = np.flatnonzero(~follows)
    lengths = np.diff(np.append(starts, len(pixel)))
    limit = lanes // 2 if d.step2 else lanes
    count = np.zeros(d.out_tiles, np.int64)
    np.add.at(count, starts // lanes, -(-lengths // limit))
    return count


def conv_tile_cycles(
    descriptor: Descriptor, config: ArrayConfig, load: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Steady-state cycles of convolution tiles whose window loads take `load` cycles each.

    The array and the drain of the pass before work side by side, so a pass takes the longer of the
    two. Loads hide behind the passes; when one chunk fills more than half of the window memory and
    several passes use it, what the ring cannot hold ahead has only the last pass to hide behind.
    """
    d = descriptor
    last_slots = (d.last_chunk_groups - 1) * d.k + d.k_last
    drain = max(config.columns * config.drain_beats, MINIMUM_DRAIN)
    last_drain = max(d.last_columns * config.drain_beats, MINIMUM_DRAIN)
    compute = 0
    for slots, count in ((d.chunk_groups * d.k, d.chunks - 1), (last_slots, 1)):
        compute += count * ((d.passes - 1) * max(slots, drain) + max(slots, last_drain))
    cycles = np.maximum(load, compute)
    if d.chunks == 1 and d.passes > 1 and 2 * d.groups > config.window_groups:
        late = load * (2 * d.groups - config.window_groups) // d.groups
        cycles = np.maximum(cycles, compute + late - max(last_slots, last_drain))
    return cycles


def predict(descriptor: Descriptor, config: ArrayConfig) -> int:
    """Cycles from the start of a descriptor to its last output word."""
    d = descriptor
    reads = segments(d, config.lanes)
    taps = d.kernel_w * d.kernel_h
    if d.op == Operation.CONV:
        load = np.maximum(taps * d.in_channels * reads, config.lanes)
        cycles = conv_tile_cycles(d, config, load)
        fill = config.group * int(reads[0])
        flush = config.columns * config.drain_beats
    else:
        operands = 2 if d.op == Operation.ADD else taps
        # Both operands of an add drain, of a window only the result.
        drains = operands if d.op == Operation.ADD else 1
        word = np.maximum(operands * reads, drains * config.drain_beats)
        cycles = np.maximum(d.in_channels * word, config.lanes)
        fill = operands * int(reads[0])
        flush = config.drain_beats
    return LAUNCH + config.lanes + fill + int(cycles.sum()) + flush + PIPELINE
