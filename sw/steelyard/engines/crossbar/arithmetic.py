"""Arithmetic of the crossbars: every operation unit, bitline, input step and conversion.

Some ways to the same integers. Operation units none of whose sums the converter can change, for
codes are sums and reach the greatest that the cells allow, are products of inputs and weights.
Otherwise, where a unit has fewer possible inputs than it meets, a table holds its product for each
of them: all bitline sums by one addition each, the converter, and shift-and-add, in small integers.
Elsewhere the sums of the actual inputs are matrix products in a floating-point type that holds them
exactly, or, where rows with an input bit form the units, sums of these rows' cells.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .analog import UNIT, AnalogEffects
from .blocks import LayerMapping
from .cells import DeviceEffects, block_cells, block_conductances, slice_factors
from .converters import Converter
from .formation import Formed, formed, greatest_levels, row_runs

__all__ = ["Crossbars"]

TABLE_ELEMENTS = 1 << 18
"""Elements of the largest table that is worked on at once: it should stay in a core's cache."""
PIXELS = 1 << 10
"""Output pixels that are worked on at once, for the same reason."""
PRODUCTS = 1 << 14
"""Products that are worked on at once, where so many pixels have fewer: calls cost time too."""
FLOAT32_EXACT = 1 << 24
NOISY_TABLES = 4
"""Tables that share the noise of a table's reads; each read takes one of them by chance."""


@dataclass(frozen=True, eq=False)
class _Run:
    """Operation units side by side: the same rows, all their channels. With dynamic formation
    these are all rows of a block, and units form of them."""

    rows: NDArray[np.int32]
    channels: NDArray[np.int32] | slice
    levels: NDArray[np.integer]
    """Levels of the cells, or parts of levels: (weight_bitlines, rows, channels)."""


