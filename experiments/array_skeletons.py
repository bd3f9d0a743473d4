"""Skeletons of the arrays that array_sizing.py sizes: no control, only what takes area and time."""

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
from amaranth.lib.memory import Memory

GROUP = 16
GROUP_BITS = 4
ACC_BITS = 24
WINDOW_DEPTH = 512
PASSES = 16
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


class Core(Elaboratable):
    """Ports common to both organisations.

    Control and operand writes pass from column to column through one register each, so column n
    takes its weight n cycles after column 0 (the compiler lays the stream out that way). Results
    leave toward column 0, one every second cycle.
    """

    def __init__(self, options, address_bits):
        lanes = options.lanes
        self.options = options
        self.weights = [Signal(8 + GROUP_BITS, name=f"weight_{n}") for n in range(options.columns)]
        self.write_enable = Signal()
        self.write_address = Signal(address_bits)
        self.write_data = Signal(8 * lanes)
        self.valid = Signal()
        self.o_valid = Signal()
        self.o_data = Signal(ACC_BITS * lanes)

    def inputs(self):
        return [*self.weights, self.write_enable, self.write_address, self.write_data, self.valid]

    def outputs(self):
        return [self.o_valid, self.o_data]

    def drain(self, m, captures):
        """Chains holding registers toward column 0; `captures` lists (strobes, values)."""
        neighbour, neighbour_valid = Const(0, len(self.o_data)), Const(0)
        for column, (strobes, values) in reversed(list(enumerate(captures))):
            hold = Signal.like(self.o_data, name=f"hold_{column}", reset_less=True)
            hold_valid = Signal(name=f"hold_valid_{column}")
            m.d.sync += hold_valid.eq(strobes[0] | neighbour_valid)
            for lane, (strobe, value) in enumerate(zip(strobes, values, strict=True)):
                m.d.sync += hold.word_select(lane, ACC_BITS).eq(
                    Mux(strobe, value, neighbour[ACC_BITS * lane : ACC_BITS * (lane + 1)])
                )
            neighbour, neighbour_valid = hold, hold_valid
        return neighbour, neighbour_valid


class GroupBroadcast(Core):
    """Operands of one group and accumulators of 16 passes, all in LUT RAM."""

    def __init__(self, options):
        super().__init__(options, GROUP_BITS + 1)
        self.bank = Signal()
        self.pass_number = Signal(range(PASSES))
        self.clear = Signal()
        self.capture = Signal()

    def inputs(self):
        return [*super().inputs(), self.bank, self.pass_number, self.clear, self.capture]

    def elaborate(self, platform):
        m = Module()
        control = Cat(self.valid, self.clear, self.capture, self.bank, self.pass_number)
        write = Cat(self.write_enable, self.write_address, self.write_data)
        captures = []
        for column, weight in enumerate(self.weights):
            control, write, weight = (delay(m, s, 1) for s in (control, write, weight))
            m.submodules[f"operands_{column}"] = operands = Memory(
                shape=8 * self.options.lanes, depth=2 * GROUP, init=[]
            )
            writer, reader = operands.write_port(), operands.read_port(domain="comb")
            m.submodules[f"multipliers_{column}"] = multipliers = ColumnMultipliers(self.options)
            m.d.comb += [
                Cat(writer.en, writer.addr, writer.data).eq(write),
                reader.addr.eq(Cat(weight[8:], control[3])),
                multipliers.operands.eq(reader.data),
                multipliers.weight.eq(weight[:8]),
            ]
            values = []
            early = delay(m, control, multipliers.latency - 1)
            valids = copies(m, self.options, f"valid_{column}", early[0])
            clears = copies(m, self.options, f"clear_{column}", early[1])
            strobes = copies(m, self.options, f"capture_{column}", early[2])
            pass_number = delay(m, early[4:], 1)
            for lane, product in enumerate(multipliers.products):
                m.submodules[f"sums_{column}_{lane}"] = sums = Memory(
                    shape=signed(ACC_BITS), depth=PASSES, init=[]
                )
                m.submodules[f"adder_{column}_{lane}"] = adder = ClearableAdder(self.options)
                writer, reader = sums.write_port(), sums.read_port(domain="comb")
                m.d.comb += [
                    reader.addr.eq(pass_number),
                    adder.a.eq(reader.data),
                    adder.b.eq(product),
                    adder.clear.eq(clears[lane]),
                    writer.addr.eq(pass_number),
                    writer.data.eq(adder.total),
                    writer.en.eq(valids[lane]),
                ]
                values.append(reader.data)
            captures.append((strobes, values))
        data, valid = self.drain(m, captures)
        m.d.comb += [self.o_data.eq(data), self.o_valid.eq(valid)]
        return m


