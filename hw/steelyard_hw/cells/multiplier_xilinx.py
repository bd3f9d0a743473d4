"""Two lanes on one DSP48 of Xilinx: both products side by side in one wide product."""

from amaranth import Cat, Const, Module, Signal
from amaranth.hdl import signed
from amaranth.lib import wiring

from ..lib.delay import delay

__all__ = ["XilinxPairs"]


class XilinxPairs(wiring.Component):
    """Products of one weight with all lanes, two lanes on each DSP48E1.

    ``STAGES`` cycles of latency; one weight a cycle. Same ports and products as
    :class:`.multiplier.LaneMultipliers`. ``{a1, 00000000, a0} * w`` is ``a1*w * 2**16 + a0*w``:
    the low product fills its 16 bits exactly, so the high one lacks 1 where the low one is
    negative. Exact for every weight. Plain arithmetic: synthesis puts the first three registers
    into the DSP48, whose 25x18 multiplier takes both operands.

    Parameters
    ----------
    lanes : :class:`int`
        Even.
    signature : ports, as ``multiplier_signature(lanes)`` gives them

    Raises
    ------
    ValueError
        If the number of lanes is odd.
    """

    STAGES = 4

    def __init__(self, lanes: int, signature: wiring.Signature):
        if lanes % 2:
            raise ValueError(f"Lanes must be even to share multipliers, not {lanes!r}")
        self._lanes = lanes
        super().__init__(signature)

    def elaborate(self, platform):
        m = Module()
        for lane in range(0, self._lanes, 2):
            self._pair(m, lane)
        return m

    def _pair(self, m, lane):
        low, high = self.activations[lane], self.activations[lane + 1]
        # A sign bit of its own makes the unsigned operand one of a signed multiplier.
        both = delay(m, Cat(low, Const(0, 8), high, Const(0, 1)).as_signed(), 1, f"both_{lane}")
        weight = delay(m, self.weight, 1, f"weight_{lane}")
        product = Signal(signed(33), name=f"product_{lane}", reset_less=True)
        m.d.sync += product.eq(both * weight)
        result = delay(m, product, 1, f"result_{lane}")
        m.d.sync += [
            self.products[lane].eq(result[:16]),
            self.products[lane + 1].eq(result[16:32] + result[15]),
        ]
