"""Area, energy and time of mapped networks, from their crossbars and what these actually did."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..engines.crossbar import Activity, CrossbarConfig, LayerMapping, NetworkMapping
from .constants import ConstantSet, constant_set

__all__ = ["Cost", "NetworkCost", "Ratios", "compare", "price", "price_layer", "step_times"]

ADDER_BITS = 16
"""Bits of the shift-adders of all sets."""


@dataclass(frozen=True)
class Cost:
    """Price of a layer or network under one constant set."""

    area: dict[str, float]
    """um2 by part: `cells`, `converters` (and all else beside the cells), `index`."""
    energy: dict[str, float]
    """pJ by part: `adc`, `dac`, `cells`, `shift_add`, `buffer`, `index`."""
    serial_time: float
    """ns with one operation unit at work at a time; any fixed number of them divides it."""
    parallel_time: float
    """ns with one operation unit at work in every crossbar of a layer, layer after layer: its
    busiest crossbar counts."""

    @property
    def total_area(self) -> float:
        """um2 of crossbars, all beside them, and index memory."""
        return sum(self.area.values())

    @property
    def total_energy(self) -> float:
        """pJ of all images."""
        return sum(self.energy.values())

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            {part: value + other.area[part] for part, value in self.area.items()},
            {part: value + other.energy[part] for part, value in self.energy.items()},
            self.serial_time + other.serial_time,
            self.parallel_time + other.parallel_time,
        )


@dataclass(frozen=True, eq=False)
class NetworkCost:
    """Price of a network, with what it follows from."""

    constants: str
    mapping: NetworkMapping
    activities: Mapping[str, Activity]
    layers: dict[str, Cost]
    total: Cost

    @property
    def ou_steps(self) -> int:
        """Executed steps of operation units."""
        return sum(work.counts.ou_steps for work in self.activities.values())

    @property
    def ou_skipped(self) -> int:
        """Steps left out for inputs of 0."""
        return sum(work.counts.ou_skipped for work in self.activities.values())


@dataclass(frozen=True)
class Ratios:
    """How much less one mapping takes than another, as other over own; infinite for nothing."""

    area: float
    """Crossbars with all beside them, and index memory."""
    energy: float
    speed: float
    """Serial time: the same number of operation units at work for both."""
    parallel_speed: float
    """Parallel time: as many operation units at work as each has crossbars."""
    cells: float
    """First mechanism: cells saved."""
    ou_steps: float
    """Second mechanism: steps of operation units saved, executed and skipped ones together."""
    executed_steps: float
    crossbars: float
    crossbar_area: float
    """Cells of crossbars in use, filled or not, and of as many more as the index bits would take:
    the same memory for weights and index, and nothing beside it."""
    fill_free_area: float
    """As `area`, but of as many crossbars, and parts of one, as the cells in use would fill: what
    whole crossbars round does not show, which is most of `area` where there are few."""


def price(
    mapping: NetworkMapping, activities: Mapping[str, Activity], constants: str | None = None
) -> NetworkCost:
    """Price of a network.

    Parameters
    ----------
    activities : work of every mapped layer, as of :func:`steelyard.engines.crossbar.activity`
    constants : name of the constant set; by default the configuration's

    Raises
    ------
    UserError
        If the set is unknown or has no converter of so many bits.
    """
    chosen = constant_set(constants or mapping.config.constants)
    shares = mapping.shares()
    layers = {
        name: price_layer(layer, activities[name], chosen, crossbars=shares[name])
        for name, layer in mapping.layers.items()
    }
    total = _nothing()
    for cost in layers.values():
        total += cost
    return NetworkCost(chosen.name, mapping, activities, layers, total)


def price_layer(
    mapping: LayerMapping,
    work: Activity,
    constants: ConstantSet,
    *,
    crossbars: float | None = None,
) -> Cost:
    """Price of one layer.

    Where converters stop at the bits that a bitline reaches (`adc_resolve`), a conversion of b of
    `adc_bits` bits takes (b + o) / (adc_bits + o) of the energy and time of a whole one, o =
    `adc_overhead`: the converter is the same, and what it spends beside its bits is kept in full.

    Where rows with an input bit form operation units (`ou_formation`), every crossbar has an
    adder's bit and a byte of buffer for each wordline: ``x & -x`` finds the next row with a bit, as
    often as an operation unit has rows, and the inputs of all rows wait beside it. Each step passes
    a block's rows once for each `ou_weights` of its channels. That is our estimate; no set has it.

    Parameters
    ----------
    crossbars : how many the layer answers for, as of :meth:`NetworkMapping.shares`; by default all
        in which it has blocks

    Raises
    ------
    UserError
        If the set has no converter of so many bits.
    """
    config, counts = mapping.config, work.counts
    adc_energy, _ = constants.adc(config.adc_bits)
    # Bits that are not resolved save their part of a conversion, and of its time.
    whole = config.adc_bits + constants.adc_overhead.value
    saved = (counts.adc_conversions * config.adc_bits - counts.adc_decisions) / whole
    bit = constants.buffer_energy.value
    shift_add = constants.shift_add_energy.value
    adder_bit = shift_add / ADDER_BITS
    drive = constants.dac_energy.value * 2 ** (config.dac_bits - 1)
    # The index is read again for every output pixel: it steers rows and channels of each step.
    index_reads = mapping.index_bits * work.pixels
    steps = step_times(config, constants)
    cells, beside = _crossbar_area(config, constants)
    owned = mapping.crossbars if crossbars is None else crossbars
    return Cost(
        area={
            "cells": owned * cells,
            "converters": owned * beside,
            "index": mapping.index_bits * constants.buffer_area.value,
        },
        energy={
            "adc": counts.adc_conversions * (adc_energy.value + constants.bitline_energy.value)
            - saved * adc_energy.value,
            "dac": counts.dac_drives * drive + _selected_rows(mapping, work) * adder_bit,
            "cells": counts.cell_reads * constants.cell_energy.value,
            # A code is shifted and added once; a product takes two halves of an accumulator.
            "shift_add": (counts.adc_conversions + 2 * counts.products) * shift_add,
            "buffer": 8 * counts.input_bytes * (bit + constants.bus_energy.value)
            + 8 * counts.outputs * bit,
            "index": index_reads * (bit + constants.bus_energy.value),
        },
        serial_time=float(work.slowest.sum(axis=0) @ steps),
        parallel_time=float((work.slowest @ steps).max(initial=0)),
    )


def step_times(config: CrossbarConfig, constants: ConstantSet) -> NDArray[np.float64]:
    """Time of a step, ns, by the most bits that one of its conversions resolves, float64 (adc_bits
    + 1,): bitlines settle, and the slowest conversion ends."""
    resolved = np.arange(config.adc_bits + 1) + constants.adc_overhead.value
    share = resolved / (config.adc_bits + constants.adc_overhead.value)
    return np.maximum(constants.read_time.value, constants.adc_time.value * share)


def compare(own: NetworkCost, other: NetworkCost) -> Ratios:
    """What `own` saves over `other`, the traditional mapping as a rule.

    Raises
    ------
    ValueError
        If the two were priced under different constant sets.
    """
    if own.constants != other.constants:
        raise ValueError(
            f"Costs under {own.constants!r} and {other.constants!r} cannot be compared; "
            "price both under one constant set."
        )
    return Ratios(
        area=_ratio(other.total.total_area, own.total.total_area),
        energy=_ratio(other.total.total_energy, own.total.total_energy),
        speed=_ratio(other.total.serial_time, own.total.serial_time),
        parallel_speed=_ratio(other.total.parallel_time, own.total.parallel_time),
        cells=_ratio(other.mapping.cells, own.mapping.cells),
        ou_steps=_ratio(other.ou_steps + other.ou_skipped, own.ou_steps + own.ou_skipped),
        executed_steps=_ratio(other.ou_steps, own.ou_steps),
        crossbars=_ratio(other.mapping.crossbars, own.mapping.crossbars),
        crossbar_area=_ratio(_cells_with_index(other.mapping), _cells_with_index(own.mapping)),
        fill_free_area=_ratio(_filled_area(other), _filled_area(own)),
    )


def _filled_area(cost: NetworkCost) -> float:
    """Area of the crossbars that the cells in use would fill, and of the index, um2."""
    mapping, config = cost.mapping, cost.mapping.config
    constants = constant_set(cost.constants)
    crossbar = sum(_crossbar_area(config, constants))
    filled = mapping.cells / (config.rows * config.columns)
    return filled * crossbar + mapping.index_bits * constants.buffer_area.value


def _cells_with_index(mapping: NetworkMapping) -> float:
    config = mapping.config
    return mapping.crossbars * config.rows * config.columns + mapping.index_bits / config.cell_bits


def _crossbar_area(config: CrossbarConfig, constants: ConstantSet) -> tuple[float, float]:
    """Area of a crossbar's cells, and of drivers and one operation unit's converters, um2."""
    _, adc_area = constants.adc(config.adc_bits)
    row = constants.row_area.value + constants.dac_area.value * 2 ** (config.dac_bits - 1)
    if config.dynamic:
        row += constants.shift_add_area.value / ADDER_BITS + 8 * constants.buffer_area.value
    column = adc_area.value + constants.shift_add_area.value
    beside = (
        config.rows * row
        + config.columns * constants.bitline_area.value
        + config.ou_columns * column
    )
    return config.rows * config.columns * constants.cell_area.value, beside


def _selected_rows(mapping: LayerMapping, work: Activity) -> int:
    """Rows that all steps passed to find those with an input bit."""
    if not mapping.config.dynamic:
        return 0
    return mapping.unit_rows * mapping.config.steps * work.pixels


def _nothing() -> Cost:
    parts = ("adc", "dac", "cells", "shift_add", "buffer", "index")
    areas = dict.fromkeys(("cells", "converters", "index"), 0.0)
    return Cost(areas, dict.fromkeys(parts, 0.0), 0.0, 0.0)


def _ratio(other: float, own: float) -> float:
    if own:
        return other / own
    return float("inf") if other else 1.0