class Crossbars:
    """Programmed crossbars of one layer.

    Parameters
    ----------
    mapping : the layer's mapping
    effects : effects of real devices on its cells
    converter : of all its bitlines; the configuration's unless given
    analog : effects that leave its cells and sums between levels. Noise is drawn anew for each
        conversion, except in tables: there it is one of `NOISY_TABLES` draws for the same inputs of
        the same operation unit
    """

    def __init__(
        self,
        mapping: LayerMapping,
        effects: DeviceEffects | None = None,
        converter: Converter | None = None,
        analog: AnalogEffects | None = None,
    ) -> None:
        self._config = config = mapping.config
        self._converter = converter or Converter.of(config)
        self._outputs = mapping.shape[0]
        self._factors = slice_factors(config)
        self._analog = analog
        self._rng = None if analog is None else analog.noise(mapping.name)
        digit = (1 << config.dac_bits) - 1
        if analog is None:
            self._unit = 1
            self._runs = list(_runs(mapping, block_cells(mapping, effects)))
            self._greatest = config.greatest_sum
        else:
            self._unit = UNIT
            self._runs = list(_runs(mapping, block_conductances(mapping, effects, analog)))
            self._greatest = max(map(self._reached, self._runs), default=0)
            self._greatest += analog.greatest_noise
        # Products of one operation unit and step, before the offset: converted sums ascend.
        levels = self._greatest // self._unit + 1
        greatest = max(levels, int(self._converter.convert(levels)))
        self._bound = greatest * sum(abs(factor) for factor in self._factors)
        self._bound += 128 * config.ou_rows * digit
        self._bound = max(self._bound, self._greatest + self._converter.step * self._unit)
        self._whole, self._converted = self._told_apart(mapping.positions)

    def accumulate(self, inputs: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Sums of all products, int64 (pixels, out_channels).

        Parameters
        ----------
        inputs : uint8 (positions, pixels), activation + 128 of every row at every output pixel
        """
        config = self._config
        pixels = inputs.shape[1]
        # Half as long where all sums fit, which is quicker.
        units = sum(-(-len(run.rows) // config.ou_rows) for run in self._converted)
        fits = self._bound * 255 * max(1, units) < 1 << 31
        sums = np.zeros((pixels, self._outputs), np.int32 if fits else np.int64)
        for run in self._converted:
            own = inputs[run.rows]
            if len(run.rows) > config.ou_rows:
                for part, products in self._formed(run, own):
                    sums[part, run.channels] += products
                continue
            patterns = self._tables << (config.dac_bits * len(run.rows))
            if patterns <= min(config.steps * pixels, TABLE_ELEMENTS):
                sums[:, run.channels] += self._looked_up(run, own)
                continue
            for first in range(0, pixels, PIXELS):
                part = slice(first, first + PIXELS)
                sums[part, run.channels] += self._multiplied(run, own[:, part])
        if len(self._converted) == len(self._runs):
            return sums.astype(np.int64)
        # Exact: 53 bits hold the sums of more weights than layers have.
        return sums + (inputs.T.astype(np.float64) @ self._whole).astype(np.int64)

    def _told_apart(self, positions: int) -> tuple[NDArray[np.float64], list[_Run]]:
        """Weights (positions, outputs) whose sums the converter cannot change, and the rest."""
        whole = np.zeros((positions, self._outputs))
        if self._analog is not None:
            return whole, self._runs
        offset = 128 if self._config.signed == "offset" else 0
        rest = []
        for run in self._runs:
            if not self._converter.is_exact(self._reached(run)):
                rest.append(run)
                continue
            weights = np.tensordot(self._factors, run.levels.astype(np.float64), 1) - offset
            channels = np.arange(self._outputs)[run.channels]
            whole[np.ix_(run.rows, channels)] += weights
        return whole, rest

    def _reached(self, run: _Run) -> int:
        """Greatest sum that a bitline of a run can have in a step."""
        levels = greatest_levels(run.levels.swapaxes(0, 1), self._config)
        return int(levels.max(initial=0)) * ((1 << self._config.dac_bits) - 1)

    def weighted_sums(self, inputs: NDArray[np.uint8], size: int, bins: int) -> NDArray[np.float64]:
        """How often bitline sums occur before conversion, each occurrence by the square of the
        place that its code takes in the product: float64 (bins,) of `size` sums each.

        Parameters
        ----------
        inputs : as :meth:`accumulate` takes them
        """
        found = np.zeros(bins)
        for run in self._runs:
            for sums, weights in self._weighted(run, inputs[run.rows]):
                each = np.repeat(weights, sums.shape[1])
                found += np.bincount(sums.ravel() // size, weights=each, minlength=bins)
        return found

    def _weighted(
        self, run: _Run, inputs: NDArray[np.uint8]
    ) -> Iterator[tuple[NDArray[np.integer], NDArray[np.float64]]]:
        """Sums (occurrences, channels) of each bitline, and the weight of each occurrence."""
        bits = self._config.dac_bits
        squares = 4.0 ** (bits * np.arange(self._config.steps))
        bitlines = [
            (float(factor) ** 2, cells)
            for factor, cells in zip(self._factors, run.levels.astype(np.int64), strict=True)
        ]
        if len(run.rows) > self._config.ou_rows:
            for _, units, found in self._gathered(run, inputs):
                weights = squares[units.steps].astype(np.float64)
                for (square, _), own in zip(bitlines, found, strict=True):
                    yield own, square * weights
            return
        combinations = 1 << (bits * len(run.rows))
        if combinations <= min(self._config.steps * inputs.shape[1], TABLE_ELEMENTS):
            weights = np.zeros(combinations)
            for square, places in zip(squares, self._places(inputs), strict=True):
                weights += square * np.bincount(places, minlength=combinations)
            for square, cells in bitlines:
                sums = np.zeros((combinations, cells.shape[1]), np.int64)
                _combine(sums, cells, 1 << bits)
                yield sums, square * weights
            return
        for first in range(0, inputs.shape[1], PIXELS):
            digits = self._digits(inputs[:, first : first + PIXELS])
            weights = np.repeat(squares, digits.shape[2])
            # Floating point is fast in matrix products and exact for these integers.
            applied = digits.transpose(0, 2, 1).reshape(len(weights), -1).astype(np.float64)
            for square, cells in bitlines:
                yield (applied @ cells).astype(np.int64), square * weights

    def _gathered(
        self, run: _Run, inputs: NDArray[np.uint8]
    ) -> Iterator[tuple[slice, Formed, list[NDArray[np.integer]]]]:
        """Units that rows with an input bit form at some pixels, and sums (units, channels) of each
        bitline of a weight before conversion."""
        bitlines, rows, channels = run.levels.shape
        dtype = np.int16 if self._bound < 1 << 15 else np.int64
        # Units with fewer rows are filled up with one of zeros.
        table = np.zeros((rows + 1, bitlines * channels), dtype)
        table[:rows] = run.levels.swapaxes(0, 1).reshape(rows, -1)
        for part, units in formed(inputs, self._config, table.shape[1]):
            sums = np.zeros((len(units.pixels), table.shape[1]), dtype)
            cells = np.empty_like(sums)
            for members, values in zip(units.rows, units.digits, strict=True):
                # Every place is in range; the mode only spares a copy.
                np.take(table, members, axis=0, out=cells, mode="clip")
                if self._config.dac_bits > 1:
                    cells *= values[:, None].astype(dtype)
                sums += cells
            yield part, units, np.split(sums, bitlines, axis=1)

    def _formed(
        self, run: _Run, inputs: NDArray[np.uint8]
    ) -> Iterator[tuple[slice, NDArray[np.int64]]]:
        """Products (pixels, channels) of inputs (rows, pixels) in units formed of them, some
        pixels at a time."""
        for part, units, sums in self._gathered(run, inputs):
            total = np.zeros((len(units.pixels), run.levels.shape[2]), np.int64)
            if self._config.signed == "offset":
                total -= 128 * units.digits.sum(axis=0, dtype=np.int64)[:, None]
            for factor, own in zip(self._factors, sums, strict=True):
                self._read(own)
                total += own * np.int64(factor)
            total <<= (units.steps * self._config.dac_bits)[:, None]
            products = np.zeros((part.stop - part.start, total.shape[1]), np.int64)
            np.add.at(products, units.pixels, total)
            yield part, products

    def _digits(self, inputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """What is applied in each step, lowest first: (steps, rows, pixels)."""
        shifts = np.arange(0, 8, self._config.dac_bits, dtype=np.uint8)[:, None, None]
        return (inputs >> shifts) & np.uint8((1 << self._config.dac_bits) - 1)

    def _places(self, inputs: NDArray[np.uint8]) -> NDArray[np.intp]:
        """Place in a table for what inputs (rows, pixels) apply in each step, (steps, pixels)."""
        bits = self._config.dac_bits
        # Short integers: this is as much work as looking up a few channels.
        dtype = np.uint16 if bits * len(inputs) <= 16 else np.uint32
        digits = self._digits(inputs)
        places = np.zeros((len(digits), inputs.shape[1]), dtype)
        for row in range(len(inputs)):
            places |= np.left_shift(digits[:, row], bits * row, dtype=dtype)
        return places.astype(np.intp)

    @property
    def _tables(self) -> int:
        """Tables of a run."""
        return 1 if self._rng is None else NOISY_TABLES

    def _looked_up(self, run: _Run, inputs: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Products (pixels, channels) of inputs (rows, pixels) from tables."""
        bits = self._config.dac_bits
        places = self._places(inputs)
        if self._rng is not None:
            chosen = self._rng.integers(0, self._tables, places.shape, dtype=np.intp)
            places += chosen << (bits * len(inputs))
        products = np.zeros((inputs.shape[1], run.levels.shape[2]), np.int32)
        width = max(1, (TABLE_ELEMENTS >> (bits * len(inputs))) // self._tables)
        for left in range(0, products.shape[1], width):
            table = self._table(run.levels[:, :, left : left + width])
            pixels = max(PIXELS, PRODUCTS // table.shape[1])
            for first in range(0, len(products), pixels):
                total = products[first : first + pixels, left : left + width]
                found = np.empty(total.shape, np.int32)
                for step in places[::-1, first : first + pixels]:
                    total <<= bits
                    # Every place is in range; the mode only spares a copy.
                    np.take(table, step, axis=0, out=found, mode="clip")
                    total += found
        return products

    def _table(self, levels: NDArray[np.integer]) -> NDArray[np.int32]:
        """Product of one step for every combination of digits, int32 (combinations, channels); one
        table behind the other where there are several."""
        config = self._config
        dtype = np.int16 if self._bound < 1 << 15 else np.int32
        base = 1 << config.dac_bits
        _, rows, channels = levels.shape
        sums = np.empty((base**rows, channels), dtype)
        offset = np.zeros((base**rows, channels), dtype)
        if config.signed == "offset":
            _combine(offset, np.full((rows, channels), -128, dtype), base)
        products = np.tile(offset, (self._tables, 1))
        tables = products.reshape(self._tables, base**rows, channels)
        for factor, cells in zip(self._factors, levels.astype(dtype), strict=True):
            sums[0] = 0
            _combine(sums, cells, base)
            for table in tables:
                read = sums if self._rng is None else sums.copy()
                self._read(read)
                read *= dtype(factor)
                table += read
        # A step without inputs is skipped, so it has no noise either.
        tables[:, 0] = 0
        return products.astype(np.int32)

    def _read(self, sums: NDArray) -> None:
        """Noise and conversion, in place, on sums in parts of a level."""
        if self._analog is not None and self._rng is not None:
            self._analog.add_noise(sums, self._rng)
        self._converter.convert_in_place(sums, self._greatest, self._unit)

    def _multiplied(self, run: _Run, applied: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Products (pixels, channels) of inputs (rows, pixels), each computed."""
        config = self._config
        dtype = np.float32 if self._bound < FLOAT32_EXACT else np.float64
        digits = self._digits(applied)
        steps, rows, pixels = digits.shape
        inputs = digits.transpose(0, 2, 1).reshape(-1, rows).astype(dtype)
        channels = run.levels.shape[2]
        products = np.zeros((pixels, channels), np.int32)
        width = max(1, TABLE_ELEMENTS // len(inputs))
        for first in range(0, channels, width):
            part = slice(first, first + width)
            levels = run.levels[:, :, part].astype(dtype)
            shape = (len(inputs), levels.shape[2])
            total = np.zeros(shape, dtype)
            if config.signed == "offset":
                total -= 128 * inputs.sum(axis=1)[:, None]
            sums = np.empty(shape, dtype)
            for factor, cells in zip(self._factors, levels, strict=True):
                np.matmul(inputs, cells, out=sums)
                self._read(sums)
                sums *= factor
                total += sums
            if self._rng is not None:
                total[~inputs.any(axis=1)] = 0
            for step in total.reshape(steps, pixels, -1)[::-1]:
                products[:, part] <<= config.dac_bits
                products[:, part] += step.astype(np.int32)
        return products


def _combine(sums: NDArray, cells: NDArray, base: int) -> None:
    """Fill sums (base**rows, channels), of which the first is given, for all digits of cells."""
    size = 1
    for row in cells:
        for digit in range(1, base):
            np.add(sums[:size], row * sums.dtype.type(digit), out=sums[digit * size :][:size])
        size *= base


def _runs(mapping: LayerMapping, cells: Sequence[NDArray[np.integer]]) -> Iterator[_Run]:
    """Runs of all blocks; blocks with the same rows work side by side."""
    groups: dict[bytes, list[int]] = {}
    for number, block in enumerate(mapping.blocks):
        groups.setdefault(block.rows.tobytes(), []).append(number)
    for members in groups.values():
        rows = mapping.blocks[members[0]].rows
        channels = np.concatenate([mapping.blocks[number].channels for number in members])
        levels = np.concatenate([cells[number] for number in members], axis=1)
        ordered = np.ascontiguousarray(levels.transpose(2, 0, 1))
        begin, end = int(channels[0]), int(channels[-1]) + 1
        adjacent = np.array_equal(channels, np.arange(begin, end))
        for part in row_runs(len(rows), mapping.config):
            yield _Run(rows[part], slice(begin, end) if adjacent else channels, ordered[:, part])
