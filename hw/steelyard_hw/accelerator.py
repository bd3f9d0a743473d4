"""Accelerator: host port, memories, sequencer and engines (docs/architecture.md)."""

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig
from steelyard.contract.latencies import settle
from steelyard.contract.registers import COUNTERS, MAGIC, REGISTERS, VERSION, Register, Space

from .cells.target import Target
from .engine import engine_class
from .lib.countdown import Countdown
from .load.loader import Loader
from .output.serial import SerialOutputStage
from .output.stage import OutputStage
from .output.tables import LookupTables
from .output.vector import VectorUnit
from .shell.host import HostPort
from .shell.layer import DESCRIPTOR_WORDS, LayerLayout, Operation, joins
from .shell.memory import ActivationMemory, ItemMemory
from .shell.sequencer import Sequencer
from .shell.weights import WeightFetch
from .shell.weights_direct import DirectFetch

__all__ = ["Accelerator"]


def output_stage(config: AcceleratorConfig) -> type[OutputStage] | type[SerialOutputStage]:
    """Kind of output stage of a configuration."""
    return OutputStage if config.output.requantizer_cycles == 1 else SerialOutputStage


def weight_fetch(config: AcceleratorConfig) -> type[WeightFetch] | type[DirectFetch]:
    """Kind of weight fetch of a configuration."""
    return WeightFetch if config.memory.weight_queue else DirectFetch


