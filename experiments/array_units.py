"""What the skeletons of arrays consist of: multipliers, adders and registers, as options say."""

from amaranth.hdl import (
    Cat,
    ClockSignal,
    Const,
    Elaboratable,
    Instance,
    Module,
    Mux,
    Signal,
    signed,
)

ACC_BITS = 24
# Cycles from a memory's data to the product, by kind of multiplier.
LATENCY = {"plain": 2, "registered": 3, "pair": 5}


class Options:
    """The choices that distinguish one design from another."""

    def __init__(
        self,
        array,
        multiplier,
        accumulator,
        lanes,
        columns,
        *,
        output_register=False,
        local_strobes=False,
        model=False,
    ):
        self.array = array
        self.multiplier = multiplier
        self.accumulator = accumulator
        self.lanes = lanes
        self.columns = columns
        # True uses the block RAMs' own output register, which yosys never infers.
        self.output_register = output_register
        # True gives every two lanes their own registers of the clear, enable and capture strobes.
        self.local_strobes = local_strobes
        # True replaces vendor cells by their behaviour, for the simulator.
        self.model = model

    @property
    def name(self):
        return "-".join(
            [
                self.array,
                self.multiplier,
                self.accumulator,
                "outreg" if self.output_register else "noreg",
                "local" if self.local_strobes else "shared",
                f"{self.lanes}x{self.columns}",
            ]
        )

    def memory_output(self, m, data):
        """Read data of a block RAM after its output register, if it has one.

        Synthesis switches the register on in the mapped cells, so only the model shows it.
        """
        return delay(m, data, 1) if self.output_register and self.model else data


def delay(m, signal, cycles):
    """The signal some cycles later, through reset-less registers."""
    for _ in range(cycles):
        later = Signal.like(signal, reset_less=True)
        m.d.sync += later.eq(signal)
        signal = later
    return signal


def copies(m, options, name, signal):
    """The signal a cycle later, a list with one bit a lane.

    With local strobes two lanes share a register; vendor cells keep yosys from merging the copies.
    """
    if not options.local_strobes:
        return [delay(m, signal, 1)] * options.lanes
    bits = []
    for lane in range(0, options.lanes, 2):
        bit = Signal(name=f"{name}_{lane}", reset_less=True)
        if options.model:
            m.d.sync += bit.eq(signal)
        else:
            m.submodules[f"{name}_{lane}"] = Instance(
                "TRELLIS_FF",
                p_GSR="DISABLED",
                p_CEMUX="1",
                p_CLKMUX="CLK",
                p_LSRMUX="LSR",
                p_REGSET="RESET",
                p_SRMODE="LSR_OVER_CE",
                i_CLK=ClockSignal(),
                i_LSR=Const(0),
                i_DI=signal,
                o_Q=bit,
            )
        bits += [bit] * 2
    return bits


class Multiplier18(Elaboratable):
    """An 18x18 multiplier with all its registers: three cycles of latency.

    ``a`` is unsigned when `a_unsigned`, ``b`` is always signed.
    """

    def __init__(self, *, a_unsigned, model):
        self.a = Signal(18)
        self.b = Signal(18)
        self.p = Signal(36)
        self._a_unsigned = a_unsigned
        self._model = model

    def elaborate(self, platform):
        m = Module()
        if self._model:
            a = self.a if self._a_unsigned else self.a.as_signed()
            product = Signal(signed(36))
            a_reg = delay(m, Cat(self.a).as_unsigned() if self._a_unsigned else a, 1)
            b_reg = delay(m, self.b.as_signed(), 1)
            m.d.comb += product.eq(a_reg * b_reg)
            m.d.comb += self.p.eq(delay(m, product, 2))
            return m
        ports = {
            "i_CLK0": ClockSignal(),
            "i_CE0": Const(1),
            "i_RST0": Const(0),
            "i_SIGNEDA": Const(0 if self._a_unsigned else 1),
            "i_SIGNEDB": Const(1),
            "i_SOURCEA": Const(0),
            "i_SOURCEB": Const(0),
        }
        for bit in range(18):
            ports[f"i_A{bit}"] = self.a[bit]
            ports[f"i_B{bit}"] = self.b[bit]
        for bit in range(36):
            ports[f"o_P{bit}"] = self.p[bit]
        for stage in ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT"):
            ports[f"p_REG_{stage}_CLK"] = "CLK0"
            ports[f"p_REG_{stage}_CE"] = "CE0"
            ports[f"p_REG_{stage}_RST"] = "RST0"
        m.submodules.dsp = Instance("MULT18X18D", **ports)
        return m


