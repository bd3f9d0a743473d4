"""Requantizer of one lane: 32-bit sums to int8, exact for every multiplier and shift."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract.latencies import REQUANTIZER_LATENCY
from steelyard.contract.limits import MULTIPLIER_BITS

from ..cells.multiplier_ecp5 import Multiplier18
from ..cells.target import Target
from ..lib.delay import delay
from .rounding import RESULT_BITS, narrow, rounded_code

__all__ = ["Requantizer", "times"]

_LIMB = 17
"""Bits of a factor's low part: the widest unsigned operand of a signed 18x18 multiplier."""
_CORNER = 32 - 18
"""Bits of the sum that a signed 18-bit operand leaves over."""
_PRODUCT_BITS = 32 + MULTIPLIER_BITS


def times(m: Module, target: Target, a: Value, b: Value, name: str) -> Value:
    """``a * b``, 2 cycles later, each of at most 18 bits; submodule `name` is the target's cell."""
    if target is not Target.ECP5:
        return delay(m, delay(m, a) * delay(m, b))
    signs = [operand.shape().signed for operand in (a, b)]
    cell = Multiplier18(a_signed=signs[0], b_signed=signs[1])
    m.submodules[name] = cell
    m.d.comb += [cell.a.eq(a), cell.b.eq(b)]
    product = cell.p[: len(a) + len(b)]
    return product.as_signed() if any(signs) else product


def _add_above(low: Value, high: Value, bits: int) -> Value:
    """``low + (high << bits)`` with no adder under the low bits."""
    upper = low.shift_right(bits) + high
    total = Cat(low[:bits], upper)
    return total.as_signed() if upper.shape().signed else total


class Requantizer(wiring.Component):
    """Integer requantizer of one lane, after ``docs/architecture.md`` section 5.

    ``y = clamp(z_y + round_half_even((i_sum + bias) * multiplier / 2**shift), lo, hi)``, exact for
    every sum that fits 32 bits. `latency` cycles; one sum a cycle, without stalls.

    With `addends` a scaled operand of a residual addition is added before the one shift.

    Parameters
    ----------
    addends : :class:`bool`
        Whether there is `addend`.
    slopes : :class:`bool`
        Whether there is `negative`.
    target : :class:`.target.Target`
        Whose multipliers to instantiate; results and cycles do not depend on it.

    Members
    -------
    i_sum : ``In(signed(32))``
        Sum to scale; ``i_sum + bias`` must fit 32 bits signed.
    bias : ``In(signed(32))``
        Added to the sum.
    multiplier : ``In(24)``
        Scale numerator, unsigned.
    negative : ``In(24)``
        That of sums which are negative with their bias; only with `slopes`, else as all others.
    shift : ``In(6)``
        Scale denominator's exponent, 1 to 63.
    addend : ``In(signed(33))``
        Added to the product of the sum that came a cycle before; the sum of both must fit 56 bits
        signed. Only with `addends`.
    z_y, lo, hi : ``In(signed(8))``
        Zero point and clamp of the result; static while sums are in flight.
    o_y : ``Out(signed(8))``
        Result.

    Attributes
    ----------
    latency : :class:`int`
        Cycles from `i_sum` to `o_y`.
    """

    latency = REQUANTIZER_LATENCY

    def __init__(
        self, target: Target = Target.PORTABLE, *, addends: bool = False, slopes: bool = False
    ):
        self._target = target
        self._addends = addends
        self._slopes = slopes
        super().__init__(
            {
                "i_sum": In(signed(32)),
                "bias": In(signed(32)),
                "multiplier": In(MULTIPLIER_BITS),
                **({"negative": In(MULTIPLIER_BITS)} if slopes else {}),
                "shift": In(6),
                **({"addend": In(signed(9 + MULTIPLIER_BITS))} if addends else {}),
                "z_y": In(signed(8)),
                "lo": In(signed(8)),
                "hi": In(signed(8)),
                "o_y": Out(signed(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        product = self._product(m)  # after 6 cycles
        total = delay(m, product)  # after 7
        if self._addends:
            total = total + delay(m, self.addend, 6)
        total = delay(m, total[:_PRODUCT_BITS].as_signed())  # after 8
        distance = delay(m, (self.shift - 1)[:6], 8)
        self._round(m, total, distance)
        return m

    def _product(self, m: Module) -> Signal:
        """``(i_sum + bias) * multiplier``, 6 cycles later."""
        value = delay(m, (self.i_sum + self.bias)[:32].as_signed())
        factor = delay(m, self.multiplier)
        if self._slopes:
            factor = Mux(value[-1], delay(m, self.negative), factor)
        # Written in parts because synthesis does not move registers into a wide multiplier, and so
        # that three 18x18 multipliers and a corner of 14x7 in plain logic do instead of four.
        low_low = times(m, self._target, value[:_LIMB], factor[:_LIMB], "low_low")
        high_low = times(m, self._target, value[_LIMB:].as_signed(), factor[:_LIMB], "high_low")
        high_top = times(m, self._target, value[_CORNER:].as_signed(), factor[_LIMB:], "high_top")
        corner_value, top = delay(m, value[:_CORNER]), delay(m, factor[_LIMB:])
        rows = [Mux(bit, corner_value, 0) for bit in top]
        pairs = [
            delay(m, _add_above(even, odd, 1))
            for even, odd in zip(rows[0::2], [*rows[1::2], Const(0, 1)], strict=True)
        ]

        low = delay(m, _add_above(low_low, high_low, _LIMB))
        corner = [delay(m, _add_above(pairs[n], pairs[n + 1], 2)) for n in (0, 2)]
        high_top = delay(m, high_top)

        low = delay(m, _add_above(low, corner[0], _LIMB))
        high = delay(m, _add_above(corner[1], high_top, _CORNER - 4))
        return delay(m, _add_above(low, high, _LIMB + 4)[:_PRODUCT_BITS].as_signed())

    def _round(self, m: Module, total: Signal, distance: Signal) -> None:
        """Drive `o_y` from `total` and `distance` (the shift less 1), 6 cycles later.

        The window of bits that can still reach the result halves from shift to shift; what leaves
        it below decides ties, what leaves it above saturates.
        """
        fine = RESULT_BITS + 3
        middle = fine + 12
        reach = middle + 48
        wide = Cat(total, total[-1].replicate(reach - len(total)))
        window, lost, excess = narrow(m, wide, distance[4:6], 16, middle)
        lost_coarse, excess_coarse = delay(m, lost), delay(m, excess)

        window, lost, excess = narrow(m, window, delay(m, distance[2:4]), 4, fine)
        sticky = delay(m, lost_coarse | lost)
        saturate = delay(m, excess_coarse | excess)

        window, lost, excess = narrow(m, window, delay(m, distance[0:2], 2), 1, RESULT_BITS)
        sticky = delay(m, sticky | lost)
        saturate = delay(m, saturate | excess)
        window = delay(m, window)

        code = rounded_code(
            m, window, sticky, saturate, delay(m, total[-1], 5), self.z_y, self.lo, self.hi
        )
        m.d.comb += self.o_y.eq(code)
