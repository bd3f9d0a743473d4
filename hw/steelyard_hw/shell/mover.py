"""Mover: words from an external memory into the memories of the accelerator."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from steelyard.contract import AcceleratorConfig
from steelyard.contract.descriptor import ANY_UNDER_WAY, FIELDS
from steelyard.contract.registers import Space

from ..memory.port import MemoryPort
from .place import item_words, step_place
from .ports import HostBus

__all__ = ["Move", "Mover"]


class Move(data.StructLayout):
    """One move of words that follow each other, on both sides.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    space : ``3``
        Memory to write, see :class:`~steelyard.contract.registers.Space`.
    external
        Address of the first word in the external memory.
    item : ``16``
        First item to write, from its first word on.
    length : ``16``
        Number of words, at least one.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__(
            {
                "space": FIELDS["space"].width,
                "external": config.memory.external_address_bits,
                "item": FIELDS["item"].width,
                "length": FIELDS["length"].width,
            }
        )


class Mover(wiring.Component):
    """Carries out moves in their order, at most ``ANY_UNDER_WAY`` of them waiting or at work.

    Words are written in the cycle in which they come, one a cycle at most; nothing on the side of
    the memories makes them wait. A lone move asks for its burst in the cycle after it is taken.
    That of the next move is asked for while the words of the one before come, so moves of two words
    and more follow each other without a gap if the external memory has none.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
        With external memory.
    bus : :class:`~steelyard_hw.shell.ports.HostBus`
        Shape of the word bus.

    Members
    -------
    moves : ``In(stream.Signature(Move))``
        A move of no words must not be offered.
    under_way : ``Out(4)``
        Moves taken whose last word is not on the bus yet, one that is taken counted in the next
        cycle.
    port : ``Out(MemoryPort)``
        External memory; nothing is written into it.
    space : ``Out(3)``, bus : ``Out(HostBus)``
        Memory and place of a word, with a strobe of `write`; never `select`.
    """

    def __init__(self, config: AcceleratorConfig, bus: HostBus):
        self._move = Move(config)
        self._item_words = item_words(config)
        super().__init__(
            {
                "moves": In(stream.Signature(self._move)),
                "under_way": Out(range(ANY_UNDER_WAY + 1)),
                "port": Out(MemoryPort(config.memory.external_address_bits)),
                "space": Out(Space),
                "bus": Out(bus),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = SyncFIFO(
            width=self._move.size, depth=1 << bits_for(ANY_UNDER_WAY)
        )
        port, bus = self.port, self.bus
        head = data.View(self._move, queue.r_data)
        asked = Signal()
        working = Signal()
        left = Signal(FIELDS["length"].width)
        last = Signal()
        taken = Signal()
        ends = Signal()
        allowed = self.under_way != ANY_UNDER_WAY

        m.d.comb += [
            queue.w_data.eq(self.moves.payload.as_value()),
            queue.w_en.eq(self.moves.valid & allowed),
            self.moves.ready.eq(allowed & queue.w_rdy),
            port.command.valid.eq(queue.r_rdy & ~asked),
            port.command.payload.address.eq(head.external),
            port.command.payload.words.eq(head.length),
            taken.eq(asked & (~working | ends)),
            queue.r_en.eq(taken),
            port.read.ready.eq(working),
            bus.write.eq(working & port.read.valid),
            bus.data.eq(port.read.payload),
            ends.eq(bus.write & last),
        ]
        m.d.sync += self.under_way.eq(self.under_way + (self.moves.valid & self.moves.ready) - ends)
        with m.If(port.command.valid & port.command.ready):
            m.d.sync += asked.eq(1)
        with m.If(bus.write):
            m.d.sync += [left.eq(left - 1), last.eq(left == 2)]
            step_place(m, self.space, bus, self._item_words)
        with m.If(ends):
            m.d.sync += working.eq(0)
        with m.If(taken):
            m.d.sync += [
                asked.eq(0),
                working.eq(1),
                left.eq(head.length),
                last.eq(head.length == 1),
                self.space.eq(head.space),
                bus.address.eq(head.item),
                bus.sub.eq(0),
            ]
        return m
