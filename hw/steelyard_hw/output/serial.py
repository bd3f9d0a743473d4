"""Output stage without multipliers: one beat at a time, several cycles each."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory

from steelyard.contract import AcceleratorConfig

from .requantizer_serial import SerialRequantizer
from .stage import Parameter, output_signature

__all__ = ["SerialOutputStage"]


class SerialOutputStage(wiring.Component):
    """Partial sums, bias and requantization, R lanes in ``requantizer_cycles``.

    Ports are those of :class:`.stage.OutputStage`. A beat is held with `i_valid` until the cycle
    in which `i_ready` is high, its last; its result is written in that cycle. Stored partial sums
    hold the bias from the first chunk on. Takes no beats of residual additions.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
    """

    latency = 0

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__(output_signature(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        cycles, lanes = config.output.requantizer_cycles, config.output.requantizers
        phase = Signal(range(cycles))
        with m.If(self.i_valid):
            m.d.sync += phase.eq(phase + 1)

        m.submodules.memory = memory = Memory(
            shape=32 * lanes, depth=config.engine.partial_sum_channels * config.drain_beats, init=[]
        )
        read, write = memory.read_port(), memory.write_port()
        parameter = Signal(Parameter)
        m.d.comb += [
            self.i_ready.eq(phase == cycles - 1),
            self.parameters.addr.eq(self.i.param),
            parameter.eq(self.parameters.data),
            read.addr.eq(self.i.psum),
            # Read only where used, so that no address is read while it is written.
            read.en.eq(self.i_valid & (phase == 0)),
            write.addr.eq(self.i.psum),
            write.en.eq(self.i_valid & self.i.store & (phase == 2)),
            self.write.en.eq(self.i_valid & self.i_ready & ~self.i.store),
            self.write.row.eq(self.i.row),
            self.write.beat.eq(self.i.beat),
        ]
        stored = data.View(data.ArrayLayout(signed(32), lanes), read.data)
        totals = []
        for lane in range(lanes):
            total = Signal(signed(32), name=f"total_{lane}", reset_less=True)
            with m.If(phase == 1):
                m.d.sync += total.eq(
                    self.i.data[lane] + Mux(self.i.accumulate, stored[lane], parameter.bias)
                )
            totals.append(total)
            requantizer = SerialRequantizer(64 // cycles)
            m.submodules[f"requantizer_{lane}"] = requantizer
            m.d.comb += [
                requantizer.start.eq(phase == 1),
                requantizer.value.eq(total),
                requantizer.multiplier.eq(parameter.multiplier),
                requantizer.shift.eq(parameter.shift),
                requantizer.z_y.eq(self.z_y),
                requantizer.lo.eq(self.lo),
                requantizer.hi.eq(self.hi),
                self.write.data[lane].eq(requantizer.o_y),
            ]
        m.d.comb += write.data.eq(Cat(totals))
        return m
