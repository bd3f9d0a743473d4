"""Weight fetch without a buffer: the array takes items straight from the memory's output."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

__all__ = ["DirectFetch"]


class DirectFetch(wiring.Component):
    """Reader of a layer's weight items, over and over until the next `start`.

    The memory holds the next item until it is taken and reads the one after in that cycle. The
    first is valid two cycles after `start`; one item a cycle.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

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
    address : ``Out(range(weight_words))``, read : ``Out(1)``
        Item to read, and whether to read it in this cycle; otherwise the memory holds `data`.
    data : ``In(columns * weight_bits)``
    o : ``Out(stream.Signature(columns * weight_bits))``
        Items in order.
    """

    MEMORY_LATENCY = 1

    def __init__(self, config: AcceleratorConfig):
        width = config.engine.weight_item_bits
        super().__init__(
            {
                "base": In(range(config.memory.weight_words)),
                "count": In(range(config.memory.weight_words + 1)),
                "start": In(1),
                "address": Out(range(config.memory.weight_words)),
                "read": Out(1),
                "data": In(width),
                "o": Out(stream.Signature(width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        item = Signal.like(self.base, reset_less=True)
        left = Signal.like(self.count, reset_less=True)
        first = Signal()
        last = Signal()
        m.d.comb += [
            last.eq(left == 1),
            self.read.eq(first | (self.o.valid & self.o.ready)),
            self.address.eq(item),
            self.o.payload.eq(self.data),
        ]
        m.d.sync += first.eq(self.start)
        with m.If(self.read):
            m.d.sync += self.o.valid.eq(1)
        with m.If(self.start):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.start | self.read):
            begins = self.start | last
            m.d.sync += [
                item.eq(Mux(begins, self.base, item + 1)),
                left.eq(Mux(begins, self.count, left - 1)),
            ]
        return m
