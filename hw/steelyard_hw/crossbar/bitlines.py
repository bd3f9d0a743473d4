"""Bitlines of an operation unit: input bits, sums, converters, shift-and-add."""

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig
from steelyard.engines.crossbar import CrossbarConfig

from ..lib.delay import delay
from .formation import Formation, counted
from .trees import Term, add_tree, tree_stages

__all__ = ["Bitlines", "product_shape"]


def slice_terms(unit: CrossbarConfig) -> list[tuple[int, int]]:
    """Sign and shift of each bitline of a weight."""
    shifts = range(0, 8, unit.cell_bits)
    signs = (1, -1) if unit.signed == "differential" else (1,)
    return [(sign, shift) for sign in signs for shift in shifts]


def step_range(unit: CrossbarConfig) -> tuple[int, int]:
    """Least and greatest product of a weight in one step."""
    most = int(unit.convert(unit.greatest_sum))
    low = sum(most << shift for sign, shift in slice_terms(unit) if sign < 0)
    high = sum(most << shift for sign, shift in slice_terms(unit) if sign > 0)
    if unit.signed == "offset":
        low = 128 * unit.ou_rows * ((1 << unit.dac_bits) - 1)
    return -low, high


def product_shape(unit: CrossbarConfig) -> range:
    """Values of a weight's product in an operation unit, all steps together."""
    low, high = step_range(unit)
    weights = sum(1 << shift for shift in range(0, 8, unit.dac_bits))
    # Rows of one item may complete an operation unit and, being the last, be one themselves.
    weights *= 2 if unit.dynamic else 1
    return range(low * weights, high * weights + 1)


