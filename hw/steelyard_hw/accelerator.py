"""Accelerator: host port, memories, sequencer and engines (docs/architecture.md)."""

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig
from steelyard.contract.latencies import settle
from steelyard.contract.registers import COUNTERS, MAGIC, REGISTERS, VERSION, Register, Space

from .cells.target import Target, local_copy
from .engine import engine_class
from .lib.delay import delay
from .load.loader import Loader
from .memory.port import MemoryPort
from .memory.reads import LATENCY_BITS
from .output.lane_sum import LaneSum
from .output.residual import ResidualAdder
from .output.serial import SerialOutputStage
from .output.stage import Beat, OutputStage
from .output.tables import LookupTables
from .output.tags import VectorTags
from .output.vector import VectorUnit
from .shell.decoder import HostDecoder
from .shell.host import HostPort
from .shell.layer import DESCRIPTOR_WORDS, Operation, joins
from .shell.memory import ActivationMemory, ItemMemory
from .shell.moved import MovedCrc
from .shell.mover import Mover
from .shell.ports import HostBus
from .shell.sequencer import Sequencer
from .shell.weights import WeightFetch
from .shell.weights_direct import DirectFetch

__all__ = ["Accelerator"]

REGISTER_RANGE = 1 << (REGISTERS - 1).bit_length()
"""Addresses of registers, also of those without a meaning."""


def output_stage(config: AcceleratorConfig) -> type[OutputStage] | type[SerialOutputStage]:
    """Kind of output stage of a configuration."""
    return OutputStage if config.output.requantizer_cycles == 1 else SerialOutputStage


