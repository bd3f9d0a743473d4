"""Host port: the command stream of the host becomes a word bus to the memories."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import bits_for

from steelyard.contract import AcceleratorConfig
from steelyard.contract.registers import COMMAND_FIELDS, Command, Space

from ..memory.port import MemoryPort
from .place import item_words, items, step_place
from .ports import HostBus

__all__ = ["HostPort"]


class HostPort(wiring.Component):
    """Decoder of host commands (WRITE, READ, START) onto a word bus.

    Writes move one word a cycle, the first three cycles after the count word. A read takes
    ``READ_CYCLES`` a word, in which the bus shows the same place: whatever lies between a memory
    and `bus.result` needs no registers that keep step. WRITE, START and READ of every space but the
    registers wait while the accelerator is busy; a START with count 0 starts nothing. A word that
    is no command is dropped alone. Addresses and counts beyond the largest memory are cut off;
    those of the external memory to its own and to 65,535 words.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
        Gives the 32-bit words of an item of each space.

    Attributes
    ----------
    READ_LATENCY : :class:`int`
        Cycles for which the bus shows a place to be read before its `result` is taken.
    READ_CYCLES : :class:`int`
        Cycles from one answer to the next.
    START_GUARD : :class:`int`
        Cycles after `start` within which `busy` must rise: a command takes longer to decode.

    Members
    -------
    i : ``In(stream.Signature(32))``
        Commands and data of the host.
    o : ``Out(stream.Signature(32))``
        Answers to READ.
    busy : ``In(1)``
        A network runs: its memories are not the host's.
    start : ``Out(1)``
        Strobe: run `start_count` layers from `start_first`.
    start_first, start_count : ``Out(16)``
        Layers to run, together with `start`.
    space : ``Out(3)``
        Memory addressed, see :class:`~steelyard.contract.registers.Space`.
    external : ``Out(MemoryPort)``
        External memory, only of a configuration that has one. A WRITE or READ of it is one burst.
    bus : ``Out(HostBus)``
        Place in it, of the range of the largest; `result` is taken when the bus has shown the place
        for ``READ_LATENCY`` cycles. `select` is high while not `busy`.

    Raises
    ------
    TypeError
        If `config` is no :class:`~steelyard.contract.AcceleratorConfig`.
    """

    READ_LATENCY = 9
    READ_CYCLES = READ_LATENCY + 1
    START_GUARD = 4

    def __init__(self, config: AcceleratorConfig):
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"Configuration must be an AcceleratorConfig, not {config!r}")
        self._item_words = item_words(config)
        self._external = bool(config.memory.external_words)
        depths = items(config)
        self._most_words = max(n * self._item_words.get(s, 1) for s, n in depths.items())
        super().__init__(
            {
                "i": In(stream.Signature(32)),
                "o": Out(stream.Signature(32)),
                "busy": In(1),
                "start": Out(1),
                "start_first": Out(16),
                "start_count": Out(16),
                "space": Out(3),
                "bus": Out(HostBus(max(depths.values()), max(self._item_words.values()))),
                **(
                    {"external": Out(MemoryPort(config.memory.external_address_bits))}
                    if self._external
                    else {}
                ),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word = data.View(data.StructLayout(COMMAND_FIELDS), self.i.payload)
        known = word.operation.matches(*Command) & (word.reserved == 0)
        space = Signal(Space)
        operation = Signal(2)
        remaining = Signal(max(bits_for(self._most_words), 16))
        last = Signal()
        wait = Signal(range(self.READ_LATENCY))
        allowed = Signal()
        is_start = operation == Command.START
        is_write = operation == Command.WRITE
        short = is_start | (space == Space.EXTERNAL) if self._external else is_start
        is_register_read = (operation == Command.READ) & (space == Space.REGISTERS)

        moved = Signal()
        m.d.comb += self.space.eq(space)
        with m.If(self.bus.write | moved):
            step_place(m, space, self.bus, self._item_words)
        m.d.comb += [
            allowed.eq(is_register_read | ~self.busy),
            self.bus.select.eq(~self.busy),
            self.start_first.eq(self.bus.address),
            self.start_count.eq(remaining),
            self.bus.data.eq(self.i.payload),
        ]

        def count_down():
            m.d.sync += [remaining.eq(remaining - 1), last.eq(remaining == 2)]

        with m.FSM():
            with m.State("COMMAND"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [space.eq(word.space), operation.eq(word.operation)]
                    with m.If(known):
                        m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [self.bus.address.eq(self.i.payload), self.bus.sub.eq(0)]
                    if self._external:
                        m.d.sync += self.external.command.payload.address.eq(self.i.payload)
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += remaining.eq(Mux(short, self.i.payload[:16], self.i.payload))
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += [last.eq(remaining == 1), wait.eq(self.READ_LATENCY - 1)]
                m.next = "WAIT"
                with m.If(remaining == 0):
                    m.next = "COMMAND"
            with m.State("WAIT"), m.If(allowed):
                m.next = "READ"
                with m.If(is_write):
                    m.next = "WRITE"
                with m.Elif(is_start):
                    m.d.comb += self.start.eq(1)
                    m.next = "COMMAND"
                if self._external:
                    with m.If((space == Space.EXTERNAL) & ~is_start):
                        m.next = "BURST"
            if self._external:
                self._burst(m, is_write, remaining, last, count_down)
            with m.State("WRITE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.comb += self.bus.write.eq(1)
                    count_down()
                    with m.If(last):
                        m.next = "COMMAND"
            self._answer(m, wait, moved, last, count_down)
        return m

    def _answer(self, m, wait, moved, last, count_down):
        """States in which the host reads a memory of the chip, word by word."""
        with m.State("READ"):
            m.d.sync += [wait.eq(wait - 1), self.o.payload.eq(self.bus.result)]
            with m.If(wait == 0):
                m.d.sync += wait.eq(self.READ_LATENCY - 1)
                m.d.comb += moved.eq(1)
                m.next = "ANSWER"
        with m.State("ANSWER"):
            m.d.comb += self.o.valid.eq(1)
            with m.If(self.o.ready):
                count_down()
                m.next = "READ"
                with m.If(last):
                    m.next = "COMMAND"

    def _burst(self, m, is_write, remaining, last, count_down):
        """States in which words move between the host and the external memory, as one burst."""
        external = self.external
        m.d.comb += [
            external.command.payload.words.eq(remaining),
            external.command.payload.write.eq(is_write),
            external.write.payload.eq(self.i.payload),
        ]
        with m.State("BURST"):
            m.d.comb += external.command.valid.eq(1)
            with m.If(external.command.ready):
                m.next = "TAKE"
                with m.If(is_write):
                    m.next = "GIVE"
        with m.State("GIVE"):
            m.d.comb += [
                external.write.valid.eq(self.i.valid),
                self.i.ready.eq(external.write.ready),
            ]
            with m.If(self.i.valid & external.write.ready):
                count_down()
                with m.If(last):
                    m.next = "COMMAND"
        with m.State("TAKE"):
            # A register between the memory and the link.
            m.d.sync += self.o.payload.eq(external.read.payload)
            m.d.comb += external.read.ready.eq(1)
            with m.If(external.read.valid):
                m.next = "SHOW"
        with m.State("SHOW"):
            m.d.comb += self.o.valid.eq(1)
            with m.If(self.o.ready):
                count_down()
                m.next = "TAKE"
                with m.If(last):
                    m.next = "COMMAND"
