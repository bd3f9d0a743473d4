"""Rounding of scaled sums to codes: shifts in steps, half to even, saturation and clamp."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value

from ..lib.delay import delay

__all__ = ["RESULT_BITS", "narrow", "rounded_code"]

RESULT_BITS = 11
"""Shifted bits that decide an int8: 10 cover what a zero point can bring back into range, 1 the
half."""


def narrow(
    m: Module, window: Value, select: Value, step: int, width: int
) -> tuple[Signal, Value, Value]:
    """Signed `width` bits of `window` from bit ``step * select`` on, one cycle later.

    With them come two flags: a one was shifted out below, and the value did not fit `width` bits.
    Their last multiplexer stands behind the registers, where the long reductions already ended.
    """
    starts = [step * n for n in range(1 << len(select))]

    def misfit(bits: Value) -> Value:
        return bits.any() & ~bits.all()

    kept = delay(m, Array(window[start : start + width] for start in starts)[select].as_signed())
    lost = [delay(m, window[:start].any()) if start else Const(0) for start in starts]
    excess = [delay(m, misfit(window[start + width - 1 :])) for start in starts]
    chosen = delay(m, select)
    return kept, Array(lost)[chosen], Array(excess)[chosen]


def rounded_code(
    m: Module,
    window: Value,
    sticky: Value,
    saturate: Value,
    negative: Value,
    zero: Value,
    lo: Value,
    hi: Value,
) -> Value:
    """Code of a shifted sum, two cycles later.

    Parameters
    ----------
    window : ``signed(RESULT_BITS)``, of which the lowest bit is the half
    sticky : whether a one was shifted out below
    saturate : whether the sum did not fit `window`
    negative : whether it is negative, a cycle after `window`
    zero, lo, hi : ``signed(8)``, zero point and clamp; static
    """
    up = window[0] & (sticky | window[1])
    # The carry into the lowest bit rounds: one adder for rounding and the zero point.
    doubled = Cat(Const(1, 1), window[1:]).as_signed() + Cat(up, zero).as_signed()
    rounded = delay(m, doubled[1:].as_signed())
    saturate = delay(m, saturate)
    below = Mux(saturate, negative, rounded < lo)
    above = Mux(saturate, ~negative, rounded > hi)
    clamped = Mux(below, lo, Mux(above, hi, rounded[:8].as_signed()))
    return delay(m, clamped[:8].as_signed())
