"""Sums that the actual cells can reach: of bitlines, and of accumulators, which hold them."""

import numpy as np
from numpy.typing import NDArray

from .blocks import LayerMapping
from .cells import DeviceEffects, block_cells, slice_factors
from .crossbar import CrossbarConfig
from .formation import greatest_levels, row_runs

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
        for run in row_runs(len(block.rows), config):
            levels = cells[run].astype(np.int64)
            most = _most(levels, config) * factors * steps
            above[block.channels] += np.maximum(most, 0).sum(axis=1)
            below[block.channels] -= np.minimum(most, 0).sum(axis=1)
            if config.signed == "offset":
                below[block.channels] += 128 * 255 * len(levels)
    return np.maximum(above, below)


def _most(levels: NDArray[np.int64], config: CrossbarConfig) -> NDArray[np.int64]:
    """Most that the codes of a step can be together, of a run's bitlines, int64 (channels,
    weight_bitlines)."""
    full = (1 << config.dac_bits) - 1
    units = -(-len(levels) // config.ou_rows)
    # Conversion ascends, so a bitline gives most when all rows are full.
    most = config.convert(greatest_levels(levels, config) * full) * units
    if units == 1:
        return most
    # Nor do codes exceed sums by more than what they are rounded up by.
    half = (1 << config.adc_shift) >> 1 if config.adc_rounding == "nearest" else 0
    return np.minimum(most, levels.sum(axis=0) * full + units * half)


def greatest_sum(mapping: LayerMapping) -> int:
    """Greatest bitline sum of an operation unit in a step that the weights allow; 0 without any."""
    config = mapping.config
    most = 0
    for cells in block_cells(mapping):
        for run in row_runs(len(cells), config):
            most = max(most, int(greatest_levels(cells[run], config).max(initial=0)))
    return most * ((1 << config.dac_bits) - 1)
