"""Weight fetch without a buffer: the array takes items straight from the memory's output."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.config import ArrayConfig

__all__ = ["DirectFetch"]


class DirectFetch(wiring.Component):
    """Reader of a layer's weight items, over and over until the next `start`.

    The memory shows the next item from the cycle after the one before was taken. The first is valid
    two cycles after `start`; one item a cycle. `o.ready` reaches the memory's address without a
    register, which a slow clock allows.

    Parameters
    ----------
    config : :class:`~steelyard.config.ArrayConfig`

    Attributes
    ----------
    MEMORY_LATENCY : :class:`int`
        Cycles from `address` to `data`.

    Members
    -------
    base : ``In(range(weight_words))``, count : ``In``
        First item and their number, static from `start` on.
    start : ``In(1)``
        Strobe: begin with the first item.
    address : ``Out(range(weight_words))``
        Item to read.
    data : ``In(columns * weight_bits)``
    o : ``Out(stream.Signature(columns * weight_bits))``
        Items in order.
    """

    MEMORY_LATENCY = 1

    def __init__(self, config: ArrayConfig):
        width = config.columns * config.weight_bits
        super().__init__(
            {
                "base": In(range(config.weight_words)),
                "count": In(range(config.weight_words + 1)),
                "start": In(1),
                "address": Out(range(config.weight_words)),
                "data": In(width),
                "o": Out(stream.Signature(width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shown = Signal.like(self.base, reset_less=True)
        left = Signal.like(self.count, reset_less=True)
        last = left == 1
        read = Signal()
        taken = self.o.valid & self.o.ready
        with m.If(taken):
            m.d.comb += self.address.eq(Mux(last, self.base, shown + 1))
        with m.Else():
            m.d.comb += self.address.eq(shown)
        m.d.comb += self.o.payload.eq(self.data)
        m.d.sync += [shown.eq(self.address), self.o.valid.eq(read)]
        with m.If(taken):
            m.d.sync += left.eq(Mux(last, self.count, left - 1))
        with m.If(self.start):
            m.d.sync += [shown.eq(self.base), left.eq(self.count), read.eq(1), self.o.valid.eq(0)]
        return m