class VectorTags(wiring.Component):
    """Parameters and output row of each word that the vector unit finishes, in their fixed order.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Members
    -------
    layer : ``In(LayerLayout)``
    start : ``In(1)``
    advance : ``In(1)``
        A word with the last tap of its window passes, or without `tag_registers` its last beat.
    operand : ``In(1)``
        It belongs to the second operand of an add or product.
    param, row : ``Out``
        Of that word, in the same cycle.
    """

    def __init__(self, config: AcceleratorConfig):
        self._config = config
        super().__init__(
            {
                "layer": In(LayerLayout(config)),
                "start": In(1),
                "advance": In(1),
                "operand": In(1),
                "param": Out(range(config.memory.parameter_words)),
                "row": Out(range(config.memory.activation_words)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        layer = self.layer
        two = joins(layer, self._config)
        channels = Countdown("channels", layer.in_channels.shape())
        channel = Signal.like(self.param)
        one_channel = Signal()
        tile_row = Signal.like(self.row)
        row = Signal.like(self.row)
        last = channels.last
        m.d.comb += [
            self.row.eq(row),
            self.param.eq(layer.param_base + Mux(two, self.operand, channel)),
        ]
        with m.If(self.advance & (~two | self.operand)):
            channels.step(m, layer.in_channels, one_channel)
            m.d.sync += [channel.eq(Mux(last, 0, channel + 1)), row.eq(row + layer.out_pitch)]
            with m.If(last):
                m.d.sync += [row.eq(tile_row + 1), tile_row.eq(tile_row + 1)]
        with m.If(self.start):
            channels.begin(m, layer.in_channels)
            m.d.sync += one_channel.eq(layer.in_channels == 1)
            m.d.sync += [channel.eq(0), row.eq(layer.out_base), tile_row.eq(layer.out_base)]
        return m


class Accelerator(wiring.Component):
    """CNN accelerator behind two streams of 32-bit words.

    Its engine is that of the configuration, see :mod:`steelyard_hw.engine`.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
    target : :class:`.target.Target`
        Whose cells to instantiate; results and cycles do not depend on it.

    Members
    -------
    i : ``In(stream.Signature(32))``
        Commands (docs/architecture.md, section 7).
    o : ``Out(stream.Signature(32))``
        Answers.
    busy : ``Out(1)``
        A network is running.
    """

    def __init__(self, config: AcceleratorConfig, target: Target = Target.PORTABLE):
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"Configuration must be an AcceleratorConfig, not {config!r}")
        self._config = config
        self._target = target
        super().__init__(
            {
                "i": In(stream.Signature(32)),
                "o": Out(stream.Signature(32)),
                "busy": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        m.submodules.host = host = HostPort(config)
        m.submodules.sequencer = sequencer = Sequencer(config, settle=settle(config))
        m.submodules.descriptors = descriptors = ItemMemory(
            config.memory.max_layers * DESCRIPTOR_WORDS,
            1,
            bits=32,
            registered=config.memory.read_registers,
        )
        m.submodules.parameters = parameters = ItemMemory(
            config.memory.parameter_words,
            len(config.parameter_bits),
            bits=sum(config.parameter_bits),
            registered=config.memory.read_registers,
        )
        m.submodules.weights = weights = ItemMemory(
            config.memory.weight_words,
            config.engine.weight_item_words,
            bits=config.engine.weight_item_bits,
            read_latency=weight_fetch(config).MEMORY_LATENCY,
            registered=config.memory.weight_queue,
        )
        m.submodules.activations = activations = ActivationMemory(config)

        wiring.connect(m, wiring.flipped(self.i), host.i)
        wiring.connect(m, host.o, wiring.flipped(self.o))
        m.d.comb += [
            self.busy.eq(sequencer.busy),
            sequencer.start.eq(host.start),
            sequencer.start_first.eq(host.start_first),
            sequencer.start_count.eq(host.start_count),
            sequencer.data.eq(descriptors.data),
            descriptors.address.eq(sequencer.address),
        ]
        array = self._engines(m, sequencer, parameters, weights, activations)
        if array.COUNTERS is not None:
            self._own_counters(m, host, sequencer, array)
        memories = {
            Space.DESCRIPTORS: descriptors,
            Space.PARAMETERS: parameters,
            Space.WEIGHTS: weights,
            Space.ACTIVATIONS: activations,
        }
        self._host_bus(m, host, sequencer, memories)
        return m

    def _engines(self, m, sequencer, parameters, weights, activations):
        """Loader, array, vector unit and output stage between the memories; the array."""
        config = self._config
        layer, go = sequencer.layer, sequencer.go
        m.submodules.loader = loader = Loader(config)
        m.submodules.array = array = engine_class(config)(config, self._target)
        m.d.comb += [
            loader.layer.eq(layer),
            loader.start.eq(go),
            loader.read_data.eq(activations.data),
            loader.group_free.eq(array.group_free),
            activations.read_row.eq(loader.read_row),
            activations.read_split.eq(loader.read_split),
            array.layer.eq(layer),
            array.start.eq(go),
            array.word.eq(loader.word.as_value()),
            array.window_valid.eq(loader.window_valid),
            array.window_address.eq(loader.window_address),
            array.group_loaded.eq(loader.group_loaded),
        ]
        self._weight_fetch(m, layer, go, weights, array)
        vector = self._vector(m, layer, go, loader) if config.vector.bits else None
        output = self._output(m, sequencer, array, vector, parameters, activations)
        m.d.comb += sequencer.active.eq(
            ~loader.done | ~array.done | array.busy | output.i_valid | loader.vector_valid
        )
        # Counted a cycle late: what stalls is decided late in a cycle.
        m.d.sync += sequencer.events.eq(
            Cat(
                array.issue,
                array.stall_load,
                array.stall_weights,
                array.stall_drain,
                loader.window_valid | loader.vector_valid,
                output.o_valid & (output.o_beat == config.drain_beats - 1),
                loader.vector_valid,
            )
        )
        return array

    def _own_counters(self, m, host, sequencer, engine):
        """Counters that only this engine has, which keep step with the sequencer's own."""
        m.submodules.unit_counters = counters = engine.COUNTERS(self._config)
        word = Signal(32, reset_less=True)
        m.d.sync += word.eq(counters.data.word_select(host.bus_sub[0], 32))
        m.d.comb += [
            counters.start.eq(sequencer.go),
            counters.event.eq(engine.event),
            counters.store.eq(sequencer.counter_write),
            counters.store_address.eq(sequencer.counter_write_address),
            counters.address.eq(host.bus_address),
        ]
        with m.If(host.bus_space == Space.UNITS):
            m.d.comb += host.bus_result.eq(word)

    def _weight_fetch(self, m, layer, go, weights, array):
        """Stream a convolution's weights to the array, once a tile."""
        m.submodules.fetch = fetch = weight_fetch(self._config)(self._config)
        if isinstance(fetch, WeightFetch):
            m.d.comb += fetch.repeats.eq(layer.out_tiles)
        else:
            m.d.comb += weights.enable.eq(fetch.read)
        m.d.comb += [
            fetch.base.eq(layer.weight_base),
            fetch.count.eq(layer.weight_count),
            fetch.start.eq(go & (layer.op == Operation.CONV)),
            fetch.data.eq(weights.data),
            weights.address.eq(fetch.address),
        ]
        wiring.connect(m, fetch.o, array.weights)

    def _vector(self, m, layer, go, loader):
        """Vector unit behind the loader."""
        m.submodules.vector = vector = VectorUnit(self._config)
        m.submodules.tags = tags = VectorTags(self._config)
        config = self._config
        two = joins(layer, config)
        m.d.comb += [
            tags.layer.eq(layer),
            tags.start.eq(go),
            tags.advance.eq(
                loader.vector_valid & loader.vector_last
                if config.vector.tag_registers
                else vector.o_valid & vector.o_ready & (vector.o.beat == config.drain_beats - 1)
            ),
            tags.operand.eq(loader.vector_operand),
            vector.i_valid.eq(loader.vector_valid),
            vector.i_data.eq(loader.word),
            vector.i_first.eq(loader.vector_first),
            vector.i_last.eq(loader.vector_last),
            vector.mode.eq(layer.op != Operation.MAX_POOL),
            vector.i_param.eq(tags.param),
            vector.i_row.eq(tags.row),
            vector.i_hold.eq(two & ~loader.vector_operand),
            vector.i_join.eq(two & loader.vector_operand),
        ]
        return vector

    def _output(self, m, sequencer, array, vector, parameters, activations):
        """Output stage behind array and vector unit, of which only one works in a layer."""
        layer = sequencer.layer
        stage = output_stage(self._config)
        target = (self._target,) if stage is OutputStage else ()
        if vector is None:
            beat, valid = array.o.as_value(), array.o_valid
        else:
            beat = Mux(array.o_valid, array.o.as_value(), vector.o.as_value())
            valid = array.o_valid | vector.o_valid
        m.submodules.output = output = stage(self._config, *target)
        m.d.comb += [
            output.i_valid.eq(valid),
            output.i.eq(beat),
            array.o_ready.eq(output.i_ready),
            output.z_y.eq(layer.z_y),
            output.lo.eq(layer.lo),
            output.hi.eq(layer.hi),
            output.param_data.eq(parameters.data),
            parameters.address.eq(output.param_address),
        ]
        if self._config.vector.products:
            m.d.comb += [
                output.multiply.eq(layer.op == Operation.MUL),
                output.z_a.eq(layer.z_a),
                output.z_b.eq(layer.z_b),
            ]
        last = output
        if self._config.output.tables:
            last = self._tables(m, sequencer, output, parameters)
        m.d.comb += [
            activations.write_valid.eq(last.o_valid),
            activations.write_row.eq(last.o_row),
            activations.write_beat.eq(last.o_beat),
            activations.write_data.eq(last.o_data),
        ]
        if vector is not None:
            m.d.comb += vector.o_ready.eq(output.i_ready)
        return output

    def _tables(self, m, sequencer, output, parameters):
        """Tables behind the output stage, copied from the parameters before a layer begins."""
        m.submodules.tables = tables = LookupTables(self._config)
        m.d.comb += [
            tables.copy.eq(sequencer.copy),
            sequencer.copied.eq(tables.copied),
            tables.base.eq(sequencer.layer.table_base),
            tables.data.eq(parameters.data[:64]),
            tables.enable.eq(sequencer.layer.table),
            tables.i_valid.eq(output.o_valid),
            tables.i_row.eq(output.o_row),
            tables.i_beat.eq(output.o_beat),
            tables.i_data.eq(output.o_data),
        ]
        with m.If(sequencer.copy):
            m.d.comb += parameters.address.eq(tables.address)
        return tables

    def _host_bus(self, m, host, sequencer, memories):
        """The host's word bus: memories, registers and counters."""
        config = self._config
        m.d.comb += host.busy.eq(sequencer.busy)
        m.submodules.counters = counters = memory.Memory(
            shape=32, depth=config.memory.max_layers * len(COUNTERS), init=[]
        )
        count = counters.write_port()
        read = counters.read_port()
        m.d.comb += [
            count.en.eq(sequencer.counter_write),
            count.addr.eq(sequencer.counter_write_address),
            count.data.eq(sequencer.counter_write_data),
            read.addr.eq(Mux(sequencer.busy, sequencer.counter_read_address, host.bus_address)),
            sequencer.counter_read_data.eq(read.data),
        ]

        digest = config.hash()
        registers = [Const(0, 32) for _ in range(1 << (REGISTERS - 1).bit_length())]
        registers[Register.MAGIC] = Const(MAGIC, 32)
        registers[Register.VERSION] = Const(VERSION, 32)
        for word in range(8):
            value = int.from_bytes(digest[4 * word : 4 * word + 4], "little")
            registers[Register.HASH + word] = Const(value, 32)
        registers[Register.STATUS] = Cat(sequencer.busy, sequencer.finished, Const(0, 30))
        registers[Register.TOTAL] = sequencer.total
        register = Signal(32, reset_less=True)
        m.d.sync += register.eq(Array(registers)[host.bus_address[:4]])

        results = {}
        for space, target in memories.items():
            m.d.comb += [
                target.host_select.eq(~sequencer.busy),
                target.host_address.eq(host.bus_address),
                target.host_sub.eq(host.bus_sub),
                target.host_write.eq(host.bus_write & (host.bus_space == space)),
                target.host_data.eq(host.bus_data),
            ]
            results[space] = target.host_result

        results[Space.REGISTERS] = register
        results[Space.COUNTERS] = read.data
        with m.Switch(host.bus_space):
            for space, result in results.items():
                with m.Case(space):
                    m.d.comb += host.bus_result.eq(result)
