"""Execution of frames: what waits, what the link does with it, and the replies to it."""

from amaranth.hdl import Cat, Const, Signal
from amaranth.lib import enum, memory, wiring
from amaranth.lib.wiring import Out

from steelyard.contract.frames import Reply, Request

from .frame import HEAD

__all__ = ["Executor", "Place", "Replies", "Slot", "State"]


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


class Slot:
    """The frame that waits: the receiver overwrites its own registers with the next one.

    Not a component: its registers belong to the module of the link.

    Parameters
    ----------
    receiver : :class:`.frame.FrameReceiver`

    Attributes
    ----------
    head : ``Signal(HEAD)``
    stop : :class:`Signal`
        Address after its payload, that of its CRC.
    half : ``Signal(1)``
        Half of the payloads' memory that holds it.
    full : ``Signal(1)``
        A frame waits.
    """

    def __init__(self, receiver):
        self._receiver = receiver
        self.head = Signal(HEAD, name="slot", reset_less=True)
        self.stop = Signal.like(receiver.address, name="slot_stop", reset_less=True)
        self.half = Signal(name="slot_half")
        self.full = Signal(name="slot_full")

    def fill(self, m, half):
        """Take the frame that the receiver has, with its payload in a half of the memory."""
        m.d.sync += [
            self.head.eq(self._receiver.head),
            self.stop.eq(self._receiver.address),
            self.half.eq(half),
            self.full.eq(1),
        ]


class Replies:
    """Memory of the replies, of which the sender sends one.

    Not a component: its registers belong to the module of the link. What is written arrives a cycle
    later.

    Parameters
    ----------
    words : :class:`int`
        Words of the memory.
    opened : :class:`list`
        The two words of the reply to OPEN.

    Attributes
    ----------
    port
        Word to write: `addr`, `data`, `en`.
    """

    def __init__(self, m, sender, words: int, opened: list[int]):
        m.submodules.answers = answers = memory.Memory(shape=32, depth=words, init=[0, 0, *opened])
        write, read = answers.write_port(), answers.read_port()
        ports = {"addr": Out(write.addr.shape()), "data": Out(32), "en": Out(1)}
        self.port = wiring.Signature(ports).create(path=("answer",))
        self._first = Signal.like(self.port.addr, name="first", reset_less=True)
        self._end = Signal.like(self.port.addr, name="end", reset_less=True)
        m.d.sync += [getattr(write, name).eq(getattr(self.port, name)) for name in ports]
        m.d.comb += [
            read.addr.eq(sender.address),
            read.en.eq(sender.enable),
            sender.data.eq(read.data),
            sender.first.eq(self._first),
            sender.end.eq(self._end),
        ]

    def write(self, m, place, data):
        """Write a word."""
        m.d.comb += [self.port.addr.eq(place), self.port.en.eq(1), self.port.data.eq(data)]

    def choose(self, m, place, end):
        """The words from `place` to before `end` are sent next."""
        m.d.sync += [self._first.eq(place), self._end.eq(end)]


