"""Bits that bitlines can reach, which converters stop at (docs/crossbar.md, section 4)."""

from amaranth import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from .bitlines import Term, add_tree, tree_stages

__all__ = ["Reaches"]


class Reaches(wiring.Component):
    """Adds up what the bitlines of an item of cells reach, an item a cycle.

    The tile has the cells at hand and needs no index of reaches.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Attributes
    ----------
    latency : :class:`int`
        Cycles from the cells to their sums.

    Members
    -------
    cells : ``In(ArrayLayout(cell_bits, ou_rows * item_columns))``
        Those that are not in use are 0.
    converted : ``Out(range(item_columns + 1))``
        Bitlines that reach any bit.
    decisions : ``Out(range(item_columns * adc_bits + 1))``
        Bits that all of them reach.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        unit, columns = config.engine.crossbar, config.engine.item_columns
        self.latency = tree_stages(unit.ou_rows) + 1 + tree_stages(columns)
        super().__init__(
            {
                "cells": In(data.ArrayLayout(unit.cell_bits, unit.ou_rows * columns)),
                "converted": Out(range(columns + 1)),
                "decisions": Out(range(columns * unit.adc_bits + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        unit, columns = self._config.engine.crossbar, self._config.engine.item_columns
        level, least = (1 << unit.cell_bits) - 1, unit.reach_levels
        converted, decisions = [], []
        for column in range(columns):
            rows = [
                Term(self.cells[row * columns + column], 0, level) for row in range(unit.ou_rows)
            ]
            total, _ = add_tree(m, rows, f"levels_{column}")
            made = Signal(name=f"made_{column}", reset_less=True)
            bits = Signal(range(len(least) + 1), name=f"bits_{column}", reset_less=True)
            m.d.sync += [
                made.eq(total.value >= least[0]),
                bits.eq(sum(total.value >= each for each in least)),
            ]
            converted.append(Term(made, 0, 1))
            decisions.append(Term(bits, 0, len(least)))
        m.d.comb += [
            self.converted.eq(add_tree(m, converted, "converted")[0].value),
            self.decisions.eq(add_tree(m, decisions, "decisions")[0].value),
        ]
        return m
