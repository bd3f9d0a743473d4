"""Link of a board: a serial line to the accelerator's two streams of words (docs/link.md)."""

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract.frames import LINK_VERSION, OPENED_FIELDS, Request
from steelyard.contract.words import pack

from .executor import Executor, Place, Replies, Slot, State
from .frame import FrameReceiver, FrameSender
from .payloads import Payloads

__all__ = ["Link"]


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
        Whether the frame memory's slow output gets a cycle of its own, and words from the
        accelerator places on their way.

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
        self.registered = registered
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
        m.submodules.receiver = receiver = FrameReceiver(self._words // 2)
        # A session that begins cuts off what is being sent: its memory is about to change.
        opening = Signal()
        sender = FrameSender(self._words)
        m.submodules.sender = ResetInserter(opening)(sender)
        m.submodules.payloads = payloads = Payloads(self._words, registered=self.registered)
        slot = Slot(receiver)
        replies = Replies(m, sender, self._words, [self._opened(), self._clock_hz])
        executor = Executor(m, self, self._answers(m), receiver, sender, payloads, slot, replies)

        wiring.connect(m, sender.o, wiring.flipped(self.line))
        wiring.connect(m, payloads.o, wiring.flipped(self.o))
        m.d.comb += [
            receiver.valid.eq(self.byte_valid),
            receiver.byte.eq(self.byte),
            self.active.eq(executor.state != State.IDLE),
            payloads.cancel.eq(opening),
        ]
        known, lost = self._judge(m, receiver, opening)
        self._store(m, receiver, payloads, slot, known)
        executor.execute(opening, lost)
        return m

    def _answers(self, m):
        """Words from the accelerator: whether one can be taken is a register's answer."""
        if not self.registered:
            return self.i
        m.submodules.answers_ahead = ahead = ResetInserter(self.reset)(
            fifo.SyncFIFO(width=32, depth=2)
        )
        wiring.connect(m, wiring.flipped(self.i), ahead.w_stream)
        return ahead.r_stream

    def _opened(self):
        """First word of the answer to OPEN."""
        return pack(
            OPENED_FIELDS,
            version=LINK_VERSION,
            payload_words=self.payload_words,
            answer_words=self.answer_words,
        )

    def _judge(self, m, receiver, opening):
        """Whether the frame that the receiver has is of the session, and whether it is of none."""
        session = Signal(32)
        same, lost = Signal(), Signal()
        # The session of a frame comes many cycles before its end.
        m.d.sync += same.eq(receiver.session == session)
        is_open = receiver.head.kind == Request.OPEN
        is_exchange = receiver.head.kind.matches(Request.EXCHANGE, Request.EXCHANGE_IDLE)
        m.d.comb += [
            opening.eq(receiver.frame & is_open & ~same),
            lost.eq(receiver.frame & is_exchange & ~same),
        ]
        with m.If(opening):
            m.d.sync += session.eq(receiver.session)
        return receiver.frame & (is_open | is_exchange) & same, lost

    def _store(self, m, receiver, payloads, slot, known):
        """Payload of what the receiver takes, in turn into both halves of the memory."""
        writing = Signal()  # half that the receiver fills
        with m.If(known & ~slot.full):
            slot.fill(m, writing)
            m.d.sync += writing.eq(~writing)
        giving = payloads.active & (payloads.active_half == writing)
        m.d.comb += [
            payloads.write.eq(receiver.write),
            payloads.write_half.eq(writing),
            payloads.write_address.eq(receiver.address),
            payloads.word.eq(receiver.word),
            receiver.room.eq(~slot.full & ~giving),
        ]
