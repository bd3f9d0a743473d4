"""Words that a chip sends, from its pins to a stream."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from .pins import DATA_BITS
from .port import WORD_BITS

__all__ = ["LATENCY_BITS", "ReadPath"]

LATENCY_BITS = 4
"""Of a read latency in cycles of the chip."""


class ReadPath(wiring.Component):
    """Takes words from the pins at the right time and keeps them until they are taken.

    Every word has its place before it is asked for, so that none is lost however long the taker
    waits. With one slot a word is there `latency` + 3 cycles after its command is on the pins, and
    one word every two cycles is sustained; with two slots it is half of `latency`, rounded up, and
    2 cycles, and one word a cycle.

    Parameters
    ----------
    depth : :class:`int`
        Words that are kept, 2 to 64.
    slots : :class:`int`
        Cycles of the chip in one of this path, 1 or 2.

    Members
    -------
    latency : ``In(4)``
        Cycles of the chip from that in which a command to read is on the pins, in the first slot,
        to that in which the first half of its word is on `data`. May change only while no word is
        on its way.
    ask : ``In(1)``
        A word is asked for now; only while there is room.
    sent : ``In(1)``
        The command to read is on the pins.
    data : ``In(16)``, an array of two with two slots
        Pins, the low half of a word first.
    room : ``Out(1)``
        One more word may be asked for.
    o : ``Out(stream.Signature(32))``
        Words in order.

    Raises
    ------
    ValueError
        If the depth is another.
    """

    def __init__(self, depth, slots=1):
        if not isinstance(depth, int) or not 2 <= depth <= 64:
            raise ValueError(f"Depth of the words read must be from 2 to 64, not {depth!r}")
        self._depth = depth
        self._slots = slots
        pins = In(DATA_BITS)
        super().__init__(
            {
                "latency": In(LATENCY_BITS),
                "ask": In(1),
                "sent": In(1),
                "data": pins if slots == 1 else pins.array(slots),
                "room": Out(1),
                "o": Out(stream.Signature(WORD_BITS)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = SyncFIFO(width=WORD_BITS, depth=self._depth)
        places = Signal(range(self._depth + 1), init=self._depth)
        taken = self.o.valid & self.o.ready
        m.d.sync += places.eq(places + taken - self.ask)

        valid, word = (self._in_turn if self._slots == 1 else self._at_once)(m)
        m.d.comb += [
            self.room.eq(places != 0),
            words.w_data.eq(word),
            words.w_en.eq(valid),
            self.o.valid.eq(words.r_rdy),
            self.o.payload.eq(words.r_data),
            words.r_en.eq(self.o.ready),
        ]
        return m

    def _in_turn(self, m):
        """Strobe and word, of halves that come in two cycles."""
        earlier = Signal((1 << LATENCY_BITS) - 1)
        sent = Cat(self.sent, earlier)
        first = Signal()
        second = Signal()
        captured, low = (Signal(DATA_BITS, reset_less=True) for _ in range(2))
        m.d.sync += [
            earlier.eq(sent),
            first.eq(sent.bit_select(self.latency, 1)),
            second.eq(first),
            captured.eq(self.data),
            low.eq(captured),
        ]
        return second, Cat(low, captured)

    def _at_once(self, m):
        """Strobe and word, of halves in the slots of one cycle or of two that follow."""
        earlier = Signal(1 << LATENCY_BITS - 1)
        sent = Cat(self.sent, earlier)
        both = Signal()
        apart = Signal()
        captured = Signal(WORD_BITS, reset_less=True)
        low = Signal(DATA_BITS, reset_less=True)
        m.d.sync += [
            earlier.eq(sent),
            both.eq(sent.bit_select(self.latency[1:] + self.latency[0], 1)),
            apart.eq(self.latency[0]),
            captured.eq(Cat(*self.data)),
            low.eq(captured[DATA_BITS:]),
        ]
        word = Mux(apart, Cat(low, captured[:DATA_BITS]), captured)
        return both, word
