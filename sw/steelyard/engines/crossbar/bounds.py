"""Sums that the actual cells can reach: of bitlines, and of accumulators, which hold them."""

import numpy as np
from numpy.typing import NDArray

from .blocks import LayerMapping
from .cells import DeviceEffects, block_cells, slice_factors

__all__ = ["accumulator_bound", "greatest_sum"]


def accumulator_bound(
    mapping: LayerMapping, effects: DeviceEffects | None = None
) -> NDArray[np.int64]:
    """Largest magnitude of an accumulator after any operation units and steps, over all inputs.

    int64 (out_channels,), for steps in any order; bias not included.
    """
    config = mapping.config
    full = (1 << config.dac_bits) - 1
    # Steps weigh 1, 2**dac_bits, ...: full digits in all of them make 255.
    steps = 255 // full
    factors = np.array(slice_factors(config), np.int64)
    above, below = np.zeros((2, mapping.shape[0]), np.int64)
    for block, cells in zip(mapping.blocks, block_cells(mapping, effects), strict=True):
        for first in range(0, len(block.rows), config.ou_rows):
            levels = cells[first : first + config.ou_rows].astype(np.int64)
            # Conversion ascends, so a bitline gives most when all rows are full.
            most = config.convert(levels.sum(axis=0) * full) * factors * steps
            above[block.channels] += np.maximum(most, 0).sum(axis=1)
            below[block.channels] -= np.minimum(most, 0).sum(axis=1)
            if config.signed == "offset":
                below[block.channels] += 128 * 255 * len(levels)
    return np.maximum(above, below)


def greatest_sum(mapping: LayerMapping) -> int:
    """Greatest bitline sum of an operation unit in a step that the weights allow; 0 without any."""
    config = mapping.config
    most = 0
    for cells in block_cells(mapping):
        begins = np.arange(0, len(cells), config.ou_rows)
        most = max(most, int(np.add.reduceat(cells, begins, axis=0, dtype=np.int64).max(initial=0)))
    return most * ((1 << config.dac_bits) - 1)
