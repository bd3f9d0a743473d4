"""Bits that bitlines can reach, which converters stop at (docs/crossbar.md, section 4)."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from .items import CellsItem
from .trees import Term, add_tree, tree_stages

__all__ = ["Reaches"]


class Reaches(wiring.Component):
    """Adds up what the bitlines of an item of cells reach, an item a cycle.

    The tile has the cells at hand and needs no index of reaches. With dynamic formation a bitline
    reaches what cells of other items can, too; there the item says it.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Attributes
    ----------
    latency : :class:`int`
        Cycles from the cells to their sums.

    Members
    -------
    item : ``In(CellsItem)``
        Cells and reaches that are not in use are 0.
    converted : ``Out(range(item_columns + 1))``
        Bitlines that reach any bit.
    decisions : ``Out(range(item_columns * adc_bits + 1))``
        Bits that all of them reach.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        unit, columns = config.engine.crossbar, config.engine.item_columns
        self.latency = 1 + tree_stages(columns)
        if not unit.dynamic:
            self.latency += tree_stages(unit.ou_rows)
        super().__init__(
            {
                "item": In(CellsItem(config)),
                "converted": Out(range(columns + 1)),
                "decisions": Out(range(columns * unit.adc_bits + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        unit, columns = self._config.engine.crossbar, self._config.engine.item_columns
        most = len(unit.reach_levels)
        converted, decisions = [], []
        for column in range(columns):
            made = Signal(name=f"made_{column}", reset_less=True)
            bits = Signal(range(most + 1), name=f"bits_{column}", reset_less=True)
            found = self._said if unit.dynamic else self._found
            made_next, bits_next = found(m, column)
            m.d.sync += [made.eq(made_next), bits.eq(bits_next)]
            converted.append(Term(made, 0, 1))
            decisions.append(Term(bits, 0, most))
        m.d.comb += [
            self.converted.eq(add_tree(m, converted, "converted")[0].value),
            self.decisions.eq(add_tree(m, decisions, "decisions")[0].value),
        ]
        return m

    def _said(self, m, column):
        """Whether a bitline reaches any bit and how many, as its item says."""
        reached = self.item.reaches[column]
        return reached != 0, reached

    def _found(self, m, column):
        """The same of the cells of its item."""
        unit, columns = self._config.engine.crossbar, self._config.engine.item_columns
        level, least = (1 << unit.cell_bits) - 1, unit.reach_levels
        rows = [
            Term(self.item.cells[row * columns + column], 0, level) for row in range(unit.ou_rows)
        ]
        total, _ = add_tree(m, rows, f"levels_{column}")
        return total.value >= least[0], sum(total.value >= each for each in least)
