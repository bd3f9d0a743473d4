"""Lane sum: all lanes of a word added up, for averages over whole maps."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig
from steelyard.contract.latencies import LANE_SUM_LATENCY

from ..lib.delay import delay

__all__ = ["LaneSum"]


class LaneSum(wiring.Component):
    """Adds up the lanes of each tap on its way to the vector unit.

    Taps pass at once while `across` is 0, and `LANE_SUM_LATENCY` cycles later (2) as sums; one a
    cycle either way, without stalls.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    count : ``In(range(L + 1))``
        Lanes that count in the last tap of a window, in all others every lane; 0 for no sums.
        Static while taps are in flight.
    i_valid, i_first, i_last : ``In(1)``
        A tap; it is its window's first, last.
    i_ends : ``In(1)``
        The tap of the next cycle is its window's last.
    i_data : ``In(ArrayLayout(signed(8), L))``
    across : ``Out(1)``
        `o_total` takes the place of the first lane, and the others mean nothing.
    o_valid, o_first, o_last : ``Out(1)``
        A tap to the vector unit; its other lanes are those of `i_data` in the same cycle.
    o_total : ``Out(signed(8 + log2(L)))``
    """

    def __init__(self, config: AcceleratorConfig):
        self._lanes = config.engine.lanes
        word = data.ArrayLayout(signed(8), self._lanes)
        super().__init__(
            {
                "count": In(range(self._lanes + 1)),
                "i_valid": In(1),
                "i_first": In(1),
                "i_last": In(1),
                "i_ends": In(1),
                "i_data": In(word),
                "across": Out(1),
                "o_valid": Out(1),
                "o_first": Out(1),
                "o_last": Out(1),
                "o_total": Out(signed(8 + (self._lanes - 1).bit_length())),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        counts = Signal(self._lanes)
        keep = Signal(self._lanes)
        m.d.sync += [
            self.across.eq(self.count != 0),
            counts.eq(Cat(self.count > lane for lane in range(self._lanes))),
            keep.eq(counts | ~self.i_ends.replicate(self._lanes)),
        ]
        # Two levels of adders between two registers.
        parts = []
        for first in range(0, self._lanes, 4):
            part = Signal(signed(10), name=f"part_{first}", reset_less=True)
            taps = [
                Mux(keep[lane], self.i_data[lane], 0)
                for lane in range(first, min(first + 4, self._lanes))
            ]
            m.d.sync += part.eq(sum(taps[1:], start=taps[0]))
            parts.append(part)
        total = Signal.like(self.o_total, reset_less=True)
        m.d.sync += total.eq(sum(parts[1:], start=parts[0]))
        m.d.comb += self.o_total.eq(total)
        flags = Cat(self.i_valid, self.i_first, self.i_last)
        late = delay(m, flags, LANE_SUM_LATENCY, "flags", reset_less=False)
        m.d.comb += Cat(self.o_valid, self.o_first, self.o_last).eq(Mux(self.across, late, flags))
        return m