def weight_fetch(config: AcceleratorConfig) -> type[WeightFetch] | type[DirectFetch]:
    """Kind of weight fetch of a configuration."""
    return WeightFetch if config.memory.weight_queue else DirectFetch


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
        A network is running, or words are moved.
    external : ``Out(MemoryPort)``
        External memory, only of a configuration that has one. A reset leaves bursts unfinished:
        what is behind the port must be reset as well, or be told by a
        :class:`.memory.guard.PortGuard`.
    begins : ``Out(1)``
        Strobe: a run begins; beside `external`.
    read_latency : ``Out(3)``
        Read latency that the host has chosen, 0 for none; beside `external`.
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
                **(self._external_members(config) if config.memory.external_words else {}),
            }
        )

    @staticmethod
    def _external_members(config):
        port = MemoryPort(config.memory.external_address_bits)
        return {"external": Out(port), "begins": Out(1), "read_latency": Out(LATENCY_BITS)}

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
            host.busy.eq(self.busy),
            sequencer.start.eq(host.start),
            sequencer.start_first.eq(host.start_first),
            sequencer.start_count.eq(host.start_count),
        ]
        wiring.connect(m, sequencer.descriptors, descriptors.read)
        array = self._engines(m, sequencer, parameters, weights, activations)
        spaces = {
            Space.DESCRIPTORS: descriptors.host,
            Space.PARAMETERS: parameters.host,
            Space.WEIGHTS: weights.host,
            Space.ACTIVATIONS: activations.host,
        }
        if array.COUNTERS is not None:
            spaces[Space.UNITS] = self._own_counters(m, sequencer, array)
        self._host_bus(m, host, sequencer, spaces, activations)
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
            loader.group_free.eq(array.group_free),
            array.layer.eq(layer),
            array.start.eq(sequencer.convolve),
            array.word.eq(loader.word.as_value()),
            array.window_valid.eq(loader.window_valid),
            array.window_address.eq(loader.window_address),
            array.group_loaded.eq(loader.group_loaded),
        ]
        wiring.connect(m, loader.read, activations.read)
        if config.engine.window_lanes > config.engine.lanes:
            wiring.connect(m, loader.edges, array.edges)
        self._weight_fetch(m, sequencer, weights, array)
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
                output.write.en & (output.write.beat == config.drain_beats - 1),
                loader.vector_valid,
            )
        )
        return array

    def _own_counters(self, m, sequencer, engine):
        """Counters that only this engine has, in step with the sequencer's own; their host bus."""
        m.submodules.unit_counters = counters = engine.COUNTERS(self._config)
        m.d.comb += [
            counters.start.eq(sequencer.go),
            counters.event.eq(engine.event),
            counters.store.eq(sequencer.counter_write.en),
            counters.store_address.eq(sequencer.counter_write.addr),
        ]
        return counters.host

    def _weight_fetch(self, m, sequencer, weights, array):
        """Stream a convolution's weights to the array, once a tile."""
        layer = sequencer.layer
        late = "taken" in array.signature.members
        options = {"taken": late} if late else {}
        m.submodules.fetch = fetch = weight_fetch(self._config)(self._config, **options)
        if isinstance(fetch, WeightFetch):
            m.d.comb += fetch.repeats.eq(layer.out_tiles)
        if late:
            m.d.comb += array.taken.eq(fetch.taken)
        m.d.comb += [
            fetch.base.eq(layer.weight_base),
            fetch.count.eq(layer.weight_count),
            fetch.start.eq(sequencer.convolve),
        ]
        wiring.connect(m, fetch.read, weights.read)
        wiring.connect(m, fetch.o, array.weights)

    def _vector(self, m, layer, go, loader):
        """Vector unit behind the loader."""
        m.submodules.vector = vector = VectorUnit(self._config)
        m.submodules.tags = tags = VectorTags(self._config)
        config = self._config
        valid, first, last = loader.vector_valid, loader.vector_first, loader.vector_last
        if config.vector.adds_lanes:
            m.submodules.lane_sum = lanes = LaneSum(config)
            m.d.comb += [
                lanes.count.eq(layer.lane_sum),
                lanes.i_valid.eq(valid),
                lanes.i_first.eq(first),
                lanes.i_last.eq(last),
                lanes.i_ends.eq(loader.vector_ends),
                lanes.i_data.as_value().eq(loader.word.as_value()),
                vector.across.eq(lanes.across),
                vector.i_total.eq(lanes.o_total),
            ]
            valid, first, last = lanes.o_valid, lanes.o_first, lanes.o_last
        m.d.comb += [
            tags.layer.eq(layer),
            tags.start.eq(go),
            tags.advance.eq(
                valid & last
                if config.vector.tag_registers
                else vector.o_valid & vector.o_ready & (vector.o.beat == config.drain_beats - 1)
            ),
            vector.i_valid.eq(valid),
            vector.i_data.as_value().eq(loader.word.as_value()),
            vector.i_first.eq(first),
            vector.i_last.eq(last),
            vector.mode.eq(delay(m, layer.op != Operation.MAX_POOL, 1, "mode")),
            vector.i_param.eq(tags.param),
            vector.i_row.eq(tags.row),
        ]
        if config.vector.pairs:
            m.d.comb += vector.pair.eq(delay(m, joins(layer, config), 1, "two"))
        return vector

    def _output(self, m, sequencer, array, vector, parameters, activations):
        """Output stage behind array and vector unit, of which only one works in a layer."""
        layer = sequencer.layer
        stage = output_stage(self._config)
        target = (self._target,) if stage is OutputStage else ()
        if vector is None:
            beat, valid = array.o.as_value(), array.o_valid
        else:
            beat = self._beat(m, layer.op == Operation.CONV, array.o, vector.o)
            valid = array.o_valid | vector.o_valid
        m.submodules.output = output = stage(self._config, *target)
        m.d.comb += [
            output.i_valid.eq(valid),
            output.i.eq(beat),
            array.o_ready.eq(output.i_ready),
            output.z_y.eq(layer.z_y),
            output.lo.eq(layer.lo),
            output.hi.eq(layer.hi),
        ]
        if self._config.vector.pairs:
            m.d.comb += [
                output.pair.eq(delay(m, joins(layer, self._config), 1, "pair")),
                output.z_a.eq(layer.z_a),
                output.z_b.eq(layer.z_b),
                output.param.eq(layer.param_base),
            ]
        if self._config.vector.products:
            m.d.comb += output.multiply.eq(delay(m, layer.op == Operation.MUL, 1, "multiply"))
        if self._config.output.tables:
            results = self._tables(m, sequencer, output, parameters).write
        else:
            wiring.connect(m, output.parameters, parameters.read)
            results = output.write
        if self._config.fuses_additions:
            m.submodules.residual = residual = ResidualAdder(self._config, self._target)
            m.d.comb += residual.layer.eq(layer)
            wiring.connect(m, output.coming, residual.coming)
            wiring.connect(m, residual.addend, activations.addend)
            wiring.connect(m, results, residual.results)
            results = residual.write
        wiring.connect(m, results, activations.write)
        if vector is not None:
            m.d.comb += vector.o_ready.eq(output.i_ready)
        return output

    def _beat(self, m, convolution, of_array, of_vector):
        """The beat of the array or of the vector unit, by what kind of layer it is.

        That is static, so none of the many selections waits for what happens in a cycle.
        """
        config = self._config
        chosen = Signal(Beat(config))
        for name in Beat(config).members:
            wide = name in ("data", "operand")
            for lane in range(config.output.requantizers if wide else 1):
                mine, one, other = (
                    each[name][lane] if wide else each[name]
                    for each in (chosen, of_array, of_vector)
                )
                kind = local_copy(m, convolution, f"convolution_{name}_{lane}")
                m.d.comb += mine.eq(Mux(kind, one, other))
        return chosen

    def _tables(self, m, sequencer, output, parameters):
        """Tables behind the output stage, copied from the parameters before a layer begins."""
        m.submodules.tables = tables = LookupTables(self._config)
        m.d.comb += [
            tables.copy.eq(sequencer.copy),
            sequencer.copied.eq(tables.copied),
            tables.base.eq(sequencer.layer.table_base),
            tables.data.eq(parameters.read.data[:64]),
            tables.enable.eq(sequencer.layer.table),
            parameters.read.en.eq(sequencer.copy | output.parameters.en),
            parameters.read.addr.eq(Mux(sequencer.copy, tables.address, output.parameters.addr)),
            output.parameters.data.eq(parameters.read.data),
        ]
        wiring.connect(m, output.write, tables.results)
        return tables

    def _host_bus(self, m, host, sequencer, spaces, activations):
        """The host's word bus: memories, registers and counters."""
        depth = self._config.memory.max_layers * len(COUNTERS)
        m.submodules.counters = counters = memory.Memory(shape=32, depth=depth, init=[])
        if self._config.memory.external_words:
            spaces = self._external(m, host, sequencer, spaces, activations)
            moved_crc = m.submodules.moved.crc
        else:
            moved_crc = None
            m.d.comb += self.busy.eq(sequencer.busy)
        m.submodules.decoder = decoder = HostDecoder(
            host.bus.signature,
            {space: bus.signature.flip() for space, bus in spaces.items()}
            | {Space.REGISTERS: HostBus(REGISTER_RANGE, 1), Space.COUNTERS: HostBus(depth, 1)},
            registered=self._config.memory.read_registers,
        )
        wiring.connect(m, host.bus, decoder.host)
        for space, bus in spaces.items():
            wiring.connect(m, decoder.bus(space), bus)
        read, shown = counters.read_port(), decoder.bus(Space.COUNTERS)
        wiring.connect(m, sequencer.counter_write, counters.write_port())
        m.d.comb += [
            decoder.space.eq(host.space),
            read.addr.eq(Mux(sequencer.busy, sequencer.counter_read.addr, shown.address)),
            sequencer.counter_read.data.eq(read.data),
        ]
        # No long way behind the slow output of a block RAM.
        shows = m.d.sync if self._config.memory.read_registers else m.d.comb
        shows += shown.result.eq(read.data)
        self._registers(m, sequencer, decoder.bus(Space.REGISTERS), moved_crc)

    def _external(self, m, host, sequencer, spaces, activations):
        """External memory, which is the mover's while moves are under way, else the host's.

        Buses of the memories, with those that words are moved into shared between host and mover.
        """
        m.submodules.mover = mover = Mover(self._config, host.bus.signature)
        wiring.connect(m, sequencer.moves, mover.moves)
        wiring.connect(m, mover.activations, activations.moved)
        moving, any_moves = self.busy, Signal()
        m.d.sync += any_moves.eq(mover.under_way != 0)
        external, mine, hosts = self.external, mover.port, host.external
        m.d.comb += [
            # Counted a cycle late: this selects nearly everywhere.
            moving.eq(sequencer.busy | any_moves),
            sequencer.under_way.eq(mover.under_way),
            self.begins.eq(host.start),
            external.command.payload.eq(
                Mux(moving, mine.command.payload.as_value(), hosts.command.payload.as_value())
            ),
            external.command.valid.eq(Mux(moving, mine.command.valid, hosts.command.valid)),
            mine.command.ready.eq(moving & external.command.ready),
            hosts.command.ready.eq(~moving & external.command.ready),
            external.write.payload.eq(Mux(moving, mine.write.payload, hosts.write.payload)),
            external.write.valid.eq(Mux(moving, mine.write.valid, hosts.write.valid)),
            mine.write.ready.eq(moving & external.write.ready),
            hosts.write.ready.eq(~moving & external.write.ready),
            mine.read.payload.eq(external.read.payload),
            mine.read.valid.eq(moving & external.read.valid),
            hosts.read.payload.eq(external.read.payload),
            hosts.read.valid.eq(~moving & external.read.valid),
            external.read.ready.eq(Mux(moving, mine.read.ready, hosts.read.ready)),
        ]
        m.submodules.moved = moved = MovedCrc()
        m.d.comb += [
            moved.clear.eq(host.start),
            moved.valid.eq(mover.bus.write),
            moved.word.eq(mover.bus.data),
        ]
        # Words to these come a cycle later: moves end several before a layer uses what they
        # brought. Who has the buses is told as late, for the decoder is.
        wait = int(self._config.memory.read_registers)
        late = delay(m, moving, wait, "moving", reset_less=False)
        place = {
            name: delay(m, getattr(mover.bus, name), 1, f"moved_{name}")
            for name in ("address", "sub", "data")
        }
        shared = dict(spaces)
        for space in (Space.DESCRIPTORS, Space.PARAMETERS, Space.WEIGHTS):
            to = spaces[space]
            own = shared[space] = to.signature.create(path=("host", space.name.lower()))
            name = space.name.lower()
            written = mover.bus.write & (mover.space == space)
            write = delay(m, written, 1, f"moved_write_{name}", reset_less=False)
            m.d.comb += [
                to.select.eq(own.select),
                *(
                    getattr(to, each).eq(Mux(late, mine, getattr(own, each)))
                    for each, mine in place.items()
                ),
                to.write.eq(Mux(late, write, own.write)),
                own.result.eq(to.result),
            ]
        return shared

    def _registers(self, m, sequencer, bus, moved_crc):
        """What the host reads of the configuration and of the run, and what it chooses."""
        digest = self._config.hash()
        registers = [Const(0, 32)] * REGISTER_RANGE
        registers[Register.MAGIC] = Const(MAGIC, 32)
        registers[Register.VERSION] = Const(VERSION, 32)
        for word in range(8):
            value = int.from_bytes(digest[4 * word : 4 * word + 4], "little")
            registers[Register.HASH + word] = Const(value, 32)
        registers[Register.STATUS] = Cat(self.busy, sequencer.finished, Const(0, 30))
        registers[Register.TOTAL] = sequencer.total
        if self._config.memory.external_words:
            chosen = Signal.like(self.read_latency, reset_less=False)
            with m.If(bus.write & (bus.address == Register.READ_LATENCY)):
                m.d.sync += chosen.eq(bus.data)
            m.d.comb += self.read_latency.eq(chosen)
            registers[Register.READ_LATENCY] = chosen
            registers[Register.MOVED_CRC] = moved_crc
        register = Signal(32, reset_less=True)
        m.d.sync += register.eq(Array(registers)[bus.address])
        m.d.comb += bus.result.eq(register)
