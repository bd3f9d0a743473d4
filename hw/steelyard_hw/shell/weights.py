"""Weight fetch: the stream of weight items that the array consumes."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from ..cells.target import local_copy
from .ports import ReadPort

__all__ = ["WeightFetch"]


class WeightFetch(wiring.Component):
    """Prefetching reader of a layer's weight items, the same items again for every tile.

    The first item is valid six cycles after `start`; sustains one item a cycle, also from the last
    item of a repetition to the first of the next. A layer without items or repetitions delivers
    none.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
        Gives the items' width ``columns * weight_bits`` and the memory's depth ``weight_words``.
    taken : :class:`bool`
        Whether there is `taken`.

    Attributes
    ----------
    DEPTH : :class:`int`
        Items fetched ahead of the one that is offered, at most.
    COLUMNS_A_COPY : :class:`int`
        Columns whose part of `taken` has a read address of its own.
    MEMORY_LATENCY : :class:`int`
        Cycles from `read.addr` to `read.data`.

    Members
    -------
    base : ``In(range(weight_words))``
        First item.
    count : ``In(24)``
        Items of a repetition.
    repeats : ``In(24)``
        Repetitions.
    start : ``In(1)``
        Strobe: take the three numbers above and begin; only after all earlier items were taken.
    read : ``Out(ReadPort(weight_words, columns * weight_bits))``
        Weight memory, two cycles of latency; reads in every cycle.
    o : ``Out(stream.Signature(columns * weight_bits))``
        Items in order.
    taken : ``Out(columns * weight_bits)``
        The item that was offered in the cycle before: what takes an item late reads it here, and
        the stream's own payload then costs nothing. Only with that parameter.

    Raises
    ------
    TypeError
        If `config` is no :class:`~steelyard.contract.AcceleratorConfig`.
    """

    DEPTH = 8
    MEMORY_LATENCY = 2
    COLUMNS_A_COPY = 4

    def __init__(self, config: AcceleratorConfig, *, taken: bool = False):
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"Configuration must be an AcceleratorConfig, not {config!r}")
        self._width = config.engine.weight_item_bits
        self._part = self.COLUMNS_A_COPY * config.engine.weight_bits if taken else self._width
        self._taken = taken
        super().__init__(
            {
                "base": In(range(config.memory.weight_words)),
                "count": In(24),
                "repeats": In(24),
                "start": In(1),
                "read": Out(ReadPort(config.memory.weight_words, self._width)),
                "o": Out(stream.Signature(self._width)),
                **({"taken": Out(self._width)} if taken else {}),
            }
        )

    def elaborate(self, platform):
        m = Module()
        free = Signal(range(self.DEPTH + 1), init=self.DEPTH)
        produce = Signal(range(2 * self.DEPTH))
        consume = Signal(range(2 * self.DEPTH))
        behind = Signal(range(self.DEPTH + 1))
        issue = Signal()
        leaves = Signal()
        left = Signal()
        in_flight = Signal(self.MEMORY_LATENCY + 1)

        self._walk(m, issue, free != 0)
        self._queue(m, in_flight[-1], produce, consume)
        m.d.comb += [
            leaves.eq((behind != 0) & (~self.o.valid | self.o.ready)),
        ]
        m.d.sync += [
            # Counted a cycle late, for the array decides late what it takes.
            left.eq(leaves),
            free.eq(free + left - issue),
            in_flight.eq(Cat(issue, in_flight)),
            produce.eq(produce + in_flight[-1]),
            behind.eq(behind + in_flight[-1] - leaves),
            consume.eq(consume + (self.o.valid & self.o.ready)),
            self.o.valid.eq((behind != 0) | (self.o.valid & ~self.o.ready)),
        ]
        return m

    def _queue(self, m, arrives, produce, consume):
        """The items, in RAMs of their own for some columns each.

        The item offered lies at the read port until it is taken: what the array decides late moves
        an address, in place of a register as wide as the array.
        """
        # The block RAM's slow output gets a cycle of its own.
        item = Signal(self._width, reset_less=True)
        m.d.sync += item.eq(self.read.data)
        for number, first in enumerate(range(0, self._width, self._part)):
            bits = slice(first, min(first + self._part, self._width))
            m.submodules[f"items_{number}"] = items = memory.Memory(
                shape=len(item[bits]), depth=2 * self.DEPTH, init=[]
            )
            write, read = items.write_port(), items.read_port(domain="comb")
            m.d.comb += [
                write.en.eq(arrives),
                write.addr.eq(produce),
                write.data.eq(item[bits]),
                read.addr.eq(consume),
                self.o.payload[bits].eq(read.data),
            ]
            if self._taken:
                # An item's place is written anew 8 items later, never in the cycle after it.
                late = items.read_port(domain="comb")
                m.d.comb += [
                    late.addr.eq(local_copy(m, consume, f"consume_{number}")),
                    self.taken[bits].eq(late.data),
                ]

    def _walk(self, m, issue, room):
        """Step the address through the repetitions, an item a cycle while there is room."""
        base = Signal.like(self.base, reset_less=True)
        address = Signal.like(self.base, reset_less=True)
        count = Signal(24, reset_less=True)
        items = Signal(24, reset_less=True)
        repeats = Signal(24, reset_less=True)
        # The comparisons with the last item and repetition are made a step ahead: no counter
        # waits for them.
        single = Signal(reset_less=True)
        last_item = Signal(reset_less=True)
        last_repeat = Signal(reset_less=True)
        running = Signal()

        m.d.comb += [issue.eq(running & room), self.read.addr.eq(address)]
        with m.If(issue):
            m.d.sync += [
                address.eq(Mux(last_item, base, address + 1)),
                items.eq(Mux(last_item, count, items - 1)),
                last_item.eq(Mux(last_item, single, items == 2)),
            ]
            with m.If(last_item):
                m.d.sync += [repeats.eq(repeats - 1), last_repeat.eq(repeats == 2)]
                with m.If(last_repeat):
                    m.d.sync += running.eq(0)
        with m.If(self.start):
            m.d.sync += [
                base.eq(self.base),
                address.eq(self.base),
                count.eq(self.count),
                items.eq(self.count),
                repeats.eq(self.repeats),
                single.eq(self.count == 1),
                last_item.eq(self.count == 1),
                last_repeat.eq(self.repeats == 1),
                running.eq((self.count != 0) & (self.repeats != 0)),
            ]
