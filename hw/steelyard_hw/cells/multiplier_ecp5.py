"""ECP5 multipliers: with their own registers, one lane each or two lanes over-packed."""

from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from ..lib.delay import delay

__all__ = ["EcpLanes", "EcpPairs", "Multiplier18"]


class Multiplier18(wiring.Component):
    """MULT18X18D with its input and output registers.

    Two cycles of latency; one product a cycle.

    Parameters
    ----------
    a_signed, b_signed : :class:`bool`
        How to read the operands.
    model : :class:`bool`
        Describe what the cell does in place of instantiating it, for simulation and proofs.

    Members
    -------
    a, b : ``In(18)``, signed or not
    p : ``Out(36)``, signed if an operand is
    """

    def __init__(self, *, a_signed: bool = False, b_signed: bool = True, model: bool = False):
        self._signed = (a_signed, b_signed)
        self._model = model
        a, b = Shape(18, a_signed), Shape(18, b_signed)
        super().__init__({"a": In(a), "b": In(b), "p": Out(Shape(36, a_signed or b_signed))})

    def elaborate(self, platform):
        m = Module()
        if self._model:
            a, b = Signal.like(self.a, reset_less=True), Signal.like(self.b, reset_less=True)
            product = Signal.like(self.p, reset_less=True)
            m.d.sync += [a.eq(self.a), b.eq(self.b), product.eq(a * b)]
            m.d.comb += self.p.eq(product)
            return m
        ports = {"i_CLK0": ClockSignal(), "i_CE0": Const(1), "i_RST0": Const(0),
                 "i_SIGNEDA": Const(self._signed[0], 1), "i_SIGNEDB": Const(self._signed[1], 1),
                 "i_SOURCEA": Const(0), "i_SOURCEB": Const(0)}  # fmt: skip
        for bit in range(18):
            ports[f"i_A{bit}"], ports[f"i_B{bit}"] = self.a[bit], self.b[bit]
        for bit in range(36):
            ports[f"o_P{bit}"] = self.p[bit]
        for stage in ("INPUTA", "INPUTB", "OUTPUT"):
            ports[f"p_REG_{stage}_CLK"] = "CLK0"
            ports[f"p_REG_{stage}_CE"] = "CE0"
            ports[f"p_REG_{stage}_RST"] = "RST0"
        ports["p_REG_PIPELINE_CLK"] = "NONE"
        m.submodules.multiplier = Instance("MULT18X18D", **ports)
        return m


_REST = 18 - 8
"""Bits of a multiplier's operand below a weight at its top."""


def _at_the_top(weight):
    """Operand that is `weight` times ``2**_REST``.

    At the bottom its sign would be routed to eleven pins of every multiplier; zeros take no wires.
    """
    return Cat(Const(0, _REST), weight).as_signed()


class EcpLanes(wiring.Component):
    """Products of one weight with all lanes, each lane on a MULT18X18D of its own.

    ``STAGES`` cycles of latency; one weight a cycle. Same ports and products as
    :class:`.multiplier.LaneMultipliers`. Its two registers are those of the cell: yosys leaves the
    registers of plain arithmetic outside, where a product takes 3.9 ns to the cell's edge and a
    wire from there.

    Parameters
    ----------
    lanes : :class:`int`
    signature : ports, as ``multiplier_signature(lanes)`` gives them
    model : :class:`bool`
        Use the multiplier's model, for simulation and proofs.
    """

    STAGES = 2

    def __init__(self, lanes: int, signature: wiring.Signature, *, model: bool = False):
        self._lanes = lanes
        self._model = model
        super().__init__(signature)

    def elaborate(self, platform):
        m = Module()
        for lane in range(self._lanes):
            m.submodules[f"multiplier_{lane}"] = multiplier = Multiplier18(model=self._model)
            m.d.comb += [
                multiplier.a.eq(self.activations[lane]),
                multiplier.b.eq(_at_the_top(self.weight)),
                self.products[lane].eq(multiplier.p[_REST:][:16].as_signed()),
            ]
        return m


class EcpPairs(wiring.Component):
    """Products of one weight with all lanes, two lanes on each MULT18X18D.

    ``STAGES`` cycles of latency; one weight a cycle. Same ports and products as
    :class:`.multiplier.LaneMultipliers`. Unsigned activations make ``{a1, 00, a0}`` the operand as
    it is; its product is ``a1*w * 2**10 + a0*w``, whose bits 15 to 10 hold parts of both products.
    The low six bits of ``a1*w`` are made by logic meanwhile, and subtracting them tells both apart.
    Exact for every weight.

    Parameters
    ----------
    lanes : :class:`int`
        Even.
    signature : ports, as ``multiplier_signature(lanes)`` gives them
    model : :class:`bool`
        Use the multiplier's model, for simulation and proofs.

    Raises
    ------
    ValueError
        If the number of lanes is odd.
    """

    STAGES = 3

    def __init__(self, lanes: int, signature: wiring.Signature, *, model: bool = False):
        if lanes % 2:
            raise ValueError(f"Lanes must be even to share multipliers, not {lanes!r}")
        self._lanes = lanes
        self._model = model
        super().__init__(signature)

    def elaborate(self, platform):
        m = Module()
        for lane in range(0, self._lanes, 2):
            self._pair(m, lane)
        return m

    def _pair(self, m, lane):
        low, high = self.activations[lane], self.activations[lane + 1]
        m.submodules[f"multiplier_{lane}"] = multiplier = Multiplier18(model=self._model)
        m.d.comb += [
            multiplier.a.eq(Cat(low, Const(0, 2), high)),
            multiplier.b.eq(_at_the_top(self.weight)),
        ]
        product = multiplier.p[_REST:]

        # The low six bits of high * weight, in step with the multiplier's two registers.
        weight = self.weight.as_unsigned()
        terms = []
        for bit in (0, 2, 4):
            width = 6 - bit
            first = Mux(weight[bit], high[:width], 0)
            second = Mux(weight[bit + 1], Cat(Const(0, 1), high[: width - 1]), 0)
            terms.append(delay(m, (first + second)[:width], 1, f"term_{bit}_{lane}"))
        overlap = delay(
            m,
            (terms[0] + Cat(Const(0, 2), terms[1]) + Cat(Const(0, 4), terms[2]))[:6],
            1,
            f"overlap_{lane}",
        )

        # Both chains in one cycle: a register between them would hold 33 bits of every pair, most
        # of them only to keep step, and on its way each takes a wire.
        difference = (product[10:16] - overlap)[:7]
        # high - sign extension - borrow in one chain: the extra low bit injects the sign.
        sign, borrow = difference[5], difference[6]
        corrected = (Cat(Const(1, 1), product[16:26]) + Cat(sign, borrow.replicate(10)))[1:11]
        low_product, high_product = Cat(product[:10], difference[:6]), Cat(overlap, corrected)
        m.d.comb += [
            self.products[lane].eq(delay(m, low_product, 1, f"low_product_{lane}")),
            self.products[lane + 1].eq(delay(m, high_product, 1, f"high_product_{lane}")),
        ]
