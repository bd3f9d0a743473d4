"""Frames of the link: bytes of the line to checked words, and words to bytes (docs/link.md)."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract.frames import HEAD_FIELDS

from .crc import Crc32

__all__ = ["HEAD", "FrameReceiver", "FrameSender"]

HEAD = data.StructLayout(HEAD_FIELDS)
"""First word of a frame."""


def _checked(name: str, value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{name} must be an integer from {low} to {high}, not {value!r}")
    return value


class FrameReceiver(wiring.Component):
    """Takes frames apart: COBS, words, CRC. Bytes may come every ten cycles, and always move on.

    A byte 0 ends a frame and begins the next whatever came before it, so any garbage costs the
    frame it touches and no other. Words are written out as they come; `frame` says in the cycle
    after the frame's last byte that all of it was intact.

    Parameters
    ----------
    words : :class:`int`
        Words of a frame with head, session and CRC, at most: a power of two from 8 to 2048.

    Members
    -------
    valid : ``In(1)``, byte : ``In(8)``
        Strobe and byte from the line.
    room : ``In(1)``
        Payload may be written; a frame with a word that could not be written is dropped.
    write : ``Out(1)``, address : ``Out(range(words))``, word : ``Out(32)``
        Word to store: payload from address 2 on, then the CRC.
    frame : ``Out(1)``
        Strobe: an intact frame ended, and its CRC is at `address`. That, `head` and `session`
        belong to it until the next frame's first words are complete.
    head : ``Out(HEAD)``, session : ``Out(32)``
        Its first two words.
    """

    def __init__(self, words: int):
        self._words = _checked("Words of a frame", words, 8, 2048)
        if words & (words - 1):
            raise ValueError(f"Words of a frame must be a power of two, not {words!r}")
        super().__init__(
            {
                "valid": In(1),
                "byte": In(8),
                "room": In(1),
                "write": Out(1),
                "address": Out(range(words)),
                "word": Out(32),
                "frame": Out(1),
                "head": Out(HEAD),
                "session": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = Crc32()
        run = Signal(8)  # bytes until the next code
        zero = Signal()  # that code stands for a zero byte
        decoded = Signal()
        value = Signal(8)
        end = Signal()
        m.d.comb += [decoded.eq(0), value.eq(self.byte), end.eq(self.valid & (self.byte == 0))]
        with m.If(self.valid):
            with m.If(end):
                m.d.sync += [run.eq(0), zero.eq(0)]
            with m.Elif(run == 0):
                m.d.sync += [run.eq(self.byte - 1), zero.eq(self.byte != 255)]
                m.d.comb += [decoded.eq(zero), value.eq(0)]
            with m.Else():
                m.d.sync += run.eq(run - 1)
                m.d.comb += decoded.eq(1)

        sub = Signal(2)
        word = Signal(32, reset_less=True)
        address = Signal(range(self._words), reset_less=True)
        head = Signal(HEAD, reset_less=True)
        session = Signal(32, reset_less=True)
        m.d.comb += [
            self.word.eq(word),
            self.address.eq(address),
            self.head.eq(head),
            self.session.eq(session),
        ]
        index = Signal(range(self._words + 1))  # whole words so far
        missed = Signal()
        bad = Signal()
        whole = Cat(word[8:], value)
        m.d.comb += [crc.byte.eq(value), crc.valid.eq(decoded), crc.clear.eq(end)]
        m.d.sync += [self.write.eq(0), self.frame.eq(0)]
        with m.If(decoded):
            m.d.sync += [word.eq(whole), sub.eq(sub + 1)]
        with m.If(decoded & (sub == 3)):
            with m.If(index != self._words):
                m.d.sync += [index.eq(index + 1), address.eq(index)]
            with m.If(index == 0):
                m.d.sync += head.eq(whole)
            with m.Elif(index == 1):
                m.d.sync += session.eq(whole)
            with m.Else():
                # Only the CRC word, the last, may lack room.
                m.d.sync += [
                    self.write.eq(self.room & (index != self._words)),
                    missed.eq(missed | ~self.room),
                    bad.eq(bad | missed | (index == self._words)),
                ]
        with m.If(end):
            m.d.sync += [
                self.frame.eq((run == 0) & (sub == 0) & (index >= 3) & crc.good & ~bad),
                *(signal.eq(0) for signal in (sub, index, missed, bad)),
            ]
        return m


class FrameSender(wiring.Component):
    """Makes a frame of words in a memory: words, CRC, reversed COBS, delimiters on both sides.

    The code byte follows its run instead of leading it, so nothing has to be looked up ahead.
    Sends a byte a cycle at most, and one in nine where the CRC must follow.

    Parameters
    ----------
    depth : :class:`int`
        Words of the memory, 4 to 4096.

    Members
    -------
    start : ``In(1)``
        Strobe: send. Only while not `busy`.
    first : ``In(range(depth))``, end : ``In(range(depth))``
        Address of the first word to send, and that after the last; they differ. The end is stable
        while `busy`.
    busy : ``Out(1)``
        From the cycle after `start` until the last byte was taken.
    address : ``Out(range(depth))``, enable : ``Out(1)``, data : ``In(32)``
        Clocked read port of the memory.
    o : ``Out(stream.Signature(8))``
        Bytes for the line.
    """

    def __init__(self, depth: int):
        self._depth = _checked("Depth of the memory", depth, 4, 4096)
        super().__init__(
            {
                "start": In(1),
                "first": In(range(depth)),
                "end": In(range(depth)),
                "busy": Out(1),
                "address": Out(range(depth)),
                "enable": Out(1),
                "data": In(32),
                "o": Out(stream.Signature(8)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.crc = crc = Crc32()
        sub = Signal(2)
        run = Signal(8)
        ending = Signal()  # the word is the CRC
        ended = Signal()  # it was sent
        byte = Signal(8)
        # The block RAM's slow output gets a cycle of its own; bytes leave the word at its low end.
        word = Signal(32, reset_less=True)
        m.d.comb += [
            byte.eq(Mux(ending, crc.crc[:8], word[:8])),
            # Fed with its own low byte the CRC moves down by eight bits.
            crc.byte.eq(Mux(ending, ~byte, byte)),
            self.busy.eq(1),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.busy.eq(0)
                m.d.sync += [self.address.eq(self.first), run.eq(0), sub.eq(0)]
                m.d.sync += [ending.eq(0), ended.eq(0)]
                with m.If(self.start):
                    m.d.comb += crc.clear.eq(1)
                    m.next = "LEAD"
            with m.State("LEAD"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "FETCH"
            with m.State("FETCH"):
                m.d.comb += self.enable.eq(self.address != self.end)
                m.d.sync += ending.eq(self.address == self.end)
                with m.If(~crc.busy):
                    m.next = "WORD"
            with m.State("WORD"):
                m.d.sync += word.eq(self.data)
                m.next = "BYTE"
            with m.State("BYTE"):
                m.d.comb += [
                    self.o.valid.eq(~crc.busy),
                    self.o.payload.eq(Mux(byte == 0, run + 1, byte)),
                ]
                with m.If(self.o.valid & self.o.ready):
                    m.d.comb += crc.valid.eq(1)
                    m.d.sync += [
                        run.eq(Mux(byte == 0, 0, run + 1)),
                        sub.eq(sub + 1),
                        word.eq(word >> 8),
                    ]
                    with m.If(sub == 3):
                        m.next = "FETCH"
                        with m.If(ending):
                            m.d.sync += ended.eq(1)
                            m.next = "LAST"
                        with m.Else():
                            m.d.sync += self.address.eq(self.address + 1)
                    with m.If((byte != 0) & (run == 253)):
                        m.next = "FULL"
            with m.State("FULL"):
                # 254 bytes without a zero: a code that stands for none.
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(255)]
                with m.If(self.o.ready):
                    m.d.sync += run.eq(0)
                    m.next = "BYTE"
                    with m.If(ended):
                        m.next = "LAST"
                    with m.Elif(sub == 0):
                        m.next = "FETCH"
            with m.State("LAST"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(run + 1)]
                with m.If(self.o.ready):
                    m.next = "TAIL"
            with m.State("TAIL"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m
