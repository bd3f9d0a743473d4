"""Payloads of the link's frames: two halves of a memory that take turns."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Payloads"]


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
