"""Port of an external memory: bursts of 32-bit words, in order."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["MAX_WORDS", "WORD_BITS", "BurstCommand", "MemoryPort"]

WORD_BITS = 32
"""Bits of a word: those of the host port, so that nothing between them changes widths. A 16-bit
chip moves one in two of its cycles, which leaves every second one free to open and close rows."""
WORDS_BITS = 16
MAX_WORDS = (1 << WORDS_BITS) - 1
"""Words of a burst at most."""


class BurstCommand(data.StructLayout):
    """One burst.

    Parameters
    ----------
    address_bits : :class:`int`
        Bits of a word's address, 1 to 32.

    Members
    -------
    address
        Of the first word, in words. The others follow; behind the last word of the memory comes
        its first.
    words
        Number of words. A burst of none does nothing.
    write
        Whether the words go into the memory.

    Raises
    ------
    ValueError
        If the address has another number of bits.
    """

    def __init__(self, address_bits):
        if not isinstance(address_bits, int) or not 1 <= address_bits <= 32:
            raise ValueError(
                f"An address must have an integer number of bits from 1 to 32, not {address_bits!r}"
            )
        super().__init__({"address": address_bits, "words": WORDS_BITS, "write": 1})


class MemoryPort(wiring.Signature):
    """Port of a memory, as its user sees it.

    All is in order. Bursts take effect in the order of their commands: a read gives what writes
    before it wrote. Words to write belong to the bursts that write, and words read come from the
    bursts that read, each in the order of the commands; nothing marks where one ends.

    A word to write may be offered before the command that it belongs to, and the memory takes a
    few; a burst that writes waits for its words and holds up all behind it. Words read wait for
    their taker, who holds up all behind them. So whoever gives a command to read and does not take
    the words must not expect that a later write ends.

    Parameters
    ----------
    address_bits : :class:`int`
        Bits of a word's address, 1 to 32.

    Members
    -------
    command : ``Out(stream.Signature(BurstCommand(address_bits)))``
        Bursts.
    write : ``Out(stream.Signature(32))``
        Words to write.
    read : ``In(stream.Signature(32))``
        Words read.

    Raises
    ------
    ValueError
        If the address has another number of bits.
    """

    def __init__(self, address_bits):
        super().__init__(
            {
                "command": Out(stream.Signature(BurstCommand(address_bits))),
                "write": Out(stream.Signature(WORD_BITS)),
                "read": In(stream.Signature(WORD_BITS)),
            }
        )
        self._address_bits = address_bits

    @property
    def address_bits(self):
        """Bits of a word's address."""
        return self._address_bits

    def __eq__(self, other):
        return isinstance(other, MemoryPort) and self.address_bits == other.address_bits

    def __repr__(self):
        return f"MemoryPort({self.address_bits})"
