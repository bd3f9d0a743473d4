"""Skeletons of the arrays that array_sizing.py sizes: no control, only what takes area and time."""

from amaranth.hdl import Cat, Const, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib.memory import Memory
from array_units import ACC_BITS, ClearableAdder, ColumnMultipliers, copies, delay

GROUP = 16
GROUP_BITS = 4
WINDOW_DEPTH = 512
PASSES = 16


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
