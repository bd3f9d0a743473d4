"""CRC of the words that come from an external memory in a run."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract.checksum import CRC_BITS, power

__all__ = ["MovedCrc"]


class MovedCrc(wiring.Component):
    """CRC of a run of words, one a cycle, as :func:`steelyard.contract.checksum.crc` has it.

    So the host, which knows all words that a run moves, finds out whether the memory still had
    them. A word counts two cycles after its strobe.

    The CRC is the remainder of the words themselves, not of these times x**32, by a polynomial of
    few terms: that takes 93 LUTs of the ECP5, where Amaranth's processor for zlib's CRC-32 takes
    415.

    Members
    -------
    clear : ``In(1)``
        Strobe: begin a new run. Later than the last word by two cycles.
    valid : ``In(1)``
        Strobe: `word` follows.
    word : ``In(32)``
        Next word.
    crc : ``Out(32)``
        CRC of the words since `clear`.
    """

    def __init__(self) -> None:
        word = CRC_BITS
        super().__init__({"clear": In(1), "valid": In(1), "word": In(word), "crc": Out(word)})

    def elaborate(self, platform):
        m = Module()
        # The word comes from pins or from afar: nothing but wire before these registers.
        valid, word = Signal(), Signal(CRC_BITS, reset_less=True)
        m.d.sync += [valid.eq(self.valid), word.eq(self.word)]
        # What a word that was there becomes when another follows, bit by bit.
        moved = [power(CRC_BITS + bit) for bit in range(CRC_BITS)]
        following = [
            Cat(*(self.crc[n] for n, each in enumerate(moved) if each >> bit & 1), word[bit]).xor()
            for bit in range(CRC_BITS)
        ]
        with m.If(valid):
            m.d.sync += self.crc.eq(Cat(following))
        with m.If(self.clear):
            m.d.sync += self.crc.eq(0)
        return m
