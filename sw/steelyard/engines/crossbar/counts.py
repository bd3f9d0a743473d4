"""What the crossbars of a layer do: steps, conversions, drives, reads, over actual activations.

Whether a step is skipped depends on the inputs alone, so counting needs none of the arithmetic.
"""

from dataclasses import astuple, dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from .blocks import LayerMapping
from .cells import DeviceEffects, block_cells
from .crossbar import CrossbarConfig
from .formation import live_rows, row_runs
from .reaches import block_reaches

__all__ = ["Activity", "Counts", "Tally", "count"]


@dataclass(frozen=True)
class Counts:
    """Events of section 4 of docs/crossbar.md, and the traffic beside the crossbars."""

    ou_steps: int = 0
    """Steps of operation units that were executed; with dynamic formation, units formed."""
    ou_skipped: int = 0
    """Steps left out because all input bits of the operation unit's rows were 0, or because rows
    with an input bit filled fewer units."""
    adc_conversions: int = 0
    """Bitlines in use of executed steps, those left out aside."""
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
    adc_left_out: int = 0
    """Bitlines in use of executed steps that reach no code but 0 and are not converted."""
    adc_decisions: int = 0
    """Bits that the conversions resolve."""

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, eq=False)
class Activity:
    """Work of one layer's crossbars."""

    counts: Counts
    conversions: NDArray[np.int64]
    """int64 (adc_bits + 1,): bitlines in use of executed steps, by the bits that are resolved; the
    first are those left out."""
    slowest: NDArray[np.int64]
    """int64 (crossbars, adc_bits + 1): executed steps in each crossbar of the layer, by ascending
    number, and by the most bits that one of their bitlines has resolved."""
    pixels: int
    """Output pixels of all images."""

    @property
    def crossbar_steps(self) -> NDArray[np.int64]:
        """int64 (crossbars,): executed steps in each crossbar of the layer."""
        return self.slowest.sum(axis=1)

    def __add__(self, other: Self) -> "Activity":
        return Activity(
            self.counts + other.counts,
            self.conversions + other.conversions,
            self.slowest + other.slowest,
            self.pixels + other.pixels,
        )

    def __mul__(self, times: int) -> "Activity":
        counts = Counts(*(value * times for value in astuple(self.counts)))
        return Activity(counts, self.conversions * times, self.slowest * times, self.pixels * times)


