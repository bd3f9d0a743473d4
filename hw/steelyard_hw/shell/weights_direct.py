"""Weight fetch without a buffer: the array takes items straight from the memory's output."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from .ports import ReadPort

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
        Cycles from `read.addr` to `read.data`.

    Members
    -------
    base : ``In(range(weight_words))``, count : ``In``
        First item and their number, static from `start` on.
    start : ``In(1)``
        Strobe: begin with the first item.
    read : ``Out(ReadPort(weight_words, columns * weight_bits))``
        Weight memory, one cycle of latency; without `en` it holds the item.
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
                "read": Out(ReadPort(config.memory.weight_words, width)),
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
            self.read.en.eq(first | (self.o.valid & self.o.ready)),
            self.read.addr.eq(item),
            self.o.payload.eq(self.read.data),
        ]
        m.d.sync += first.eq(self.start)
        with m.If(self.read.en):
            m.d.sync += self.o.valid.eq(1)
        with m.If(self.start):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.start | self.read.en):
            begins = self.start | last
            m.d.sync += [
                item.eq(Mux(begins, self.base, item + 1)),
                left.eq(Mux(begins, self.count, left - 1)),
            ]
        return m
