"""Link of a board: a serial line to the accelerator's two streams of words (docs/link.md)."""

from amaranth.hdl import Cat, Const, Module, ResetInserter, Signal
from amaranth.lib import enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract.accelerator import ArrayConfig
from steelyard.contract.frames import LINK_VERSION, OPENED_FIELDS, Reply, Request
from steelyard.contract.words import pack

from ..accelerator import Accelerator
from ..cells.target import Target
from .frame import HEAD, FrameReceiver, FrameSender
from .uart import UartReceiver, UartTransmitter

__all__ = ["Link", "SerialAccelerator"]


class State(enum.IntEnum):
    """What the executor of frames does."""

    IDLE = 0
    OPEN = 1
    TAKE = 2
    MOVE = 3
    SETTLE = 4
    REFUSE = 5
    LOSE = 6
    SEND = 7
    SENDING = 8


class Place(enum.IntEnum):
    """Where the replies lie in their memory: head, session, then what the reply brings.

    OPEN writes all sessions but that of LOST, whose frame belongs to none.
    """

    OPENED = 0
    REFUSED = 4
    LOST = 6
    DONE = 8


class Payloads(wiring.Component):
    """Two halves of a memory: one takes a frame's words while the other's go to the accelerator.

    A frame's payload begins at word 2 of its half. Gives a word every third cycle, the first three
    cycles after `go`; unregistered every other cycle and a cycle earlier.

    Parameters
    ----------
    words : :class:`int`
        Words of both halves, a power of two.
    registered : :class:`bool`
        Whether the block RAM's slow output gets a cycle of its own.

    Members
    -------
    write : ``In(1)``, write_half : ``In(1)``, write_address : ``In``, word : ``In(32)``
        Word to store.
    go : ``In(1)``, half : ``In(1)``
        Strobe: give the words of a half.
    stop : ``In``
        Address after the last of them, 2 if there is none; stable while `active`.
    cancel : ``In(1)``
        Strobe: withdraw what is left; the taker is being reset.
    active : ``Out(1)``, active_half : ``Out(1)``
        Words of this half are left.
    o : ``Out(stream.Signature(32))``
        The words.
    """

    def __init__(self, words: int, *, registered: bool = True):
        self._words = words
        self._registered = registered
        super().__init__(
            {
                "write": In(1),
                "write_half": In(1),
                "write_address": In(range(words // 2)),
                "word": In(32),
                "go": In(1),
                "half": In(1),
                "stop": In(range(words // 2)),
                "cancel": In(1),
                "active": Out(1),
                "active_half": Out(1),
                "o": Out(stream.Signature(32)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = buffer = memory.Memory(shape=32, depth=self._words, init=[])
        write, read = buffer.write_port(), buffer.read_port()
        address = Signal.like(self.write_address)
        empty = address == self.stop
        fetched = Signal()  # a word that the register takes next
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(Cat(self.write_address, self.write_half)),
            write.data.eq(self.word),
            read.en.eq(self.active & ~self.o.valid & ~fetched),
            read.addr.eq(Cat(address, self.active_half)),
        ]
        if self._registered:
            payload = Signal(32, reset_less=True)
            m.d.comb += self.o.payload.eq(payload)
            with m.If(fetched):
                m.d.sync += payload.eq(read.data)
        else:
            m.d.comb += self.o.payload.eq(read.data)
        with m.If(self.go):
            m.d.sync += [self.active.eq(1), self.active_half.eq(self.half), address.eq(2)]
        with m.Elif(self.o.valid):
            with m.If(self.o.ready):
                m.d.sync += [self.o.valid.eq(0), address.eq(address + 1)]
        with m.Elif(fetched):
            m.d.sync += [self.o.valid.eq(1), fetched.eq(0)]
        with m.Else():
            left = self.active & ~empty
            shown = fetched if self._registered else self.o.valid
            m.d.sync += [shown.eq(left), self.active.eq(left)]
        with m.If(self.cancel):
            m.d.sync += [self.active.eq(0), self.o.valid.eq(0), fetched.eq(0)]
        return m


class Link(wiring.Component):
    """Executes each intact frame of the session once and answers it, again when it is repeated.

    Two buffers take frames in turn: one fills while the other one's words go to the accelerator. A
    frame that opens another session is never held back: it resets the accelerator, whatever that
    waits for, and drops what was buffered.

    Parameters
    ----------
    words : :class:`int`
        Words of each of the two memories, 32 to 4096, a power of two.
    clock_hz : :class:`int`
        Frequency of the clock, told to the host.
    registered : :class:`bool`
        Whether the frame memory's slow output gets a cycle of its own.

    Attributes
    ----------
    payload_words : :class:`int`
        Most words that a frame to the board may carry.
    answer_words : :class:`int`
        Most words that it may ask for.
    SETTLE_CYCLES : :class:`int`
        Cycles after the last word in which a START must have raised `busy`.

    Members
    -------
    byte_valid : ``In(1)``, byte : ``In(8)``
        Strobe and byte from the line, at least 12 cycles apart.
    line : ``Out(stream.Signature(8))``
        Bytes for the line.
    o : ``Out(stream.Signature(32))``
        Words to the accelerator.
    i : ``In(stream.Signature(32))``
        Words from it.
    busy : ``In(1)``
        A network is running.
    reset : ``Out(1)``
        Resets the accelerator.
    active : ``Out(1)``
        A frame is being executed or answered.
    """

    SETTLE_CYCLES = 16

    def __init__(self, *, words: int = 512, clock_hz: int = 0, registered: bool = True):
        if words not in (32 << n for n in range(8)):
            raise ValueError(f"Words must be a power of two from 32 to 4096, not {words!r}")
        if not isinstance(clock_hz, int) or not 0 <= clock_hz < 1 << 32:
            raise ValueError(f"Clock must be an integer of hertz below 2**32, not {clock_hz!r}")
        self._words = words
        self._clock_hz = clock_hz
        self._registered = registered
        self.payload_words = words // 2 - 3
        self.answer_words = words - Place.DONE - 3
        super().__init__(
            {
                "byte_valid": In(1),
                "byte": In(8),
                "line": Out(stream.Signature(8)),
                "o": Out(stream.Signature(32)),
                "i": In(stream.Signature(32)),
                "busy": In(1),
                "reset": Out(1),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        words = self._words
        m.submodules.receiver = receiver = FrameReceiver(words // 2)
        # A session that begins cuts off what is being sent: its memory is about to change.
        opening = Signal()
        sender = FrameSender(words)
        m.submodules.sender = ResetInserter(opening)(sender)
        state = Signal(State)
        session = Signal(32)
        last = Signal(16)  # sequence number executed last
        fresh = Signal()  # it was that of OPEN

        m.d.comb += [
            receiver.valid.eq(self.byte_valid),
            receiver.byte.eq(self.byte),
            self.active.eq(state != State.IDLE),
        ]
        wiring.connect(m, sender.o, wiring.flipped(self.line))

        # The session of a frame comes many cycles before its end.
        same = Signal()
        m.d.sync += same.eq(receiver.session == session)
        is_open = receiver.head.kind == Request.OPEN
        is_exchange = receiver.head.kind.matches(Request.EXCHANGE, Request.EXCHANGE_IDLE)
        lost = Signal()
        m.d.comb += [
            opening.eq(receiver.frame & is_open & ~same),
            lost.eq(receiver.frame & is_exchange & ~same),
        ]

        # The frame that waits: the receiver overwrites its own registers with the next one.
        slot = Signal(HEAD, reset_less=True)
        slot_stop = Signal.like(receiver.address, reset_less=True)
        slot_half = Signal()
        slot_full = Signal()
        writing = Signal()  # half that the receiver fills
        with m.If(receiver.frame & (is_open | is_exchange) & same & ~slot_full):
            m.d.sync += [
                slot.eq(receiver.head),
                slot_stop.eq(receiver.address),
                slot_half.eq(writing),
                slot_full.eq(1),
                writing.eq(~writing),
            ]

        stop = Signal.like(slot_stop, reset_less=True)
        m.submodules.payloads = payloads = Payloads(words, registered=self._registered)
        wiring.connect(m, payloads.o, wiring.flipped(self.o))
        m.d.comb += [
            payloads.write.eq(receiver.write),
            payloads.write_half.eq(writing),
            payloads.write_address.eq(receiver.address),
            payloads.word.eq(receiver.word),
            payloads.half.eq(slot_half),
            payloads.stop.eq(stop),
            payloads.cancel.eq(opening),
            receiver.room.eq(~slot_full & ~(payloads.active & (payloads.active_half == writing))),
        ]

        answers, sent = self._answers(m)
        m.d.comb += [
            sent.addr.eq(sender.address),
            sent.en.eq(sender.enable),
            sender.data.eq(sent.data),
        ]
        next_answer = Signal.like(answers.addr, reset_less=True)
        first = Signal.like(answers.addr, reset_less=True)
        end = Signal.like(answers.addr, reset_less=True)
        remaining = Signal(12, reset_less=True)
        wait_idle = Signal()
        settle = Signal(range(self.SETTLE_CYCLES))
        step = Signal(3)
        ahead = Signal(16)
        m.d.comb += [
            ahead.eq(slot.sequence - last),
            sender.first.eq(first),
            sender.end.eq(end),
            answers.data.eq(self.i.payload),
        ]

        def write_head(place, kind, middle):
            m.d.comb += [
                answers.addr.eq(place),
                answers.en.eq(1),
                answers.data.eq(Cat(Const(kind, 4), middle, last)),
            ]

        def write_session(place):
            # Still that of the frame: the next one's comes many cycles later.
            m.d.comb += [
                answers.addr.eq(place + 1),
                answers.en.eq(1),
                answers.data.eq(receiver.session),
            ]

        def send(place, end_place):
            m.d.sync += [first.eq(place), end.eq(end_place), state.eq(State.SEND)]

        with m.Switch(state):
            with m.Case(State.IDLE):
                with m.If(slot_full):
                    m.d.sync += state.eq(State.TAKE)
                with m.Elif(lost):
                    m.d.sync += state.eq(State.LOSE)
            with m.Case(State.OPEN):
                m.d.comb += self.reset.eq(1)
                m.d.sync += step.eq(step + 1)
                with m.Switch(step):
                    with m.Case(0):
                        write_head(Place.OPENED, Reply.OPENED, Const(0, 12))
                    with m.Case(1):
                        write_session(Place.OPENED)
                    with m.Case(2):
                        write_session(Place.REFUSED)
                    with m.Case(3):
                        write_session(Place.DONE)
                        m.d.sync += fresh.eq(1)
                        send(Place.OPENED, Place.OPENED + 4)
            with m.Case(State.TAKE):
                m.d.sync += [slot_full.eq(0), state.eq(State.REFUSE)]
                with m.If(ahead == 0):
                    with m.If(fresh):
                        send(Place.OPENED, Place.OPENED + 4)
                    with m.Else():
                        send(Place.DONE, next_answer)
                with m.Elif(ahead == 1):
                    m.d.comb += payloads.go.eq(1)
                    m.d.sync += [
                        last.eq(slot.sequence),
                        fresh.eq(0),
                        stop.eq(slot_stop),
                        remaining.eq(slot.answers),
                        wait_idle.eq(slot.kind == Request.EXCHANGE_IDLE),
                        next_answer.eq(Place.DONE + 2),
                        state.eq(State.MOVE),
                    ]
            with m.Case(State.MOVE):
                m.d.comb += [
                    self.i.ready.eq(remaining != 0),
                    answers.addr.eq(next_answer),
                    answers.en.eq(self.i.valid & self.i.ready),
                ]
                with m.If(answers.en):
                    m.d.sync += [remaining.eq(remaining - 1), next_answer.eq(next_answer + 1)]
                m.d.sync += settle.eq(self.SETTLE_CYCLES - 1)
                with m.If(~payloads.active & (remaining == 0)):
                    m.d.sync += state.eq(State.SETTLE)
            with m.Case(State.SETTLE):
                write_head(Place.DONE, Reply.DONE, Const(0, 12))
                with m.If(wait_idle & (settle != 0)):
                    m.d.sync += settle.eq(settle - 1)
                with m.Elif(~wait_idle | ~self.busy):
                    send(Place.DONE, next_answer)
            with m.Case(State.REFUSE):
                write_head(Place.REFUSED, Reply.REFUSED, slot.sequence[:12])
                send(Place.REFUSED, Place.REFUSED + 2)
            with m.Case(State.LOSE):
                m.d.sync += step.eq(step + 1)
                write_session(Place.LOST)
                with m.If(step[0]):
                    write_head(Place.LOST, Reply.LOST, Const(0, 12))
                    send(Place.LOST, Place.LOST + 2)
            with m.Case(State.SEND):
                m.d.comb += sender.start.eq(1)
                m.d.sync += state.eq(State.SENDING)
            with m.Case(State.SENDING):
                with m.If(~sender.busy):
                    m.d.sync += [state.eq(State.IDLE), step.eq(0)]
        with m.If(opening):
            m.d.sync += [
                session.eq(receiver.session),
                last.eq(receiver.head.sequence),
                slot_full.eq(0),
                step.eq(0),
                state.eq(State.OPEN),
            ]
        return m

    def _answers(self, m):
        """Memory of the replies: what to write there, a cycle later, and the sender's read port."""
        opened = pack(
            OPENED_FIELDS,
            version=LINK_VERSION,
            payload_words=self.payload_words,
            answer_words=self.answer_words,
        )
        m.submodules.answers = answers = memory.Memory(
            shape=32, depth=self._words, init=[0, 0, opened, self._clock_hz]
        )
        write = answers.write_port()
        ports = {"addr": Out(write.addr.shape()), "data": Out(32), "en": Out(1)}
        chosen = wiring.Signature(ports).create(path=("answer",))
        m.d.sync += [getattr(write, name).eq(getattr(chosen, name)) for name in ports]
        return chosen, answers.read_port()


class SerialAccelerator(wiring.Component):
    """Accelerator behind a serial line, what a board holds.

    Parameters
    ----------
    config : :class:`~steelyard.contract.accelerator.ArrayConfig`
    divider : :class:`int`
        Clock cycles of a bit on the line, at least 4; :func:`.uart.divider_for` finds it.
    clock_hz : :class:`int`
        Frequency of the clock, told to the host.
    target : :class:`.target.Target`

    Members
    -------
    rx : ``In(1)``
        From the host, high when idle.
    tx : ``Out(1)``
        To the host.
    busy : ``Out(1)``
        A network is running, or a frame is being executed or answered.
    """

    def __init__(
        self,
        config: ArrayConfig,
        *,
        divider: int,
        clock_hz: int = 0,
        target: Target = Target.PORTABLE,
    ):
        self._accelerator = Accelerator(config, target)
        self._receiver = UartReceiver(divider)
        self._transmitter = UartTransmitter(divider)
        self._link = Link(words=config.link_words, clock_hz=clock_hz, registered=not config.compact)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = self._receiver
        m.submodules.transmitter = transmitter = self._transmitter
        m.submodules.link = link = self._link
        accelerator = self._accelerator
        # Registered, for it has a load in every control register.
        reset = Signal()
        m.d.sync += reset.eq(link.reset)
        m.submodules.accelerator = ResetInserter(reset)(accelerator)
        wiring.connect(m, link.o, accelerator.i)
        wiring.connect(m, accelerator.o, link.i)
        wiring.connect(m, link.line, transmitter.i)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            link.byte_valid.eq(receiver.valid),
            link.byte.eq(receiver.payload),
            link.busy.eq(accelerator.busy),
            self.busy.eq(accelerator.busy | link.active | transmitter.busy),
        ]
        return m
