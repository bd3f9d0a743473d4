"""Host port: the command stream of the host becomes a word bus to the memories."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.config import ArrayConfig

__all__ = ["HostPort", "Operation", "Space"]


class Operation(enum.IntEnum, shape=8):
    """High byte of a command word."""

    WRITE = 1
    READ = 2
    START = 3


class Space(enum.IntEnum, shape=3):
    """Memories on the word bus."""

    REGISTERS = 0
    DESCRIPTORS = 1
    PARAMETERS = 2
    WEIGHTS = 3
    ACTIVATIONS = 4
    COUNTERS = 5


class Command(data.Struct):
    """First word of a command."""

    space: 3
    reserved: 21
    operation: Operation


class Answers(wiring.Component):
    """Buffer of the words read from the bus, sized so that no answer ever lacks room.

    An answer leaves one cycle after it arrives; sustains one word a cycle.

    Parameters
    ----------
    latency : :class:`int`
        Cycles from `read` to its `result`, at least 1.

    Members
    -------
    read : ``In(1)``
        Strobe of a read on the bus; needs `room` one cycle before.
    reserve : ``In(1)``
        Takes one place; every `read` is the `reserve` of the cycle before.
    room : ``Out(1)``
        A place is free.
    pending : ``Out(1)``
        A read has not been answered yet.
    result : ``In(32)``
        Answer to the read strobe `latency` cycles ago.
    o : ``Out(stream.Signature(32))``
        Answers in order.
    """

    def __init__(self, latency: int):
        self._latency = latency
        super().__init__(
            {
                "read": In(1),
                "reserve": In(1),
                "room": Out(1),
                "pending": Out(1),
                "result": In(32),
                "o": Out(stream.Signature(32)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # A place is taken for the strobe's register, the bus, the write into the buffer and the
        # return of the place: fewer would leave gaps between answers.
        depth = self._latency + 4
        m.submodules.buffer = buffer = fifo.SyncFIFO(width=32, depth=depth)
        free = Signal(range(depth + 1), init=depth)
        leaves = Signal()
        in_flight = Signal(self._latency)

        m.d.sync += [
            in_flight.eq(Cat(self.read, in_flight)),
            free.eq(free + leaves - self.reserve),
        ]
        m.d.comb += [
            self.room.eq(free != 0),
            self.pending.eq(self.read | in_flight.any()),
            buffer.w_data.eq(self.result),
            buffer.w_en.eq(in_flight[-1]),
            self.o.payload.eq(buffer.r_data),
            self.o.valid.eq(buffer.r_rdy),
            buffer.r_en.eq(self.o.ready),
            leaves.eq(self.o.valid & self.o.ready),
        ]
        return m


class HostPort(wiring.Component):
    """Decoder of host commands (WRITE, READ, START) onto a word bus.

    Writes and reads move one word a cycle; the first bus strobe of a command comes three cycles
    after its count word. All bus outputs are registers. WRITE, START and READ of every space but
    the registers wait while the accelerator is busy; a START with count 0 starts nothing. A word
    that is no command is dropped alone. The next command is decoded only after the last answer came
    from the bus, so `bus_space` may select `bus_result` without delay.

    Parameters
    ----------
    config : :class:`~steelyard.config.ArrayConfig`
        Gives the 32-bit words of an item of each space.

    Attributes
    ----------
    READ_LATENCY : :class:`int`
        Cycles from `bus_read` to its `bus_result`.
    START_GUARD : :class:`int`
        Cycles after `start` within which `busy` must rise.

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
        Layers to run, stable until the next `start`.
    bus_space : ``Out(3)``
        Memory addressed, see :class:`Space`.
    bus_address : ``Out(24)``
        Item.
    bus_sub : ``Out(6)``
        32-bit word within the item.
    bus_write : ``Out(1)``
        Strobe: store `bus_data`.
    bus_data : ``Out(32)``
        Word to store.
    bus_read : ``Out(1)``
        Strobe: fetch the addressed word.
    bus_result : ``In(32)``
        The word that `bus_read` asked for `READ_LATENCY` cycles ago.

    Raises
    ------
    TypeError
        If `config` is no :class:`~steelyard.config.ArrayConfig`.
    """

    READ_LATENCY = 4
    START_GUARD = 4

    def __init__(self, config: ArrayConfig):
        if not isinstance(config, ArrayConfig):
            raise TypeError(f"Configuration must be an ArrayConfig, not {config!r}")
        self._item_words = {
            Space.PARAMETERS: 2,
            Space.WEIGHTS: config.weight_item_words,
            Space.ACTIVATIONS: config.activation_item_words,
        }
        super().__init__(
            {
                "i": In(stream.Signature(32)),
                "o": Out(stream.Signature(32)),
                "busy": In(1),
                "start": Out(1),
                "start_first": Out(16),
                "start_count": Out(16),
                "bus_space": Out(3),
                "bus_address": Out(24),
                "bus_sub": Out(6),
                "bus_write": Out(1),
                "bus_data": Out(32),
                "bus_read": Out(1),
                "bus_result": In(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.answers = answers = Answers(self.READ_LATENCY)
        command = Signal(Command)
        remaining = Signal(32)
        last = Signal()
        guard = Signal(range(self.START_GUARD + 1))
        allowed = Signal()
        is_start = command.operation == Operation.START
        is_write = command.operation == Operation.WRITE
        is_register_read = (command.operation == Operation.READ) & (
            command.space == Space.REGISTERS
        )

        self._connect_bus(m, answers, command)
        m.d.sync += [self.start.eq(0), self.bus_write.eq(0), self.bus_data.eq(self.i.payload)]
        with m.If(self.start):
            m.d.sync += guard.eq(self.START_GUARD)
        with m.Elif(guard != 0):
            m.d.sync += guard.eq(guard - 1)
        m.d.comb += allowed.eq(is_register_read | ~(self.busy | self.start | (guard != 0)))

        def count_down():
            m.d.sync += [remaining.eq(remaining - 1), last.eq(remaining == 2)]

        with m.FSM():
            with m.State("COMMAND"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += command.eq(self.i.payload)
                    m.next = "DECODE"
            with m.State("DECODE"):
                known = command.operation.matches(*Operation) & (command.reserved == 0)
                m.next = "COMMAND"
                with m.If(known):
                    m.next = "ADDRESS"
            with m.State("ADDRESS"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [self.bus_address.eq(self.i.payload), self.bus_sub.eq(0)]
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += remaining.eq(Mux(is_start, self.i.payload[:16], self.i.payload))
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += last.eq(remaining == 1)
                m.next = "WAIT"
                with m.If(remaining == 0):
                    m.next = "COMMAND"
            with m.State("WAIT"), m.If(allowed):
                m.next = "READ"
                with m.If(is_write):
                    m.next = "WRITE"
                with m.Elif(is_start):
                    m.d.sync += [
                        self.start.eq(1),
                        self.start_first.eq(self.bus_address),
                        self.start_count.eq(remaining),
                    ]
                    m.next = "COMMAND"
            with m.State("WRITE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += self.bus_write.eq(1)
                    count_down()
                    with m.If(last):
                        m.next = "COMMAND"
            with m.State("READ"):
                m.d.comb += answers.reserve.eq(answers.room)
                with m.If(answers.room):
                    count_down()
                    with m.If(last):
                        m.next = "FLUSH"
            with m.State("FLUSH"), m.If(~answers.pending):
                m.next = "COMMAND"
        return m

    def _connect_bus(self, m, answers, command):
        """Connect the answers and step item and word after each strobe."""
        last_sub = Signal.like(self.bus_sub)
        with m.Switch(command.space):
            for space, words in self._item_words.items():
                with m.Case(space):
                    m.d.sync += last_sub.eq(words - 1)
            with m.Default():
                m.d.sync += last_sub.eq(0)

        m.d.sync += self.bus_read.eq(answers.reserve)
        with m.If(self.bus_write | self.bus_read):
            m.d.sync += self.bus_sub.eq(self.bus_sub + 1)
            with m.If(self.bus_sub == last_sub):
                m.d.sync += [self.bus_sub.eq(0), self.bus_address.eq(self.bus_address + 1)]
        m.d.comb += [
            self.bus_space.eq(command.space),
            answers.read.eq(self.bus_read),
            answers.result.eq(self.bus_result),
        ]
        wiring.connect(m, answers=answers.o, host=wiring.flipped(self.o))
