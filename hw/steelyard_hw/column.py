"""One column of the sparse array: window memory, multipliers, accumulators of one channel."""

from amaranth import Cat, Module, Signal
from amaranth.hdl import signed
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from steelyard.config import ArrayConfig

from .multiplier import LaneMultipliers

__all__ = ["Column", "Control", "chain_layout"]


def chain_layout(config: ArrayConfig) -> data.ArrayLayout:
    """Sums that leave a column in one cycle."""
    return data.ArrayLayout(signed(config.accumulator_bits), config.requantizers)


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
    """

    def __init__(self, config: ArrayConfig):
        super().__init__(
            {"valid": 1, "last": 1, "slot": (config.window_groups - 1).bit_length()}
        )


class Column(wiring.Component):
    """Multiplies one weight a cycle with the lanes of the activation that its index selects.

    ``LATENCY`` cycles from `control` with ``last`` to the captured sums; one weight a cycle.

    Parameters
    ----------
    config : :class:`ArrayConfig`

    Members
    -------
    window_valid, window_address, window_word : ``In``
        Write port of the window memory.
    control : ``In(Control)``
    weight : ``In(weight_bits)``
        Value (low 8 bits) and index of this column's weight.
    chain_in, chain_out : ``ArrayLayout(signed(accumulator_bits), requantizers)``
        Captured sums of the next column in; the lowest lanes of this one out. They move on by
        `requantizers` lanes in every cycle without a capture.
    """

    LATENCY = 3 + LaneMultipliers.LATENCY + 1
    """Register, memory, output register, multiplier, accumulator."""

    def __init__(self, config: ArrayConfig):
        self._config = config
        chain = chain_layout(config)
        super().__init__(
            {
                "window_valid": In(1),
                "window_address": In(range(config.window_groups * config.group)),
                "window_word": In(8 * config.lanes),
                "control": In(Control(config)),
                "weight": In(config.weight_bits),
                "chain_in": In(chain),
                "chain_out": Out(chain),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config

        def registered(value, name, reset_less=True):
            register = Signal.like(value, name=name, reset_less=reset_less)
            m.d.sync += register.eq(value)
            return register

        m.submodules.window = window = memory.Memory(
            shape=8 * config.lanes, depth=config.window_groups * config.group, init=[]
        )
        write = window.write_port()
        read = window.read_port()
        m.d.sync += [
            write.en.eq(self.window_valid),
            write.addr.eq(self.window_address),
            write.data.eq(self.window_word),
        ]

        control = registered(self.control.as_value(), "control_1", reset_less=False)
        weight = registered(self.weight, "weight_1")
        slot = control[2:]
        m.d.comb += read.addr.eq(Cat(weight[8:], slot))
        flags = registered(control[:2], "flags_2", reset_less=False)
        value = registered(weight[:8], "value_2")

        m.submodules.multipliers = multipliers = LaneMultipliers(config.lanes)
        m.d.comb += [
            multipliers.activations.as_value().eq(registered(read.data, "activations")),
            multipliers.weight.eq(registered(value, "value_3").as_signed()),
        ]
        for n in range(1 + LaneMultipliers.LATENCY):
            flags = registered(flags, f"flags_{n + 3}", reset_less=False)
        valid, last = flags[0], flags[1]
        captures = valid & last

        chain = config.requantizers * config.accumulator_bits
        captured = Signal(config.lanes * config.accumulator_bits, reset_less=True)
        sums = []
        for lane in range(config.lanes):
            accumulator = Signal(signed(config.accumulator_bits), name=f"accumulator_{lane}")
            total = Signal(signed(config.accumulator_bits), name=f"total_{lane}")
            m.d.comb += total.eq(accumulator + multipliers.products[lane])
            with m.If(valid):
                m.d.sync += accumulator.eq(total)
            # Cleared after the last weight: registers do that for nothing, an adder's input not.
            with m.If(captures):
                m.d.sync += accumulator.eq(0)
            sums.append(total)
        with m.If(captures):
            m.d.sync += captured.eq(Cat(*sums))
        # The drain takes every cycle after a capture, so nothing has to hold the sums meanwhile.
        with m.Else():
            m.d.sync += captured.eq(Cat(captured[chain:], self.chain_in.as_value()))
        m.d.comb += self.chain_out.as_value().eq(captured[:chain])
        return m
