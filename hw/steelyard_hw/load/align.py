"""Aligner: turns banked reads into words of one lane per output pixel."""

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
    i_data : ``In(ArrayLayout(signed(8), lanes))``
        Byte of every bank.
    i_rotate : ``In(range(lanes))``
        Bank that holds the byte of lane 0.
    i_from : ``In(range(lanes))``
        First lane of the segment; lanes below keep what earlier segments gave.
    i_inside : ``In(lanes)``
        Lanes whose tap lies inside the map.
    i_done : ``In(1)``
        Last segment of the word.
    step2 : ``In(1)``
        Lanes are two banks apart; static in a layer.
    pad_value : ``In(signed(8))``
        Byte of lanes outside the map; static in a layer.
    o_valid : ``Out(1)``
        A word is complete.
    o_data : ``Out(ArrayLayout(signed(8), lanes))``
    """

    def __init__(self, config: AcceleratorConfig):
        self._lanes = config.engine.lanes
        word = data.ArrayLayout(signed(8), config.engine.lanes)
        super().__init__(
            {
                "i_valid": In(1),
                "i_data": In(word),
                "i_rotate": In(range(config.engine.lanes)),
                "i_from": In(range(config.engine.lanes)),
                "i_inside": In(config.engine.lanes),
                "i_done": In(1),
                "step2": In(1),
                "pad_value": In(signed(8)),
                "o_valid": Out(1),
                "o_data": Out(word),
            }
        )

    def elaborate(self, platform):
        m = Module()
        lanes = self._lanes
        bits = 8 * lanes
        fine = 2 if lanes > 4 else 1

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

        for lane in range(lanes):
            source = (2 * lane) % lanes
            taken = Mux(
                self.step2,
                fine_word[8 * source : 8 * source + 8],
                fine_word[8 * lane : 8 * lane + 8],
            )
            with m.If(start <= lane):
                m.d.sync += self.o_data[lane].eq(Mux(inside[lane], taken, self.pad_value))
        m.d.sync += self.o_valid.eq(done)
        return m

    @staticmethod
    def _rotate(word, amount, low, high):
        """Lane l takes byte (l + amount) mod lanes, for the bits [low:high] of the amount."""
        for bit in range(low, len(amount) if high is None else high):
            distance = 8 << bit
            word = Mux(amount[bit], Cat(word[distance:], word[:distance]), word)
        return word