class Bitlines(wiring.Component):
    """Products of operation units that work together, on all lanes, one step a cycle.

    `latency` cycles from a step to the register that adds up the steps; the products stand in
    `products` a cycle later, until the next operation unit's last step.

    With dynamic formation a step is taken in one or two passes (:class:`.formation.Formation`), and
    bitline sums wait, by step, for the rows that complete their operation unit.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Attributes
    ----------
    latency : :class:`int`
    counts_latency : :class:`int`
        Cycles from a pass to its `formed` and `live`.

    Members
    -------
    inputs : ``In(ArrayLayout(8, ou_rows * lanes))``
        Unsigned activations, the lanes of the first row first; rows not in use are 0.
    cells : ``In(ArrayLayout(cell_bits, ou_rows * item_columns))``
    step : ``In(steps)``
        The step of this cycle, a bit for each.
    valid, first, last : ``In(1)``
        A step is taken; it is the operation units' first or last.
    fresh, second, begins, ends : ``In(1)``
        Of a pass, with dynamic formation only: no rows wait in its step; it is the second; its rows
        are the first, and the last, of a block.
    products : ``Out(ArrayLayout(product_shape, item_weights * lanes))``
        The lanes of the first weight first.
    formed, live : ``Out``
        As of :class:`.formation.Formation`, with dynamic formation only.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        unit = config.engine.crossbar
        terms = len(slice_terms(unit)) + (unit.signed == "offset")
        self._ahead = 1 + Formation.LATENCY if unit.dynamic else 1
        self._added = self._ahead + tree_stages(unit.ou_rows)
        self.latency = self._added + unit.dynamic + 1 + tree_stages(terms) + 1
        product = Signal(product_shape(unit)).shape()
        members = {}
        if unit.dynamic:
            self.counts_latency = self._ahead + tree_stages(config.engine.lanes)
            members = {name: In(1) for name in ("fresh", "second", "begins", "ends")}
            members |= zip(("formed", "live"), map(Out, counted(config)), strict=True)
        super().__init__(
            {
                "inputs": In(data.ArrayLayout(8, unit.ou_rows * config.engine.lanes)),
                "cells": In(
                    data.ArrayLayout(unit.cell_bits, unit.ou_rows * config.engine.item_columns)
                ),
                "step": In(unit.steps),
                "valid": In(1),
                "first": In(1),
                "last": In(1),
                "products": Out(
                    data.ArrayLayout(product, config.engine.item_weights * config.engine.lanes)
                ),
                **members,
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, unit = self._config, self._config.engine.crossbar
        cells = Signal.like(self.cells, reset_less=True)
        m.d.sync += cells.eq(self.cells)
        cells = delay(m, cells, self._ahead - 1, "cells")
        number = Signal(range(max(unit.steps, 2)))
        for bit in range((unit.steps - 1).bit_length()):
            with_bit = Cat(self.step[n] for n in range(unit.steps) if n >> bit & 1)
            m.d.comb += number[bit].eq(with_bit.any())
        selected = [self._selected(m, lane) for lane in range(config.engine.lanes)]
        if unit.dynamic:
            selected = self._formed(m, selected, number)
        control = Cat(self.valid, self.first, self.last)
        control = delay(m, control, self.latency, "control", reset_less=False)
        number = delay(m, number, self.latency - 1)
        for lane, bits in enumerate(selected):
            products = self._steps(m, lane, bits, cells)
            for weight, term in enumerate(products):
                self._accumulate(m, term, number, control, weight * config.engine.lanes + lane)
        return m

    def _selected(self, m, lane) -> list[Signal]:
        """Input bits of a lane's rows in the present step, one cycle later."""
        unit, lanes = self._config.engine.crossbar, self._config.engine.lanes
        selected = []
        for row in range(unit.ou_rows):
            byte = self.inputs[row * lanes + lane]
            bits = Signal(unit.dac_bits, name=f"bits_{lane}_{row}", reset_less=True)
            choices = [
                Mux(self.step[n], byte[n * unit.dac_bits : (n + 1) * unit.dac_bits], 0)
                for n in range(unit.steps)
            ]
            while len(choices) > 1:
                choices = [a | b for a, b in zip(choices[::2], choices[1::2], strict=True)]
            m.d.sync += bits.eq(choices[0])
            selected.append(bits)
        return selected

    def _formed(self, m, selected, number) -> list[list[Value]]:
        """Digits of the rows that pass together, by lane, and what completes a unit with them."""
        unit, lanes = self._config.engine.crossbar, self._config.engine.lanes
        m.submodules.formation = formation = Formation(self._config)
        final = self.second | self.begins
        control = Cat(self.valid, self.fresh, self.second, final, self.ends)
        control = delay(m, control, 1, "pass", reset_less=False)
        members = ("valid", "fresh", "second", "final", "ends")
        m.d.comb += [
            *(
                getattr(formation, name).eq(value)
                for name, value in zip(members, control, strict=True)
            ),
            formation.number.eq(delay(m, number, 1, "pass_number")),
            self.formed.eq(formation.formed),
            self.live.eq(formation.live),
        ]
        for lane, bits in enumerate(selected):
            for row, each in enumerate(bits):
                m.d.comb += formation.digits[row * lanes + lane].eq(each)
        width = len(Signal(range(unit.greatest_sum + 1)))
        m.submodules.waiting = waiting = memory.Memory(
            shape=data.ArrayLayout(width, lanes * self._config.engine.item_columns),
            depth=max(unit.steps, 2),
            init=[],
        )
        read, write = waiting.read_port(domain="comb"), waiting.write_port()
        place = delay(m, number, self._added, "place")
        m.d.comb += [
            read.addr.eq(place),
            write.addr.eq(place),
            write.en.eq(delay(m, self.valid, self._added, "waits", reset_less=False)),
        ]
        self._waiting = read.data, write.data
        self._fresh = delay(m, self.fresh & ~self.second, self._added, "fresh")
        later = tree_stages(unit.ou_rows)
        self._complete = delay(m, formation.complete, later, "complete")
        return [
            [formation.selected[row * lanes + lane] for row in range(unit.ou_rows)]
            for lane in range(lanes)
        ]

    def _completed(self, m, lane, column, value, name) -> Signal:
        """Sum of a bitline's operation unit when it is complete, a cycle later; otherwise 0."""
        place = column * self._config.engine.lanes + lane
        before, after = self._waiting
        total = Signal(range(self._config.engine.crossbar.greatest_sum + 1), name=f"{name}_total")
        unit = Signal.like(total, name=f"{name}_unit", reset_less=True)
        complete = self._complete[lane]
        m.d.comb += [
            total.eq(Mux(self._fresh, 0, before[place]) + value),
            after[place].eq(Mux(complete, 0, total)),
        ]
        m.d.sync += unit.eq(Mux(complete, total, 0))
        return unit

    def _steps(self, m, lane, bits, cells) -> list[Term]:
        """Products of a lane with each weight in one step, before the step's own shift."""
        unit = self._config.engine.crossbar
        digit, level = (1 << unit.dac_bits) - 1, (1 << unit.cell_bits) - 1
        correction = []
        if unit.signed == "offset":
            ones = [Term(each, 0, digit) for each in bits]
            total, _ = add_tree(m, ones, f"inputs_{lane}")
            most = 128 * unit.ou_rows * digit
            correction = [Term(-(delay(m, total.value, 1 + unit.dynamic) << 7), -most, 0)]
        products = []
        for weight in range(self._config.engine.item_weights):
            terms = list(correction)
            for number, (sign, shift) in enumerate(slice_terms(unit)):
                column = weight * unit.weight_bitlines + number
                rows = []
                for row, digits in enumerate(bits):
                    cell = cells[row * self._config.engine.item_columns + column]
                    product = Mux(digits, cell, 0) if unit.dac_bits == 1 else digits * cell
                    rows.append(Term(product, 0, digit * level))
                total, _ = add_tree(m, rows, f"bitline_{lane}_{column}")
                value = total.value
                if unit.dynamic:
                    value = self._completed(m, lane, column, value, f"bitline_{lane}_{column}")
                code = self._converted(m, value, f"converted_{lane}_{column}")
                most = int(unit.convert(unit.greatest_sum)) << shift
                raised = code << shift
                terms.append(Term(raised, 0, most) if sign > 0 else Term(-raised, -most, 0))
            products.append(add_tree(m, terms, f"weight_{lane}_{weight}")[0])
        return products

    def _converted(self, m, value, name) -> Signal:
        """What the converter makes of a bitline sum, a cycle later."""
        unit = self._config.engine.crossbar
        half = (1 << unit.adc_shift) >> 1 if unit.adc_rounding == "nearest" else 0
        code = (value + half)[unit.adc_shift :] if unit.adc_shift else value
        top = (1 << unit.adc_bits) - 1
        if unit.greatest_sum >> unit.adc_shift > top:
            code = Mux(code > top, top, code)
        converted = Signal(range(unit.convert(unit.greatest_sum) + 1), name=name, reset_less=True)
        m.d.sync += converted.eq(code << unit.adc_shift)
        return converted

    def _accumulate(self, m, term, number, control, place):
        """Shift a step's product and add it to those of the other steps."""
        unit = self._config.engine.crossbar
        valid, first, last = control
        shape = self.products[place].shape()
        shift = number << (unit.dac_bits.bit_length() - 1)
        shifted = Signal(shape, name=f"shifted_{place}", reset_less=True)
        total = Signal(shape, name=f"total_{place}")
        sums = Signal(shape, name=f"sums_{place}", reset_less=True)
        m.d.sync += shifted.eq(term.value << shift if unit.steps > 1 else term.value)
        m.d.comb += total.eq(shifted + Mux(first, 0, sums))
        with m.If(valid):
            m.d.sync += sums.eq(total)
            with m.If(last):
                m.d.sync += self.products[place].eq(total)