class WindowMemory(Core):
    """A block RAM of operands a column, accumulators in registers, shared partial sums."""

    def __init__(self, options):
        super().__init__(options, WINDOW_DEPTH.bit_length() - 1)
        self.slot = Signal(WINDOW_DEPTH.bit_length() - 1 - GROUP_BITS)
        self.first = Signal()
        self.last = Signal()
        self.restart = Signal()
        self.first_chunk = Signal()

    def inputs(self):
        return [*super().inputs(), self.slot, self.first, self.last, self.restart, self.first_chunk]

    def elaborate(self, platform):
        m = Module()
        read_latency = 2 if self.options.output_register else 1
        control = Cat(self.valid, self.first, self.last, self.slot)
        write = Cat(self.write_enable, self.write_address, self.write_data)
        captures = []
        for column, weight in enumerate(self.weights):
            control, write, weight = (delay(m, s, 1) for s in (control, write, weight))
            m.submodules[f"window_{column}"] = window = Memory(
                shape=8 * self.options.lanes, depth=WINDOW_DEPTH, init=[]
            )
            writer, reader = window.write_port(), window.read_port()
            m.submodules[f"multipliers_{column}"] = multipliers = ColumnMultipliers(self.options)
            m.d.comb += [
                Cat(writer.en, writer.addr, writer.data).eq(write),
                reader.addr.eq(Cat(weight[8:], control[3:])),
                multipliers.operands.eq(self.options.memory_output(m, reader.data)),
                multipliers.weight.eq(delay(m, weight[:8], read_latency)),
            ]
            values = []
            flags = delay(m, control[:3], read_latency + multipliers.latency - 1)
            valids = copies(m, self.options, f"valid_{column}", flags[0])
            firsts = copies(m, self.options, f"first_{column}", flags[1])
            strobe = delay(m, flags[0] & flags[2], 1)
            for lane, product in enumerate(multipliers.products):
                m.submodules[f"adder_{column}_{lane}"] = adder = ClearableAdder(self.options)
                total = Signal(signed(ACC_BITS), name=f"sum_{column}_{lane}", reset_less=True)
                m.d.comb += [adder.a.eq(total), adder.b.eq(product), adder.clear.eq(firsts[lane])]
                with m.If(valids[lane]):
                    m.d.sync += total.eq(adder.total)
                values.append(total)
            captures.append((copies(m, self.options, f"capture_{column}", strobe), values))
        data, valid = self.drain(m, captures)
        self._partial_sums(m, data, valid)
        return m

    def _partial_sums(self, m, data, valid):
        """Adds what the chain delivers to a running total; a word every second cycle."""
        m.submodules.partial_sums = sums = Memory(
            shape=ACC_BITS * self.options.lanes, depth=WINDOW_DEPTH, init=[]
        )
        writer, reader = sums.write_port(), sums.read_port()
        address = Signal(WINDOW_DEPTH.bit_length() - 1)
        held = Signal.like(data, reset_less=True)
        with m.If(valid):
            m.d.sync += [held.eq(data), address.eq(address + 1)]
        with m.If(self.restart):
            m.d.sync += address.eq(0)
        m.d.comb += reader.addr.eq(address)
        previous = (
            self.options.memory_output(m, reader.data)
            if self.options.output_register
            else delay(m, reader.data, 1)
        )
        first_chunk = delay(m, self.first_chunk, 1)
        total = Signal.like(data, reset_less=True)
        for lane in range(self.options.lanes):
            m.submodules[f"adder_{lane}"] = adder = ClearableAdder(self.options)
            m.d.comb += [
                adder.a.eq(previous.word_select(lane, ACC_BITS)),
                adder.b.eq(held.word_select(lane, ACC_BITS)),
                adder.clear.eq(first_chunk),
            ]
            m.d.sync += total.word_select(lane, ACC_BITS).eq(adder.total)
        m.d.comb += [
            writer.addr.eq(delay(m, address, 3)),
            writer.en.eq(delay(m, valid, 3)),
            writer.data.eq(total),
            self.o_data.eq(total),
            self.o_valid.eq(writer.en),
        ]


ARRAYS = {"group": GroupBroadcast, "window": WindowMemory}


class Squeeze(Elaboratable):
    """Shifts a core's inputs in and its outputs out through one pin each."""

    def __init__(self, core):
        self._core = core
        self.shift_in = Signal()
        self.load = Signal()
        self.shift_out = Signal()

    @property
    def in_bits(self):
        return sum(len(s) for s in self._core.inputs())

    @property
    def out_bits(self):
        return sum(len(s) for s in self._core.outputs())

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = self._core
        pins_in = Signal(self.in_bits, reset_less=True)
        # Without a second rank yosys sees that neighbouring inputs are delays of each other, and
        # merges the core's registers with the shift register.
        held_in = Signal.like(pins_in, reset_less=True)
        pins_out = Signal(self.out_bits, reset_less=True)
        m.d.sync += pins_in.eq(Cat(self.shift_in, pins_in))
        results = Cat(*self._core.outputs())
        # The strobe walks along the registers, so that it never is the critical path.
        load = self.load
        for start in range(0, max(self.in_bits, self.out_bits), 16):
            load = delay(m, load, 1)
            block = slice(start, start + 16)
            with m.If(load):
                m.d.sync += held_in[block].eq(pins_in[block])
            m.d.sync += pins_out[block].eq(
                Mux(load, results[block], Cat(Const(0, 1), pins_out)[block])
            )
        m.d.comb += [Cat(*self._core.inputs()).eq(held_in), self.shift_out.eq(pins_out[-1])]
        return m
