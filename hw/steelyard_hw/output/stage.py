"""Output stage: partial sums, bias and requantization of what leaves the engine or vector unit."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig
from steelyard.contract.latencies import OUTPUT_LATENCY, SUM_LATENCY

from ..cells.target import Target, local_copy
from ..lib.delay import delay, delays
from ..shell.ports import BeatWritePort, ReadPort
from .requantizer import Requantizer

__all__ = ["Beat", "OutputStage", "Parameter", "output_signature"]


class Beat(data.StructLayout):
    """Sums of R lanes and what is to become of them.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
        Configuration of the array; R is its `requantizers`.

    Members
    -------
    data : ``ArrayLayout(signed(32), R)``
        Sums, one a lane.
    accumulate : ``1``
        Add the stored partial sums (not the first chunk).
    store : ``1``
        Keep as partial sums and write nothing (not the last chunk).
    hold : ``1``
        Keep the products and write nothing (operand a of a residual add).
    join : ``1``
        Add the held products before the shift (operand b of a residual add).
    psum : ``range(partial_sum_channels * drain_beats)``
        Address in the partial-sum memory.
    param : ``range(parameter_words)``
        Address of the bias, multiplier and shift.
    row : ``range(activation_words)``
        Activation word to write.
    beat : ``range(drain_beats)``
        Which R lanes of the word.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__(
            {
                "data": data.ArrayLayout(signed(32), config.output.requantizers),
                "accumulate": 1,
                "store": 1,
                "hold": 1,
                "join": 1,
                "psum": range(config.engine.partial_sum_channels * config.drain_beats),
                "param": range(config.memory.parameter_words),
                "row": range(config.memory.activation_words),
                "beat": range(config.drain_beats),
            }
        )


class Parameter(data.Struct):
    """Parameter item of one output channel."""

    # Amaranth takes shapes where types stand.
    bias: signed(32)  # type: ignore[valid-type]
    multiplier: 24  # type: ignore[valid-type]
    shift: 6  # type: ignore[valid-type]
    reserved: 2  # type: ignore[valid-type]


def output_signature(config: AcceleratorConfig) -> wiring.Signature:
    """Ports of both output stages, as documented in :class:`OutputStage`.

    Raises
    ------
    TypeError
        If `config` is no :class:`~steelyard.contract.AcceleratorConfig`.
    """
    if not isinstance(config, AcceleratorConfig):
        raise TypeError(f"Configuration must be an AcceleratorConfig, not {config!r}")
    return wiring.Signature(
        {
            "i_valid": In(1),
            "i_ready": Out(1),
            "i": In(Beat(config)),
            "z_y": In(signed(8)),
            "lo": In(signed(8)),
            "hi": In(signed(8)),
            "parameters": Out(ReadPort(config.memory.parameter_words, 64)),
            "write": Out(BeatWritePort(config)),
        }
    )


class OutputStage(wiring.Component):
    """Partial sums, bias and requantization, R lanes a cycle.

    `latency` cycles from `i` to `write`; one beat a cycle, without stalls. An address of the
    partial-sum memory may be read (`accumulate`) 8 cycles after the beat that stored it, not
    sooner. The beats of a residual add come in the order of `beat`: all of operand a (`hold`), then
    all of operand b (`join`).

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
        Configuration of the array.
    target : :class:`.target.Target`

    Members
    -------
    i_valid : ``In(1)``, i_ready : ``Out(1)``
        `i` holds a beat; it is taken in this cycle, here always.
    i : ``In(Beat(config))``
        Sums of R lanes.
    z_y, lo, hi : ``In(signed(8))``
        Zero point and clamp of the results; static while beats are in flight.
    parameters : ``Out(ReadPort(parameter_words, 64))``
        Parameter memory, one cycle of latency.
    write : ``Out(BeatWritePort(config))``
        Results for the activation memory, one a lane.

    Attributes
    ----------
    latency : :class:`int`
        Cycles from `i_valid` to `write.en`.
    """

    latency = OUTPUT_LATENCY

    def __init__(self, config: AcceleratorConfig, target: Target = Target.PORTABLE):
        self._config = config
        self._target = target
        super().__init__(output_signature(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.i_ready.eq(1)
        beats = delays(m, self.i, SUM_LATENCY, "beat")
        valid = delays(m, self.i_valid, SUM_LATENCY, "valid", reset_less=False)

        m.d.comb += self.parameters.addr.eq(beats[1].param)
        parameter = Signal(Parameter, reset_less=True)
        m.d.sync += parameter.eq(self.parameters.data)

        sums = self._partial_sums(m, beats, valid)
        last = beats[-1]
        for lane, total in enumerate(sums):
            m.submodules[f"requantizer_{lane}"] = requantizer = Requantizer(
                self._config.drain_beats, self._target
            )
            m.d.comb += [
                requantizer.i_sum.eq(total),
                *(
                    getattr(requantizer, name).eq(
                        local_copy(m, getattr(parameter, name), f"{name}_{lane}")
                    )
                    for name in ("bias", "multiplier", "shift")
                ),
                requantizer.hold.eq(last.hold & valid[-1]),
                requantizer.join.eq(last.join & valid[-1]),
                requantizer.z_y.eq(self.z_y),
                requantizer.lo.eq(self.lo),
                requantizer.hi.eq(self.hi),
                self.write.data[lane].eq(requantizer.o_y),
            ]

        writes = valid[-1] & ~last.store & ~last.hold
        m.d.comb += [
            self.write.en.eq(delay(m, writes, Requantizer.latency, "write", reset_less=False)),
            self.write.row.eq(delay(m, last.row, Requantizer.latency)),
            self.write.beat.eq(delay(m, last.beat, Requantizer.latency)),
        ]
        return m

    def _partial_sums(self, m: Module, beats: list, valid: list) -> list[Signal]:
        """Sums of the lanes, with the stored ones where asked for; stores them likewise."""
        lanes = self._config.output.requantizers
        m.submodules.memory = memory = Memory(
            shape=unsigned(32 * lanes),
            depth=self._config.engine.partial_sum_channels * self._config.drain_beats,
            init=[],
        )
        # Reads are enabled only where used, so that no address is read while it is written.
        read = memory.read_port()
        m.d.comb += [
            read.addr.eq(beats[1].psum),
            read.en.eq(valid[1] & beats[1].accumulate),
        ]
        stored = Signal(data.ArrayLayout(signed(32), lanes), reset_less=True)
        m.d.sync += stored.eq(Mux(beats[2].accumulate, read.data, 0))

        sums = [
            delay(m, (beats[3].data[lane] + stored[lane])[:32].as_signed()) for lane in range(lanes)
        ]
        write = memory.write_port()
        m.d.comb += [
            write.addr.eq(beats[4].psum),
            write.data.eq(Cat(sums)),
            write.en.eq(valid[4] & beats[4].store),
        ]
        return sums
