"""Bursts cut where a row of the chip ends."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from .chips import SdramChip
from .pins import BANK_BITS
from .port import BurstCommand

__all__ = ["BurstSplitter", "Piece"]


class Piece(data.StructLayout):
    """Part of a burst in one row.

    Members
    -------
    column
        Of the first word, in words.
    bank, row
        Where.
    words
        Number of words, 1 to those of a row.
    write
        Whether they go into the memory.
    """

    def __init__(self, chip: SdramChip):
        columns = chip.column_bits - 1
        super().__init__(
            {
                "column": columns,
                "bank": BANK_BITS,
                "row": chip.row_bits,
                "words": columns + 1,
                "write": 1,
            }
        )


class BurstSplitter(wiring.Component):
    """Cuts bursts into pieces of one row each.

    An address is a column, then a bank, then a row, from its low bits up: where a row ends, the
    burst goes on in the next bank, whose row can be opened meanwhile. A piece is there two cycles
    after its command or the piece before it; the next command may come when the last piece is gone.

    Parameters
    ----------
    chip : :class:`SdramChip`
        Says how long a row is.

    Members
    -------
    i : ``In(stream.Signature(BurstCommand(chip.word_bits)))``
        Bursts.
    o : ``Out(stream.Signature(Piece(chip)))``
        Pieces, none for a burst without words.
    """

    def __init__(self, chip):
        self._piece = Piece(chip)
        self._columns = chip.column_bits - 1
        super().__init__(
            {
                "i": In(stream.Signature(BurstCommand(chip.word_bits))),
                "o": Out(stream.Signature(self._piece)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        command = self.i.payload
        address = Signal.like(command.address, reset_less=True)
        left = Signal.like(command.words, reset_less=True)
        held = Signal()
        measured = Signal()
        words = Signal(self._columns + 1, reset_less=True)
        more = Signal(reset_less=True)
        column, line = address[: self._columns], address[self._columns :]
        room = (1 << self._columns) - column

        m.d.comb += [
            self.o.valid.eq(measured),
            Cat(self.o.payload.column, self.o.payload.bank, self.o.payload.row).eq(address),
            self.o.payload.words.eq(words),
            self.i.ready.eq(~held),
        ]
        write = Signal(reset_less=True)
        m.d.comb += self.o.payload.write.eq(write)

        m.d.sync += [words.eq(Mux(left > room, room, left)), more.eq(left > room)]
        with m.If(held):
            m.d.sync += measured.eq(1)
        with m.If(measured & self.o.ready):
            m.d.sync += [
                measured.eq(0),
                held.eq(more),
                address.eq(Cat(column & 0, line + 1)),
                left.eq(left - words),
            ]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                held.eq(command.words != 0),
                measured.eq(0),
                address.eq(command.address),
                left.eq(command.words),
                write.eq(command.write),
            ]
        return m
