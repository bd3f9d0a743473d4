"""One column of the sparse array: window memory, multipliers, accumulators of one channel."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.hdl import signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from ..cells.multiplier import lane_multipliers
from ..cells.multiplier_ice40 import IcePairs
from ..cells.target import Target, local_copy
from ..lib.delay import delay

__all__ = ["STROBE_LANES", "Column", "Control", "Selection", "chain_layout", "select_latency"]

STROBE_LANES = 2
"""Lanes that share a register of the capture strobe: it has 49 loads a lane."""


def chain_layout(config: AcceleratorConfig) -> data.ArrayLayout:
    """Sums that leave a column in one cycle."""
    return data.ArrayLayout(signed(config.engine.accumulator_bits), config.output.requantizers)


def select_latency(config: AcceleratorConfig) -> int:
    """Cycles from a column's control to its selection among the bytes of a word.

    One less than to the memory's word, for the column's own copy.
    """
    return int(config.engine.carry_registers)


class Selection(data.StructLayout):
    """Which byte of a word each lane takes: its own, the one or two above it, or 0.

    Members
    -------
    step : ``1``
        One above or two, :func:`select_latency` cycles after the control.
    second : ``1``
        Two above, with `step`; a cycle later.
    outside : ``lanes``
        0 whatever the others say; two cycles later.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__({"step": 1, "second": 1, "outside": config.engine.lanes})


class Control(data.StructLayout):
    """What every column does in one cycle.

    Members
    -------
    valid : ``1``
        There is a weight.
    last : ``1``
        Capture the sums and begin new ones.
    slot : ``range(window_groups)``
        Group of the window memory.
    tap : ``range(3)``
        Which of the taps that share the group's words, with `shared_taps`; else no bits.
    """

    def __init__(self, config: AcceleratorConfig):
        slot = (config.engine.window_groups - 1).bit_length()
        super().__init__(
            {"valid": 1, "last": 1, "slot": slot, "tap": 2 * config.engine.shared_taps}
        )


class Column(wiring.Component):
    """Multiplies one weight a cycle with the lanes of the activation that its index selects.

    `column_latency` cycles from `control` with ``last`` to the captured sums; one weight a cycle.
    Activations are kept offset by 128, as unsigned bytes.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
    target : :class:`.target.Target`

    Members
    -------
    window_valid, window_address, window_word : ``In``
        Write port of the window memory.
    control : ``In(Control)``
    select : ``In(Selection)``
        With `shared_taps` alone.
    weight : ``In(weight_bits)``
        Value (low 8 bits) and index of this column's weight.
    chain_in, chain_out : ``ArrayLayout(signed(accumulator_bits), requantizers)``
        Captured sums of the next column in; the lowest lanes of this one out. They move on by
        `requantizers` lanes in every cycle without a capture, with `shift` if the requantizer
        takes several cycles.
    shift : ``In(1)``
    """

    def __init__(self, config: AcceleratorConfig, target: Target = Target.PORTABLE):
        self._config = config
        self._target = target
        chain = chain_layout(config)
        super().__init__(
            {
                "window_valid": In(1),
                "window_address": In(range(config.engine.window_groups * config.engine.group)),
                "window_word": In(8 * config.engine.window_lanes),
                "control": In(Control(config)),
                **({"select": In(Selection(config))} if config.engine.shared_taps else {}),
                "weight": In(config.engine.weight_bits),
                "chain_in": In(chain),
                "chain_out": Out(chain),
                "shift": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config

        m.submodules.window = window = memory.Memory(
            shape=8 * config.engine.window_lanes,
            depth=config.engine.window_groups * config.engine.group,
            init=[],
        )
        write = window.write_port()
        read = window.read_port()
        m.d.comb += [
            write.en.eq(self.window_valid),
            write.addr.eq(self.window_address),
            write.data.eq(self.window_word),
        ]

        slot, weight = self.control.slot, self.weight
        valid = Signal()
        # A reset captures too, which clears the accumulators: they need no reset of their own.
        captures = Signal(init=1)
        if not config.engine.carry_registers:
            m.d.comb += valid.eq(self.control.valid)
        else:
            slot, weight = local_copy(m, slot, "slot"), delay(m, weight, 1, "weight")
            m.d.sync += valid.eq(self.control.valid)
        m.d.comb += read.addr.eq(Cat(weight[8:], slot))
        m.d.sync += captures.eq(self.control.valid & self.control.last)
        # A weight of zero stands for no weight, so the accumulators need no enable.
        value = Signal(8, reset_less=True)
        m.d.sync += value.eq(Mux(valid, weight[:8], 0))

        m.submodules.multipliers = multipliers = lane_multipliers(config, self._target)
        activations = read.data
        if config.engine.shared_taps:
            activations = self._selected(m, activations)
            value = delay(m, value, 1, "value_held")
            captures = delay(m, captures, 1, "captures_held")
        if not isinstance(multipliers, IcePairs):
            activations = delay(m, activations, 1, "activations")
            value = delay(m, value, 1, "value")
        m.d.comb += [
            multipliers.activations.as_value().eq(activations),
            multipliers.weight.eq(value.as_signed()),
        ]
        captures = delay(m, captures, 1 + config.engine.multiplier_stages, "captures")

        chain = config.output.requantizers * config.engine.accumulator_bits
        captured = Signal(config.engine.lanes * config.engine.accumulator_bits, reset_less=True)
        shifted = Cat(captured[chain:], self.chain_in.as_value())
        m.d.comb += self.chain_out.as_value().eq(captured[:chain])
        for lane in range(config.engine.lanes):
            if lane % STROBE_LANES == 0:
                strobe = local_copy(m, captures, f"strobe_{lane}")
            accumulator = Signal(
                signed(config.engine.accumulator_bits), name=f"accumulator_{lane}", reset_less=True
            )
            total = Signal(signed(config.engine.accumulator_bits), name=f"total_{lane}")
            own = slice(
                lane * config.engine.accumulator_bits, (lane + 1) * config.engine.accumulator_bits
            )
            m.d.comb += total.eq(accumulator + multipliers.products[lane])
            m.d.sync += accumulator.eq(total)
            # Cleared after the last weight: registers do that for nothing, an adder's input not.
            # Without `carry_registers` an idle cycle is for it, in which the sum is a register.
            with m.If(strobe):
                m.d.sync += accumulator.eq(0)
                m.d.sync += captured[own].eq(
                    total if config.engine.carry_registers else accumulator
                )
            # A drain of a beat a cycle takes every cycle after a capture: nothing holds the sums.
            with m.Elif(self.shift | (config.output.requantizer_cycles == 1)):
                m.d.sync += captured[own].eq(shifted[own])
        return m

    def _selected(self, m, word):
        """What each lane takes of a word, a cycle after it.

        A step before the register and a step behind it are two LUT4 a bit with seven inputs; a
        choice of three and nothing at once is two as well, but with twice the wires.
        """
        lanes = self._config.engine.lanes
        step = local_copy(m, self.select.step, "step")
        second = local_copy(m, self.select.second, "second")
        stepped = Cat(
            Mux(step, word.word_select(lane + 1, 8), word.word_select(lane, 8))
            for lane in range(lanes + 1)
        )
        stepped = delay(m, stepped, 1, "stepped")
        return Cat(
            Mux(
                self.select.outside[lane],
                0,
                Mux(second, stepped.word_select(lane + 1, 8), stepped.word_select(lane, 8)),
            )
            for lane in range(lanes)
        )
