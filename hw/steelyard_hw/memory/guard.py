"""What keeps a memory's port in order when its user is reset in the midst of a burst."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .port import WORDS_BITS, MemoryPort

__all__ = ["PortGuard"]


class PortGuard(wiring.Component):
    """Between a memory and a user that may be reset: ends what the user began.

    Words that were to be written become 0, those that were to be read go nowhere, and only then the
    next command is taken. So the memory needs no reset of its own and keeps what it holds. Adds no
    cycle, but for words to write: they wait for their command.

    Parameters
    ----------
    address_bits : :class:`int`
        Bits of a word's address.

    Members
    -------
    reset : ``In(1)``
        The user's registers are reset at the end of this cycle; in it, the first, the user still
        keeps to the port's rules.
    user : ``In(MemoryPort(address_bits))``
        To the user.
    memory : ``Out(MemoryPort(address_bits))``
        To the memory, which takes commands before the words of earlier ones, but has none of more
        than one burst to come and half a burst of another.

    Raises
    ------
    ValueError
        If the address has another number of bits than a port's may have.
    """

    def __init__(self, address_bits):
        port = MemoryPort(address_bits)
        super().__init__({"reset": In(1), "user": In(port), "memory": Out(port)})

    def elaborate(self, platform):
        m = Module()
        user, memory = self.user, self.memory
        ending = Signal()
        # A bit more than a burst has: one that is set holds up commands.
        writes, reads = (Signal(WORDS_BITS + 1, name=name) for name in ("writes", "reads"))
        # Whether words are to be written, known a cycle ahead: the host waits far away for it.
        writing = Signal()
        # In the first cycle of a reset the user still does what it would without.
        quiet = ~ending
        able = quiet & ~writes[-1] & ~reads[-1]
        command = memory.command.payload
        m.d.comb += [
            command.eq(user.command.payload),
            memory.command.valid.eq(able & user.command.valid),
            user.command.ready.eq(able & memory.command.ready),
            memory.write.payload.eq(Mux(ending, 0, user.write.payload)),
            memory.write.valid.eq(writing & (ending | (quiet & user.write.valid))),
            user.write.ready.eq(writing & quiet & memory.write.ready),
            user.read.payload.eq(memory.read.payload),
            user.read.valid.eq(quiet & memory.read.valid),
            memory.read.ready.eq(ending | (quiet & user.read.ready)),
        ]
        begun = memory.command.valid & memory.command.ready
        moved = {
            "write": memory.write.valid & memory.write.ready,
            "read": memory.read.valid & memory.read.ready,
        }
        for left, mine, done in (
            (writes, command.write, moved["write"]),
            (reads, ~command.write, moved["read"]),
        ):
            m.d.sync += left.eq(left + Mux(begun & mine, command.words, 0) - done)
        last = (writes == 1) & moved["write"]
        some = begun & command.write & (command.words != 0)
        m.d.sync += writing.eq(some | (writing & ~last))
        with m.If(self.reset):
            m.d.sync += ending.eq(1)
        with m.Elif(~writing & (reads == 0)):
            m.d.sync += ending.eq(0)
        return m
