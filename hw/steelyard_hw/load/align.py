"""Aligner: turns banked reads into words of a pixel per lane, and of those beside them."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from ..lib.delay import delay

__all__ = ["Aligner"]


class Aligner(wiring.Component):
    """Rotates the banks to the lanes, decimates by two, fills padding and assembles segments.

    `ALIGN_LATENCY` cycles of latency (3); sustains one segment a cycle.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    i_valid : ``In(1)``
    i_data : ``In(ArrayLayout(signed(8), banks))``
        Byte of every bank.
    i_rotate : ``In(range(banks))``
        Bank that holds the first byte of the word, were it a whole segment.
    i_from : ``In(range(window_lanes))``
        First byte of the segment; those below keep what earlier segments gave.
    i_inside : ``In(window_lanes)``
        Bytes of the word whose tap lies inside the map.
    i_done : ``In(1)``
        Last segment of the word.
    step2 : ``In(1)``
        Lanes are two banks apart; static in a layer.
    pad_value : ``In(signed(8))``
        Byte of lanes outside the map; static in a layer.
    o_valid : ``Out(1)``
        A word is complete.
    o_data : ``Out(ArrayLayout(signed(8), window_lanes))``
    """

    def __init__(self, config: AcceleratorConfig):
        self._banks = config.banks
        self._width = config.engine.window_lanes
        word = data.ArrayLayout(signed(8), self._width)
        super().__init__(
            {
                "i_valid": In(1),
                "i_data": In(data.ArrayLayout(signed(8), self._banks)),
                "i_rotate": In(range(self._banks)),
                "i_from": In(range(self._width)),
                "i_inside": In(self._width),
                "i_done": In(1),
                "step2": In(1),
                "pad_value": In(signed(8)),
                "o_valid": Out(1),
                "o_data": Out(word),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = 8 * self._banks
        fine = 2 if self._banks > 4 else 1

        coarse_word = Signal(bits, reset_less=True)
        fine_word = Signal(bits, reset_less=True)
        rotate = Signal(fine, reset_less=True)
        m.d.sync += [
            coarse_word.eq(self._rotate(self.i_data.as_value(), self.i_rotate, fine, None)),
            rotate.eq(self.i_rotate[:fine]),
            fine_word.eq(self._rotate(coarse_word, rotate, 0, fine)),
        ]

        controls = Cat(self.i_valid & self.i_done, self.i_from, self.i_inside)
        controls = delay(m, controls, 2, "controls", reset_less=False)
        done, start = controls[0], controls[1 : 1 + len(self.i_from)]
        inside = controls[1 + len(self.i_from) :]

        for number in range(self._width):
            second = (2 * number) % self._banks
            taken = Mux(
                self.step2, fine_word.word_select(second, 8), fine_word.word_select(number, 8)
            )
            with m.If(start <= number):
                m.d.sync += self.o_data[number].eq(Mux(inside[number], taken, self.pad_value))
        m.d.sync += self.o_valid.eq(done)
        return m

    @staticmethod
    def _rotate(word, amount, low, high):
        """Byte n becomes byte (n + amount) mod banks, for the bits [low:high] of the amount."""
        for bit in range(low, len(amount) if high is None else high):
            distance = 8 << bit
            word = Mux(amount[bit], Cat(word[distance:], word[:distance]), word)
        return word
