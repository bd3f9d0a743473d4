"""Output stage: partial sums, bias and requantization of what leaves the engine or vector unit."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig
from steelyard.contract.latencies import OUTPUT_LATENCY, SUM_LATENCY, TABLE_LATENCY
from steelyard.contract.limits import MULTIPLIER_BITS

from ..cells.target import Target, local_copy
from ..lib.delay import delay, delays
from ..shell.ports import BeatWritePort, ReadPort
from .operands import OperandPair
from .requantizer import Requantizer
from .residual import ResidualAdder

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
        Sums, one a lane; of a layer of two operands operand b.
    operand : ``ArrayLayout(signed(8), R)``
        Operand a of such a layer; only with `additions` or `products`.
    accumulate : ``1``
        Add the stored partial sums (not the first chunk).
    store : ``1``
        Keep as partial sums and write nothing (not the last chunk).
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
        lanes = config.output.requantizers
        super().__init__(
            {
                "data": data.ArrayLayout(signed(32), lanes),
                **({"operand": data.ArrayLayout(signed(8), lanes)} if config.vector.pairs else {}),
                "accumulate": 1,
                "store": 1,
                "psum": range(config.engine.partial_sum_channels * config.drain_beats),
                "param": range(config.memory.parameter_words),
                "row": range(config.memory.activation_words),
                "beat": range(config.drain_beats),
            }
        )


class Parameter(data.StructLayout):
    """Parameter item of one output channel; `negative` is the multiplier of negative sums.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
        Has `slopes` or not.
    """

    def __init__(self, config: AcceleratorConfig):
        super().__init__(
            {
                "bias": signed(32),
                "multiplier": MULTIPLIER_BITS,
                "shift": 6,
                "reserved": 2,
                **({"negative": MULTIPLIER_BITS} if config.output.slopes else {}),
            }
        )


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
            **(
                {
                    "pair": In(1),
                    "z_a": In(signed(8)),
                    "z_b": In(signed(8)),
                    "param": In(range(config.memory.parameter_words)),
                }
                if config.vector.pairs
                else {}
            ),
            **({"multiply": In(1)} if config.vector.products else {}),
            "parameters": Out(ReadPort(config.memory.parameter_words, sum(config.parameter_bits))),
            "write": Out(BeatWritePort(config)),
            **({"coming": Out(BeatWritePort(config))} if config.fuses_additions else {}),
        }
    )


class OutputStage(wiring.Component):
    """Partial sums, bias and requantization, R lanes a cycle.

    `latency` cycles from `i` to `write`; one beat a cycle, without stalls. An address of the
    partial-sum memory may be read (`accumulate`) 8 cycles after the beat that stored it, not
    sooner.

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
    pair : ``In(1)``
        A beat has two operands, which are scaled and added. Static from 4 cycles before the first
        beat on, as are the next four. Only with `additions` or `products`, as are they.
    multiply : ``In(1)``
        They are multiplied and scaled instead; only with `products`.
    z_a, z_b : ``In(signed(8))``
        Zero points of the operands.
    param : ``In(range(parameter_words))``
        Parameter item of the whole layer; of an addition its bias is the multiplier of operand b.
    parameters : ``Out(ReadPort(parameter_words, 64))``
        Parameter memory, one cycle of latency; items of 88 bits with `slopes`.
    write : ``Out(BeatWritePort(config))``
        Results for the activation memory, one a lane.
    coming : ``Out(BeatWritePort(config))``
        What `write`, or the tables behind it, will say ``ResidualAdder.lead`` cycles later, without
        the data. Only with `fuses_additions`.

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

        pair, add = Signal(), Signal()
        param = beats[1].param
        if self._config.vector.pairs:
            m.d.comb += pair.eq(self.pair)
            param = delay(m, Mux(pair, self.param, self.i.param), 1, "param")
        m.d.comb += add.eq(pair & ~self.multiply if self._config.vector.products else pair)
        m.d.comb += self.parameters.addr.eq(param)
        parameter = Signal(Parameter(self._config), reset_less=True)
        m.d.sync += parameter.eq(self.parameters.data)

        pairs = self._pairs(m, beats, Mux(add, parameter.bias[:MULTIPLIER_BITS], 0))
        sums = self._partial_sums(m, beats, valid, pairs)
        last = beats[-1]
        for lane, total in enumerate(sums):
            m.submodules[f"requantizer_{lane}"] = requantizer = Requantizer(
                self._target, addends=bool(pairs), slopes=self._config.output.slopes
            )
            biased = Mux(add, 0, parameter.bias).as_signed()
            m.d.comb += [
                requantizer.i_sum.eq(total),
                requantizer.bias.eq(local_copy(m, biased, f"bias_{lane}")),
                *(
                    getattr(requantizer, name).eq(
                        local_copy(m, getattr(parameter, name), f"{name}_{lane}")
                    )
                    for name in Parameter(self._config).members
                    if name not in ("bias", "reserved")
                ),
                *([requantizer.addend.eq(pairs[lane].o_addend)] if pairs else []),
                # They do not change while sums are in flight, but are far from some requantizer.
                *(
                    getattr(requantizer, name).eq(
                        local_copy(m, getattr(self, name), f"{name}_{lane}")
                    )
                    for name in ("z_y", "lo", "hi")
                ),
                self.write.data[lane].eq(requantizer.o_y),
            ]

        writes = valid[-1] & ~last.store
        enables = delays(m, writes, Requantizer.latency, "write", reset_less=False)
        rows = delays(m, last.row, Requantizer.latency)
        beats = delays(m, last.beat, Requantizer.latency)
        ports = [(self.write, -1)]
        if self._config.fuses_additions:
            early = ResidualAdder.lead - TABLE_LATENCY * self._config.output.tables
            ports.append((self.coming, -1 - early))
        for port, place in ports:
            m.d.comb += [
                port.en.eq(enables[place]),
                port.row.eq(rows[place]),
                port.beat.eq(beats[place]),
            ]
        return m

    def _pairs(self, m: Module, beats: list, factor: Value) -> list[OperandPair]:
        """What takes both operands of each lane, if there are layers of two."""
        config, pairs = self._config, list[OperandPair]()
        if not config.vector.pairs:
            return pairs
        for lane in range(config.output.requantizers):
            pair = OperandPair(products=config.vector.products, target=self._target)
            m.submodules[f"pair_{lane}"] = pair
            m.d.comb += [
                pair.i_a.eq(beats[1].operand[lane]),
                pair.i_b.eq(beats[1].data[lane][:8]),
                pair.z_a.eq(local_copy(m, self.z_a, f"z_a_{lane}")),
                pair.z_b.eq(local_copy(m, self.z_b, f"z_b_{lane}")),
                pair.factor.eq(local_copy(m, factor, f"factor_{lane}")),
            ]
            if config.vector.products:
                m.d.comb += pair.multiply.eq(local_copy(m, self.multiply, f"multiply_{lane}"))
            pairs.append(pair)
        return pairs

    def _partial_sums(
        self, m: Module, beats: list, valid: list, pairs: list[OperandPair]
    ) -> list[Signal]:
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

        terms = [beats[3].data[lane] for lane in range(lanes)]
        if pairs:
            terms = [
                Mux(local_copy(m, self.pair, f"two_{lane}"), pairs[lane].o_sum, term)
                for lane, term in enumerate(terms)
            ]
        sums = [
            delay(m, (term + each)[:32].as_signed())
            for term, each in zip(terms, stored, strict=True)
        ]
        write = memory.write_port()
        m.d.comb += [
            write.addr.eq(beats[4].psum),
            write.data.eq(Cat(sums)),
            write.en.eq(valid[4] & beats[4].store),
        ]
        return sums