class Executor:
    """What the link does in each state: takes the frame out of the slot, executes and answers it.

    Not a component: its registers belong to the module of the link.

    Parameters
    ----------
    link : :class:`.link.Link`
    answers
        Stream of words from the accelerator.
    receiver : :class:`.frame.FrameReceiver`
    sender : :class:`.frame.FrameSender`
    payloads : :class:`.payloads.Payloads`
    slot : :class:`Slot`
    replies : :class:`Replies`

    Attributes
    ----------
    state : ``Signal(State)``
    """

    def __init__(self, m, link, answers, receiver, sender, payloads, slot, replies):
        self._m, self._link, self._answers = m, link, answers
        self._receiver, self._sender = receiver, sender
        self._payloads, self._slot, self._replies = payloads, slot, replies
        self.state = Signal(State, name="state")
        self._last = Signal(16, name="last")  # sequence number executed last
        self._fresh = Signal(name="fresh")  # it was that of OPEN
        self._stop = Signal.like(slot.stop, name="stop", reset_less=True)
        self._next_answer = Signal.like(replies.port.addr, name="next_answer", reset_less=True)
        self._remaining = Signal(12, name="remaining", reset_less=True)
        self._wait_idle = Signal(name="wait_idle")
        self._settle = Signal(range(link.SETTLE_CYCLES), name="settle")
        self._step = Signal(3, name="step")
        self._same, self._next = self._compared(link.registered)
        m.d.comb += [
            payloads.half.eq(slot.half),
            payloads.stop.eq(self._stop),
        ]

    def _compared(self, registered):
        """Whether the frame is the one executed last, and whether it is the next.

        Much follows from it, so with registers it is known a cycle late; before TAKE both numbers
        stand still for a cycle.
        """
        sequence = self._slot.head.sequence
        if not registered:
            ahead = Signal(16, name="ahead")
            self._m.d.comb += ahead.eq(sequence - self._last)
            return ahead == 0, ahead == 1
        same, following = Signal(name="same"), Signal(name="next")
        self._m.d.sync += [
            same.eq(sequence == self._last),
            following.eq(sequence == (self._last + 1)[:16]),
        ]
        return same, following

    def execute(self, opening, lost):
        """Go through the states.

        Parameters
        ----------
        opening : :class:`Signal`
            Strobe: the receiver has a frame that opens another session.
        lost : :class:`Signal`
            Strobe: it has one that belongs to none.
        """
        m = self._m
        m.d.comb += self._replies.port.data.eq(self._answers.payload)
        actions = {
            State.IDLE: lambda: self._idle(lost),
            State.OPEN: self._open,
            State.TAKE: self._take,
            State.MOVE: self._move,
            State.SETTLE: self._settled,
            State.REFUSE: self._refuse,
            State.LOSE: self._lose,
            State.SEND: self._send,
            State.SENDING: self._sending,
        }
        with m.Switch(self.state):
            for state, act in actions.items():
                with m.Case(state):
                    act()
        with m.If(opening):
            m.d.sync += [
                self._last.eq(self._receiver.head.sequence),
                self._slot.full.eq(0),
                self._step.eq(0),
                self.state.eq(State.OPEN),
            ]

    def _write_head(self, place, kind, middle):
        self._replies.write(self._m, place, Cat(Const(kind, 4), middle, self._last))

    def _write_session(self, place):
        # Still that of the frame: the next one's comes many cycles later.
        self._replies.write(self._m, place + 1, self._receiver.session)

    def _reply(self, place, end):
        self._replies.choose(self._m, place, end)
        self._m.d.sync += self.state.eq(State.SEND)

    def _idle(self, lost):
        m = self._m
        with m.If(self._slot.full):
            m.d.sync += self.state.eq(State.TAKE)
        with m.Elif(lost):
            m.d.sync += self.state.eq(State.LOSE)

    def _open(self):
        m = self._m
        m.d.comb += self._link.reset.eq(1)
        m.d.sync += self._step.eq(self._step + 1)
        with m.Switch(self._step):
            with m.Case(0):
                self._write_head(Place.OPENED, Reply.OPENED, Const(0, 12))
            with m.Case(1):
                self._write_session(Place.OPENED)
            with m.Case(2):
                self._write_session(Place.REFUSED)
            with m.Case(3):
                self._write_session(Place.DONE)
                m.d.sync += self._fresh.eq(1)
                self._reply(Place.OPENED, Place.OPENED + 4)

    def _take(self):
        m, slot = self._m, self._slot
        m.d.sync += [slot.full.eq(0), self.state.eq(State.REFUSE)]
        with m.If(self._same):
            with m.If(self._fresh):
                self._reply(Place.OPENED, Place.OPENED + 4)
            with m.Else():
                self._reply(Place.DONE, self._next_answer)
        with m.Elif(self._next):
            m.d.comb += self._payloads.go.eq(1)
            m.d.sync += [
                self._last.eq(slot.head.sequence),
                self._fresh.eq(0),
                self._stop.eq(slot.stop),
                self._remaining.eq(slot.head.answers),
                self._wait_idle.eq(slot.head.kind == Request.EXCHANGE_IDLE),
                self._next_answer.eq(Place.DONE + 2),
                self.state.eq(State.MOVE),
            ]

    def _move(self):
        m, i, port = self._m, self._answers, self._replies.port
        m.d.comb += [
            i.ready.eq(self._remaining != 0),
            port.addr.eq(self._next_answer),
            port.en.eq(i.valid & i.ready),
        ]
        with m.If(port.en):
            m.d.sync += [
                self._remaining.eq(self._remaining - 1),
                self._next_answer.eq(self._next_answer + 1),
            ]
        m.d.sync += self._settle.eq(self._link.SETTLE_CYCLES - 1)
        with m.If(~self._payloads.active & (self._remaining == 0)):
            m.d.sync += self.state.eq(State.SETTLE)

    def _settled(self):
        m, wait_idle = self._m, self._wait_idle
        self._write_head(Place.DONE, Reply.DONE, Const(0, 12))
        with m.If(wait_idle & (self._settle != 0)):
            m.d.sync += self._settle.eq(self._settle - 1)
        with m.Elif(~wait_idle | ~self._link.busy):
            self._reply(Place.DONE, self._next_answer)

    def _refuse(self):
        self._write_head(Place.REFUSED, Reply.REFUSED, self._slot.head.sequence[:12])
        self._reply(Place.REFUSED, Place.REFUSED + 2)

    def _lose(self):
        m = self._m
        m.d.sync += self._step.eq(self._step + 1)
        self._write_session(Place.LOST)
        with m.If(self._step[0]):
            self._write_head(Place.LOST, Reply.LOST, Const(0, 12))
            self._reply(Place.LOST, Place.LOST + 2)

    def _send(self):
        self._m.d.comb += self._sender.start.eq(1)
        self._m.d.sync += self.state.eq(State.SENDING)

    def _sending(self):
        m = self._m
        with m.If(~self._sender.busy):
            m.d.sync += [self.state.eq(State.IDLE), self._step.eq(0)]