class ColumnMultipliers(Elaboratable):
    """All lanes of a column times one weight.

    ``operands`` and ``weight`` are unregistered and belong to the same cycle; ``products`` follow
    `latency` cycles later. The multiplier kind ``pair`` takes operands offset by 128 (unsigned),
    the others signed ones.
    """

    def __init__(self, options):
        self._options = options
        self.latency = LATENCY[options.multiplier]
        self.operands = Signal(8 * options.lanes)
        self.weight = Signal(signed(8))
        self.products = [Signal(signed(16), name=f"product_{n}") for n in range(options.lanes)]

    def elaborate(self, platform):
        m = Module()
        kind = self._options.multiplier
        if kind == "plain":
            weight = delay(m, self.weight, 1)
            for lane, product in enumerate(self.products):
                operand = delay(m, self.operands.word_select(lane, 8).as_signed(), 1)
                m.d.comb += product.eq(delay(m, (operand * weight)[:16].as_signed(), 1))
        elif kind == "registered":
            for lane, product in enumerate(self.products):
                m.submodules[f"dsp_{lane}"] = dsp = Multiplier18(
                    a_unsigned=False, model=self._options.model
                )
                m.d.comb += [
                    dsp.a.eq(self.operands.word_select(lane, 8).as_signed()),
                    dsp.b.eq(self.weight),
                    product.eq(dsp.p[:16]),
                ]
        else:
            for lane in range(0, self._options.lanes, 2):
                self._pair(m, lane)
        return m

    def _pair(self, m, lane):
        low, high = (self.operands.word_select(lane + n, 8) for n in range(2))
        m.submodules[f"dsp_{lane}"] = dsp = Multiplier18(a_unsigned=True, model=self._options.model)
        m.d.comb += [dsp.a.eq(Cat(low, Const(0, 2), high)), dsp.b.eq(self.weight)]

        # The low six bits of high * weight, in step with the multiplier's three registers.
        a = delay(m, high[:6], 1)
        w = delay(m, self.weight[:6], 1)
        terms = []
        for bit in (0, 2, 4):
            width = 6 - bit
            term = Signal(width, reset_less=True)
            m.d.sync += term.eq(Mux(w[bit], a[:width], 0) + Mux(w[bit + 1], a[: width - 1] << 1, 0))
            terms.append(term)
        overlap = Signal(6, reset_less=True)
        m.d.sync += overlap.eq(terms[0] + (terms[1] << 2) + (terms[2] << 4))

        # P = high_product * 2**10 + low_product, so bits 15..10 hold both. Separating them takes
        # two carry chains, with a register between.
        difference = delay(m, (dsp.p[10:16] - overlap)[:7], 1)
        low_bits, high_bits, overlap = (
            delay(m, bits, 1) for bits in (dsp.p[:10], dsp.p[16:26], overlap)
        )
        # P[25:16] + sign - borrow in one chain: the extra low bit injects the sign.
        corrected = (Cat(Const(1, 1), high_bits) + Cat(difference[5], difference[6].replicate(10)))[
            1:11
        ]
        m.d.comb += [
            self.products[lane].eq(delay(m, Cat(low_bits, difference[:6]), 1)),
            self.products[lane + 1].eq(delay(m, Cat(overlap, corrected), 1)),
        ]


class ClearableAdder(Elaboratable):
    """``total = (0 if clear else a) + b``, combinational.

    The accumulator kind ``carry`` puts the clear in the free LUT input of each carry cell.
    """

    def __init__(self, options, width=ACC_BITS):
        self._carry = options.accumulator == "carry" and not options.model
        self.clear = Signal()
        self.a = Signal(signed(width))
        self.b = Signal(signed(width))
        self.total = Signal(signed(width))

    def elaborate(self, platform):
        m = Module()
        if not self._carry:
            m.d.comb += self.total.eq(Mux(self.clear, 0, self.a) + self.b)
            return m
        carry = Const(0)
        for bit in range(0, len(self.a), 2):
            carry_out = Signal(name=f"carry_{bit}")
            m.submodules[f"bits_{bit}"] = Instance(
                "CCU2C",
                # LUT4 at D=1: C ? B : A ^ B; the LUT2 that generates the carry is B.
                p_INIT0=Const(0xC6CC, 16),
                p_INIT1=Const(0xC6CC, 16),
                p_INJECT1_0="NO",
                p_INJECT1_1="NO",
                i_A0=self.a[bit],
                i_B0=self.b[bit],
                i_C0=self.clear,
                i_D0=Const(1),
                i_A1=self.a[bit + 1],
                i_B1=self.b[bit + 1],
                i_C1=self.clear,
                i_D1=Const(1),
                i_CIN=carry,
                o_S0=self.total[bit],
                o_S1=self.total[bit + 1],
                o_COUT=carry_out,
            )
            carry = carry_out
        return m
