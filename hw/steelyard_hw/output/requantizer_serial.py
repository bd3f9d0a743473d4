"""Requantizer of one lane without a multiplier: a few bits of the scale a cycle."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract.sections import SERIAL_SHIFTS

__all__ = ["SerialRequantizer"]

_VALUE_BITS = 32
_MULTIPLIER_BITS = 24
_SUM_BITS = _VALUE_BITS + 2
"""Bits of the running product's upper part: a value and three times it."""
_BELOW = 14
"""Bits kept below it; the lowest is product bit ``24 - 14`` when the last multiplier bit is in."""
_BIAS = _BELOW - 1
"""Shift plus this is how far a product moves from where its bit 0 stands in the highest place."""
_RESULT_BITS = 11
"""Shifted bits that decide an int8: 10 cover what `z_y` can bring back into range, 1 the half."""


def _partial(value: Value, code: Value) -> tuple[Value, Value]:
    """0, 1, 2 or -1 times `value` for a code 0 to 3, as a word and the carry into its bit 0."""
    once = value.as_signed()
    twice = Cat(Const(0, 1), value)
    bits = [
        Mux(
            code[1],
            Mux(code[0], ~once[min(n, _VALUE_BITS - 1)], twice[min(n, _VALUE_BITS)]),
            code[0] & once[min(n, _VALUE_BITS - 1)],
        )
        for n in range(_SUM_BITS)
    ]
    return Cat(*bits), code.all()


def _add(left: Value, right: Value, carry: Value) -> Value:
    """Sum of two signed words and a carry, in one chain."""
    return (Cat(Const(1, 1), left).as_signed() + Cat(carry, right).as_signed())[1:].as_signed()


class SerialRequantizer(wiring.Component):
    """Integer requantizer of one lane, after ``docs/architecture.md`` section 5.

    ``y = clamp(z_y + round_half_even(value * multiplier / 2**shift), lo, hi)``, exact. Multiplies
    from the lowest bits on and moves the product down as it grows, so the shift is more of the
    same: ``(shift + 13) // bits`` steps, one a cycle from the cycle after `start` on. Then `o_y`
    is valid until the next `start`.

    Parameters
    ----------
    bits : :class:`int`
        Bits of the multiplier that a step takes: 2 or 4.

    Members
    -------
    start : ``In(1)``
        Strobe: `value` will be there in the next cycle.
    value : ``In(signed(32))``
    multiplier : ``In(24)``
    shift : ``In(6)``
        15 to 42 (``SERIAL_SHIFTS``). Both are stable from `start` on, the value a cycle later.
    z_y, lo, hi : ``In(signed(8))``
    o_y : ``Out(signed(8))``

    Raises
    ------
    ValueError
        If `bits` is neither 2 nor 4.
    """

    def __init__(self, bits: int):
        if bits not in (2, 4):
            raise ValueError(f"Bits of a step must be 2 or 4, not {bits!r}")
        self._bits = bits
        super().__init__(
            {
                "start": In(1),
                "value": In(signed(32)),
                "multiplier": In(24),
                "shift": In(6),
                "z_y": In(signed(8)),
                "lo": In(signed(8)),
                "hi": In(signed(8)),
                "o_y": Out(signed(8)),
            }
        )

    @staticmethod
    def steps(bits: int) -> int:
        """Most steps that a shift takes."""
        return (SERIAL_SHIFTS[1] + _BIAS) // bits

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = self._bits
        fine = bits.bit_length() - 1
        upper = Signal(signed(_SUM_BITS))
        below = Signal(_BELOW)
        lost = Signal()
        carry = Signal()
        # The digits of a step are recoded in the cycle before it.
        coded = Signal(range(self.steps(bits) + 2))
        codes = [Signal(2, name=f"code_{n}") for n in range(bits // 2)]
        distance = Signal(7, reset_less=True)
        m.d.sync += distance.eq(self.shift + _BIAS + bits)

        first, before = Mux(self.start, 0, coded), carry & ~self.start
        recoded, carries = self._recode(self._digits(first), before)
        total, done = upper, []
        for code in codes:
            partial, plus = _partial(self.value, code)
            total = _add(total, partial, plus)[:_SUM_BITS]
            done += [total[0], total[1]]
            total = total[2:].as_signed()
        more = Signal()
        m.d.comb += more.eq(coded != distance[fine:])
        with m.If(more):
            m.d.sync += [
                upper.eq(total),
                below.eq(Cat(below[bits:], *done)),
                lost.eq(lost | below[:bits].any()),
            ]
        with m.If(more | self.start):
            m.d.sync += [coded.eq(first + 1), carry.eq(carries)]
            m.d.sync += [code.eq(new) for code, new in zip(codes, recoded, strict=True)]
        with m.If(self.start):
            m.d.sync += [signal.eq(0) for signal in (upper, below, lost)]
        self._round(m, Cat(below, upper), lost, distance[:fine])
        return m

    def _digits(self, step: Value) -> Value:
        """Bits of the multiplier that a step takes, zeros once it is used up."""
        bits = self._bits
        words = [self.multiplier.word_select(n, bits) for n in range(_MULTIPLIER_BITS // bits)]
        beyond = [Const(0, bits)] * ((1 << len(step)) - len(words))
        return Array([*words, *beyond])[step]

    @staticmethod
    def _recode(digits: Value, carry: Value) -> tuple[list[Value], Value]:
        """Codes of digits -1 to 2, lowest first: 3 is 4 - 1, and the 4 a carry."""
        codes = []
        for n in range(0, len(digits), 2):
            low, high = digits[n], digits[n + 1]
            codes.append(Cat(low ^ carry, high ^ (low & carry)))
            carry = high & (low | carry)
        return codes, carry

    def _round(self, m: Module, product: Value, lost: Signal, fine: Value) -> None:
        """Drive `o_y` from the moved product, which still has `fine` bits to go."""
        starts = range(1 << len(fine))
        sign = product[-1]
        window = Signal(_RESULT_BITS)
        sticky, misfit = Signal(), Signal()
        top = _RESULT_BITS - 1
        # Bits at and above the window's sign must be equal; all starts share the highest.
        common = product[top + starts[-1] :]
        differ = [product[top + n] ^ sign for n in starts[:-1]]
        m.d.comb += [
            window.eq(Array(product[n : n + _RESULT_BITS] for n in starts)[fine]),
            sticky.eq(lost | Array(product[:n].any() if n else Const(0) for n in starts)[fine]),
            misfit.eq(
                (common.any() & ~common.all())
                | Cat(bit & (fine <= n) for n, bit in enumerate(differ)).any()
            ),
        ]
        up = window[0] & (sticky | window[1])
        rounded = Signal(signed(_RESULT_BITS))
        below, above = Signal(), Signal()
        m.d.comb += [
            # The carry into the lowest bit rounds: one adder for rounding and the zero point.
            rounded.eq(_add(window[1:], self.z_y, up)),
            below.eq(Mux(misfit, sign, rounded < self.lo)),
            above.eq(Mux(misfit, ~sign, rounded > self.hi)),
            self.o_y.eq(Mux(below, self.lo, Mux(above, self.hi, rounded[:8].as_signed()))),
        ]
