"""Two operands of a lane: the product of both, or what a residual addition adds."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract.limits import MULTIPLIER_BITS

from ..cells.target import Target
from ..lib.delay import delay
from .requantizer import times

__all__ = ["OperandPair", "scaled"]

_LOW = 17
"""Bits of the factor that the signed multiplier of 18 bits takes; logic takes the others."""


def scaled(m: Module, value: Value, factor: Value, low: Value, bits: int) -> Value:
    """``value * factor`` of an operand less its zero point, 3 cycles later.

    Parameters
    ----------
    value : signed, of 9 bits
    factor : unsigned, of 24 bits; static
    low : ``value * factor[:bits]``, 2 cycles after `value`
    bits : of the factor that a multiplier takes, 16 to 18
    """
    held = delay(m, value)
    nothing = Const(0, signed(1))
    rows = [*(Mux(bit, held, 0) for bit in factor[bits:]), nothing, nothing][:8]
    pairs = [
        delay(m, (even + (odd << 1)).as_signed())
        for even, odd in zip(rows[0::2], rows[1::2], strict=True)
    ]
    high = delay(m, pairs[0] + (pairs[1] << 2)) + (delay(m, pairs[2] + (pairs[3] << 2)) << 4)
    return delay(m, low) + (high << bits)


class OperandPair(wiring.Component):
    """What becomes of both operands of a residual addition or of a product.

    A pair a cycle, without stalls; latencies are those of the outputs.

    Of an addition the sum is ``a - z_a``, which the requantizer scales, and the addend
    ``(b - z_b) * factor``, which it adds before the one shift; of a product the sum is
    ``(a - z_a) * (b - z_b)`` and the addend 0. One multiplier serves both.

    Parameters
    ----------
    products : :class:`bool`
        Whether there is `multiply`.
    target : :class:`.target.Target`
        Whose multiplier to instantiate; results and cycles do not depend on it.

    Members
    -------
    i_a, i_b : ``In(signed(8))``
        Operands.
    z_a, z_b : ``In(signed(8))``
        Their zero points; static in a layer.
    multiply : ``In(1)``
        Product in place of addition; static in a layer. Only with `products`.
    factor : ``In(24)``
        Multiplier of operand b, unsigned; static in a layer.
    o_sum : ``Out(signed(18))``
        2 cycles after the operands.
    o_addend : ``Out(signed(33))``
        4 cycles after the operands.
    """

    def __init__(self, *, products: bool, target: Target = Target.PORTABLE):
        self._products = products
        self._target = target
        super().__init__(
            {
                "i_a": In(signed(8)),
                "i_b": In(signed(8)),
                "z_a": In(signed(8)),
                "z_b": In(signed(8)),
                **({"multiply": In(1)} if products else {}),
                "factor": In(MULTIPLIER_BITS),
                "o_sum": Out(signed(18)),
                "o_addend": Out(signed(9 + MULTIPLIER_BITS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a = (self.i_a - self.z_a)[:9].as_signed()
        b = (self.i_b - self.z_b)[:9].as_signed()
        second = Signal(signed(18))
        multiply = self.multiply if self._products else Const(0)
        m.d.comb += second.eq(Mux(multiply, a, self.factor[:_LOW]))
        product = times(m, self._target, b, second, "product")
        m.d.comb += self.o_sum.eq(Mux(multiply, product, delay(m, a, 2)))
        total = scaled(m, b, self.factor, product, _LOW)
        m.d.sync += self.o_addend.eq(Mux(multiply, 0, total))
        return m