class Tally:
    """Counts the work of a layer's crossbars.

    Parameters
    ----------
    mapping : the layer's mapping
    effects : effects of real devices on its cells, which change what bitlines reach
    """

    def __init__(self, mapping: LayerMapping, effects: DeviceEffects | None = None) -> None:
        self._mapping, self._config = mapping, mapping.config
        self._resolved = _resolved(mapping, effects)

    def count(self, inputs: NDArray[np.uint8]) -> Activity:
        """Activity of the layer.

        Parameters
        ----------
        inputs : uint8 (positions, pixels), activation + 128 of every row at every output pixel
        """
        mapping, config, pixels = self._mapping, self._config, inputs.shape[1]
        executed = drives = reads = taken = products = 0
        numbers = mapping.crossbar_numbers
        conversions = np.zeros(config.adc_bits + 1, np.int64)
        slowest = np.zeros((len(numbers), config.adc_bits + 1), np.int64)
        owners = np.searchsorted(numbers, mapping.places[:, 0])
        # Blocks with the same rows skip the same steps.
        known: dict[bytes, tuple[NDArray[np.int64], int, int]] = {}
        blocks = zip(mapping.blocks, owners, self._resolved, strict=True)
        for block, owner, (bitlines, units) in blocks:
            key = block.rows.tobytes()
            if key not in known:
                known[key] = _steps(inputs[block.rows], config)
            steps, tall, worked = known[key]
            across = -(-len(block.channels) // config.ou_weights)
            own = int(steps.sum())
            executed += own * across
            conversions += steps @ bitlines
            slowest[owner] += steps @ units
            drives += tall * across
            reads += tall * len(block.channels) * config.weight_bitlines
            products += worked * len(block.channels)
            taken += len(block.rows) * pixels
        skipped = mapping.operation_units * config.steps * pixels - executed
        left_out, converted = int(conversions[0]), int(conversions[1:].sum())
        decisions = int(conversions @ np.arange(len(conversions)))
        outputs = mapping.shape[0] * pixels
        counts = Counts(
            executed, skipped, converted, drives, reads, taken, products, outputs,
            left_out, decisions,
        )  # fmt: skip
        return Activity(counts, conversions, slowest, pixels)

    def pixel_times(
        self, inputs: NDArray[np.uint8], times: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Time of every output pixel in the crossbar that takes the longest for it, float64
        (sets, pixels).

        Parameters
        ----------
        inputs : as of :meth:`count`
        times : of a step by the most bits that a conversion in it resolves, float64 (sets, adc_bits
            + 1)
        """
        mapping = self._mapping
        numbers = mapping.crossbar_numbers
        owners = np.searchsorted(numbers, mapping.places[:, 0])
        spent = np.zeros((len(numbers), len(times), inputs.shape[1]))
        known: dict[bytes, NDArray[np.float64]] = {}
        blocks = zip(mapping.blocks, owners, self._resolved, strict=True)
        for block, owner, (_, units) in blocks:
            key = block.rows.tobytes()
            if key not in known:
                known[key] = _executed(inputs[block.rows], self._config).astype(np.float64)
            spent[owner] += times @ units.T @ known[key]
        return spent.max(axis=0, initial=0)


def _steps(inputs: NDArray[np.uint8], config: CrossbarConfig) -> tuple[NDArray[np.int64], int, int]:
    """Executed steps of each run of a block, int64 (runs,); wordlines in them; and in how many
    output pixels each run has any, all together."""
    executed = _executed(inputs, config)
    steps = executed.sum(axis=1, dtype=np.int64)
    if config.dynamic:
        tall = int(live_rows(inputs, config).sum(dtype=np.int64))
    else:
        begins = np.arange(0, len(inputs), config.ou_rows)
        tall = int(steps @ np.minimum(len(inputs) - begins, config.ou_rows))
    return steps, tall, int(np.count_nonzero(executed))


def _executed(inputs: NDArray[np.uint8], config: CrossbarConfig) -> NDArray[np.int64]:
    """Executed steps of each run of a block at every output pixel, int64 (runs, pixels), of one
    operation unit's channels."""
    if config.dynamic:
        units = -(-live_rows(inputs, config) // config.ou_rows)
        found: NDArray[np.int64] = units.sum(axis=0, dtype=np.int64)[None]
        return found
    return _live(config)[_bits_of_runs(inputs, config.ou_rows)]


def _live(config: CrossbarConfig) -> NDArray[np.int64]:
    """Steps of each input byte that have a bit, int64 (256,)."""
    digits = np.arange(256)[:, None] >> np.arange(0, 8, config.dac_bits)
    return (digits & ((1 << config.dac_bits) - 1) != 0).sum(axis=1)


def count(
    mapping: LayerMapping, inputs: NDArray[np.uint8], effects: DeviceEffects | None = None
) -> Activity:
    """Activity of a layer, as of :class:`Tally`."""
    return Tally(mapping, effects).count(inputs)


def _resolved(
    mapping: LayerMapping, effects: DeviceEffects | None
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Of each block's runs the bitlines by bits resolved, and operation units by the most of them.

    Both int64 (runs, adc_bits + 1).
    """
    config = mapping.config
    values = config.adc_bits + 1
    found = []
    if config.adc_resolve == "all":
        for block in mapping.blocks:
            runs = len(row_runs(len(block.rows), config))
            own = np.zeros((2, runs, values), np.int64)
            own[0, :, -1] = len(block.channels) * config.weight_bitlines
            own[1, :, -1] = -(-len(block.channels) // config.ou_weights)
            found.append((own[0], own[1]))
        return found
    for reaches in block_reaches(block_cells(mapping, effects), config):
        runs, channels, _ = reaches.shape
        first = range(0, channels, config.ou_weights)
        units = np.maximum.reduceat(reaches.max(axis=2), first, axis=1)
        found.append((_histograms(reaches.reshape(runs, -1), values), _histograms(units, values)))
    return found


def _histograms(rows: NDArray[np.uint8], values: int) -> NDArray[np.int64]:
    """How often each row holds each of so many values, int64 (rows, values)."""
    places = rows + values * np.arange(len(rows))[:, None]
    return np.bincount(places.ravel(), minlength=len(rows) * values).reshape(len(rows), values)


def _bits_of_runs(inputs: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    """Bits that any row of a run has, uint8 (runs, pixels): where a step is executed."""
    rows, pixels = inputs.shape
    runs = -(-rows // height)
    padded = np.zeros((runs * height, pixels), np.uint8)
    padded[:rows] = inputs
    return np.bitwise_or.reduce(padded.reshape(runs, height, pixels), axis=1)
