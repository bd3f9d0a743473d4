"""What the crossbars of a layer do: steps, conversions, drives, reads, over actual activations.

Whether a step is skipped depends on the inputs alone, so counting needs none of the arithmetic.
"""

from dataclasses import astuple, dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .blocks import LayerMapping

__all__ = ["Activity", "Counts", "count"]


@dataclass(frozen=True)
class Counts:
    """Events of section 4 of docs/crossbar.md, and the traffic beside the crossbars."""

    ou_steps: int = 0
    """Steps of operation units that were executed."""
    ou_skipped: int = 0
    """Steps left out because all input bits of the operation unit's rows were 0."""
    adc_conversions: int = 0
    """Bitlines in use of executed steps."""
    dac_drives: int = 0
    """Wordlines in use of executed steps."""
    cell_reads: int = 0
    """Cells in use of executed steps."""
    input_bytes: int = 0
    """Activations taken to wordlines: rows of blocks, once an output pixel."""
    products: int = 0
    """Products added to accumulators: channels of operation units, once an output pixel in which
    any of their steps was executed."""
    outputs: int = 0
    """Output elements written."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, eq=False)
class Activity:
    """Work of one layer's crossbars."""

    counts: Counts
    crossbar_steps: NDArray[np.int64]
    """int64 (crossbars,): executed steps in each crossbar of the layer, by ascending number."""
    pixels: int
    """Output pixels of all images."""

    def __add__(self, other: Self) -> "Activity":
        return Activity(
            self.counts + other.counts,
            self.crossbar_steps + other.crossbar_steps,
            self.pixels + other.pixels,
        )

    def __mul__(self, times: int) -> "Activity":
        counts = Counts(*(value * times for value in astuple(self.counts)))
        return Activity(counts, self.crossbar_steps * times, self.pixels * times)


def count(mapping: LayerMapping, inputs: NDArray[np.uint8]) -> Activity:
    """Activity of a layer.

    Parameters
    ----------
    inputs : uint8 (positions, pixels), activation + 128 of every row at every output pixel
    """
    config, pixels = mapping.config, inputs.shape[1]
    digits = np.arange(256)[:, None] >> np.arange(0, 8, config.dac_bits)
    live = (digits & ((1 << config.dac_bits) - 1) != 0).sum(axis=1)
    executed = conversions = drives = reads = taken = products = 0
    numbers = mapping.crossbar_numbers
    crossbar_steps = np.zeros(len(numbers), np.int64)
    owners = np.searchsorted(numbers, mapping.places[:, 0])
    # Blocks with the same rows skip the same steps.
    known: dict[bytes, tuple[NDArray[np.int64], int]] = {}
    for block, owner in zip(mapping.blocks, owners, strict=True):
        key = block.rows.tobytes()
        begins = np.arange(0, len(block.rows), config.ou_rows)
        if key not in known:
            bits = _bits_of_runs(inputs[block.rows], config.ou_rows)
            known[key] = live[bits].sum(axis=1), int(np.count_nonzero(bits))
        steps, worked = known[key]
        heights = np.minimum(len(block.rows) - begins, config.ou_rows)
        across = -(-len(block.channels) // config.ou_weights)
        bitlines = len(block.channels) * config.weight_bitlines
        own, tall = int(steps.sum()), int((steps * heights).sum())
        executed += own * across
        crossbar_steps[owner] += own * across
        conversions += own * bitlines
        drives += tall * across
        reads += tall * bitlines
        products += worked * len(block.channels)
        taken += len(block.rows) * pixels
    skipped = mapping.operation_units * config.steps * pixels - executed
    outputs = mapping.shape[0] * pixels
    counts = Counts(executed, skipped, conversions, drives, reads, taken, products, outputs)
    return Activity(counts, crossbar_steps, pixels)


def _bits_of_runs(inputs: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """Bits that any row of a run has, uint8 (runs, pixels): where a step is executed."""
    rows, pixels = inputs.shape
    runs = -(-rows // height)
    padded = np.zeros((runs * height, pixels), np.uint8)
    padded[:rows] = inputs
    return np.bitwise_or.reduce(padded.reshape(runs, height, pixels), axis=1)
