"""Dynamic formation of operation units out of the rows that have an input bit."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from ..lib.delay import delay
from .trees import Term, add_tree

__all__ = ["Formation", "counted"]


def counted(config: AcceleratorConfig) -> tuple[range, range]:
    """Units that a pass can form on all lanes, and rows that it can have."""
    lanes = config.engine.lanes
    return range(lanes + 1), range(lanes * config.engine.crossbar.ou_rows + 1)


class Formation(wiring.Component):
    """Parts each step's digits of an item's rows between operation units, on every lane by itself.

    Rows come item by item; of each step and lane it keeps how many rows with a digit wait for more.
    A first pass selects the rows that still belong to the unit of those that wait, a second pass
    those that begin the next one. Selected digits come `LATENCY` cycles after the digits, one pass
    a cycle.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Attributes
    ----------
    LATENCY : :class:`int`
        Cycles from the digits to `selected` and `complete`, and with those of an adder tree over
        the lanes to `formed` and `live`.

    Members
    -------
    digits : ``In(ArrayLayout(dac_bits, ou_rows * lanes))``
        Of the present step, the lanes of the first row first.
    number : ``In(range(steps))``
        The step.
    valid : ``In(1)``
        A pass is taken.
    fresh : ``In(1)``
        No rows wait in this step.
    second, final : ``In(1)``
        It is the second pass; it is the last one of the step.
    ends : ``In(1)``
        No more rows come: what waits is a unit, too.
    selected : ``Out(ArrayLayout(dac_bits, ou_rows * lanes))``
    complete : ``Out(lanes)``
        The selected rows complete a unit.
    formed : ``Out(range(lanes + 1))``
        Units that have been completed, 0 without a pass.
    live : ``Out(range(lanes * ou_rows + 1))``
        Rows with a digit, in the first pass.
    """

    LATENCY = 2

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        lanes, unit = config.engine.lanes, config.engine.crossbar
        formed, live = counted(config)
        digits = data.ArrayLayout(unit.dac_bits, unit.ou_rows * lanes)
        super().__init__(
            {
                "digits": In(digits),
                "number": In(range(max(unit.steps, 2))),
                "valid": In(1),
                "fresh": In(1),
                "second": In(1),
                "final": In(1),
                "ends": In(1),
                "selected": Out(digits),
                "complete": Out(lanes),
                "formed": Out(formed),
                "live": Out(live),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes, unit = self._config.engine.lanes, self._config.engine.crossbar
        width = max((unit.ou_rows - 1).bit_length(), 1)
        m.submodules.waiting = waiting = memory.Memory(
            shape=data.ArrayLayout(width, lanes), depth=max(unit.steps, 2), init=[]
        )
        read, write = waiting.read_port(domain="comb"), waiting.write_port()
        control = Cat(self.valid, self.fresh, self.second, self.final, self.ends)
        valid, fresh, second, final, ends = delay(m, control, 1, "control", reset_less=False)
        number = delay(m, self.number, 1, "number")
        m.d.comb += [
            read.addr.eq(number),
            write.addr.eq(number),
            write.en.eq(valid & final),
        ]
        passes = valid, second, ends
        formed, live = [], []
        for lane in range(lanes):
            kept = Signal(width, name=f"kept_{lane}")
            m.d.comb += kept.eq(Mux(fresh, 0, read.data[lane]))
            left, units, rows = self._lane(m, lane, kept, passes)
            m.d.comb += write.data[lane].eq(left)
            formed.append(Term(units, 0, 1))
            live.append(Term(rows, 0, unit.ou_rows))
        m.d.comb += [
            self.formed.eq(add_tree(m, formed, "formed")[0].value),
            self.live.eq(add_tree(m, live, "live")[0].value),
        ]
        return m

    def _lane(self, m, lane, kept, passes):
        """Select a lane's digits; rows that wait after the step, units formed, and rows live."""
        lanes, unit = self._config.engine.lanes, self._config.engine.crossbar
        valid, second, ends = passes
        digits = [self.digits[row * lanes + lane] for row in range(unit.ou_rows)]
        held = delay(m, Cat(digits), 1, f"digits_{lane}")
        # Rows with a digit, up to each row.
        upto = [
            Signal(range(row + 2), name=f"upto_{lane}_{row}", reset_less=True)
            for row in range(unit.ou_rows)
        ]
        for row, each in enumerate(upto):
            m.d.sync += each.eq(sum(digit.any() for digit in digits[: row + 1]))
        room = Signal(range(unit.ou_rows + 1), name=f"room_{lane}")
        total = Signal(range(2 * unit.ou_rows), name=f"total_{lane}")
        left = Signal(range(unit.ou_rows), name=f"left_{lane}")
        fills = Signal(name=f"fills_{lane}")
        m.d.comb += [
            room.eq(unit.ou_rows - kept),
            total.eq(kept + upto[-1]),
            fills.eq(total >= unit.ou_rows),
            left.eq(Mux(fills, total - unit.ou_rows, total)),
        ]
        for row, each in enumerate(upto):
            chosen = (each > room) == second
            digit = held.word_select(row, unit.dac_bits)
            m.d.sync += self.selected[row * lanes + lane].eq(Mux(chosen, digit, 0))
        units = Signal(name=f"units_{lane}", reset_less=True)
        rows = Signal(range(unit.ou_rows + 1), name=f"rows_{lane}", reset_less=True)
        m.d.sync += [
            self.complete[lane].eq(ends | (fills & ~second)),
            units.eq(
                valid & Mux(second, ends & fills & (left != 0), (fills | ends) & (total != 0))
            ),
            rows.eq(Mux(valid & ~second, upto[-1], 0)),
        ]
        return left, units, rows
