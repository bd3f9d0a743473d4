# amaranth: UnusedElaboratable=no
"""No memory of the accelerator is read for use in the cycle in which the address is written."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from formal.prover import Bench, mutated, prove, refute
from steelyard.config import ArrayConfig
from steelyard_hw.accelerator import SETTLE
from steelyard_hw.array import Drain, SparseArray
from steelyard_hw.descriptor import Operation
from steelyard_hw.host import HostPort, Space
from steelyard_hw.loader import Loader
from steelyard_hw.output import OutputStage
from steelyard_hw.scheduler import MINIMUM_DRAIN, PassEnd, Scheduler
from steelyard_hw.sequencer import Sequencer
from steelyard_hw.walker import TileWalker

SMALL = ArrayConfig(
    lanes=4,
    columns=1,
    group=4,
    requantizers=2,
    window_groups=4,
    activation_words=16,
    weight_words=16,
    parameter_words=16,
    partial_sum_channels=2,
    max_layers=1,
)


def clashes(bench, design, name, used=None):
    """Check that a memory's read, where it is used, never meets a write."""
    memory = design.memories[name]
    [read], [write] = memory.reads, memory.writes
    reads = read.enable if used is None else read.enable & used
    meets = reads & write.enable & (read.address == write.address)
    bench.check(f"no clash in {name}", ~meets)
    bench.cover(f"{name} is written", write.enable)
    bench.cover(f"{name} is read", reads)


def unknown(bench, component):
    """Stand-in with the same ports whose outputs may be anything in every cycle."""

    class Unknown(wiring.Component):
        def __init__(self, config):
            super().__init__(component(config).signature)

        def elaborate(self, platform):
            m = Module()
            for name, member in self.signature.members.items():
                if member.flow.name == "Out":
                    port = Value.cast(getattr(self, name))
                    m.d.comb += port.eq(bench.free(port.shape(), f"unknown_{name}"))
            return m

    return Unknown


def counts(bench, design, name, running):
    """Lemma: a loop's flags say what its counter says."""
    left = design[f"scheduler.{name}"]
    bench.check(f"{name}: last", ~running | (design[f"scheduler.{name}_last"] == (left == 1)))
    bench.check(f"{name}: two", ~running | (design[f"scheduler.{name}_two"] == (left == 2)))
    bench.check(f"{name}: some left", ~running | (left != 0))
    return left


def ring(config=SMALL, old="m.d.sync += free.eq(free + self.group_free - taken)", new=None):
    """Loader and array on one layer: who holds which group of the window ring."""
    bench = Bench()
    module = mutated("steelyard_hw.loader", old, new or old)
    # Which tile and tap is loaded and when does not matter: it may be any.
    module.TileWalker = unknown(bench, TileWalker)
    loader, array = module.Loader(config), SparseArray(config)
    source, sink = bench.add("loader", loader), bench.add("array", array)
    layer = bench.constant(loader.layer.as_value().shape(), "layer_bits")
    start = bench.free(1, "start_now")
    bench.m.d.comb += [
        *(part.layer.as_value().eq(layer) for part in (loader, array)),
        *(part.start.eq(start) for part in (loader, array)),
        array.window_valid.eq(loader.window_valid),
        array.window_address.eq(loader.window_address),
        array.group_loaded.eq(loader.group_loaded),
        loader.group_free.eq(array.group_free),
    ]
    fields = loader.layer
    size = config.window_groups
    for name in ("chunk_groups", "last_chunk_groups"):
        bench.assume((fields[name] != 0) & (fields[name] <= size))
    bench.assume((fields.op == Operation.CONV) & (fields.chunks != 0) & (fields.passes != 0))

    stages = [source[f"flags_{n}"] for n in range(1, Loader.LATENCY + 1)]
    moving = Cat(*(stage[0] for stage in stages), sink.signals["window_valid"][0])
    bench.assume(~start | (bench.begun & loader.done & array.done & ~moving.any()))
    running = bench.latch(start, "started")

    head, loaded = sink["scheduler.head"], sink["scheduler.loaded"]
    group, passes_last = sink["scheduler.group"], sink["scheduler.passes_last"]
    chunks = counts(bench, sink, "chunks", running)
    groups = counts(bench, sink, "groups", running)
    for flag, field in (("chunk", "chunks"), ("group", "chunk_groups"),
                        ("group_last", "last_chunk_groups")):  # fmt: skip
        single = sink[f"scheduler.one_{flag}"]
        bench.check(f"one {flag}", ~running | (single == (fields[field] == 1)))
    present = Mux(chunks == 1, fields.last_chunk_groups, fields.chunk_groups)
    bench.check("groups are counted", ~running | (groups + group == present))

    freed = Mux(passes_last, group, 0)
    opened = (source["position"] != 0) | (source.signals["segment"][0] != 0)
    completed = sum(stage[1] for stage in stages)
    bench.check("every group is accounted for", ~running | (
        source["free"] + opened + completed + loaded == size + freed
    ))  # fmt: skip
    bench.check("freed groups were loaded", ~running | (freed <= loaded))
    bits = len(head)
    offset = len(source["position"])
    slot = (head + loaded)[:bits]
    later = 0
    for n, stage in reversed(list(enumerate(stages, 1))):
        place = stage[6 + offset : 6 + offset + bits]
        bench.check(f"stage {n} fills in order",
                    ~running | ~stage[0] | (place == (slot + later)[:bits]))  # fmt: skip
        bench.check(f"stage {n} completes with a word", ~stage[1] | stage[0])
        later = later + stage[1]
    bench.check("the loader fills in order",
                ~running | (source["address"][offset:] == (slot + later)[:bits]))  # fmt: skip

    # What the columns read is in no stage that could write while they do.
    reads = [(sink["scheduler.issue"], (head + group)[:bits])]
    control = sink.signals["control"][0]
    reads.append((control[0], control[2:]))
    reads.append((sink["column_0.valid_1"], sink["column_0.slot"]))
    filled = [(stage[0], stage[6 + offset : 6 + offset + bits]) for stage in stages]
    filled.append((sink.signals["window_valid"][0], sink.signals["window_address"][0][offset:]))
    writes = sink["column_0.writes"]
    filled.append((writes[0], writes[1 + offset : 1 + offset + bits]))
    for age, (used, read) in enumerate(reads):
        for n, (written, place) in enumerate(filled):
            if n >= age:
                bench.check(f"read {age} beside write {n}",
                            ~running | ~used | ~written | (read != place))  # fmt: skip
    clashes(bench, sink, "column_0.window", sink["column_0.valid_1"])
    bench.cover("the ring is used again", array.group_free & bench.past(source["address"] == 0))
    return bench


def test_window_memories_never_read_what_they_write():
    prove(ring(), memory_words=0)


def test_a_loader_that_takes_no_account_of_free_groups_is_noticed():
    broken = ring(new="m.d.sync += free.eq(free + self.group_free)")
    refute(broken, memory_words=0)


def drains(minimum=None):
    """Scheduler with the cycles since the last pass ended."""
    bench = Bench()
    module = mutated("steelyard_hw.scheduler", "MINIMUM_DRAIN = 8", f"MINIMUM_DRAIN = {minimum}"
                     ) if minimum else None  # fmt: skip
    scheduler = (module.Scheduler if module else Scheduler)(SMALL)
    design = bench.add("dut", scheduler)
    columns = bench.constant(2, "columns")
    bench.assume(scheduler.layer.last_columns == columns)
    bench.assume((columns != 0) & (columns <= SMALL.columns))
    bench.assume(~scheduler.start | (scheduler.layer.op == Operation.CONV))
    ends = scheduler.pass_end.valid
    since = Signal(range(32), init=31, name="since")
    bench.m.d.sync += since.eq(Mux(ends, 1, since + (since != 31)))
    bench.assume(~scheduler.start | (scheduler.done & (since >= MINIMUM_DRAIN)))
    drained, left = design["drained"], design["left"]
    bench.check("counted", drained | (left + since == MINIMUM_DRAIN) | (since == 31))
    bench.check("not drained too early", ~drained | (since >= MINIMUM_DRAIN))
    bench.check("apart", ~ends | (since >= MINIMUM_DRAIN))
    bench.cover("as soon as can be", ends & (since == MINIMUM_DRAIN))
    return bench


def sums(apart=MINIMUM_DRAIN):
    """Drain and output stage behind passes that end `apart` cycles apart, or more."""
    bench = Bench()
    drain, output = Drain(SMALL), OutputStage(SMALL)
    bench.add("drain", drain)
    design = bench.add("output", output)
    bench.m.d.comb += [output.i_valid.eq(drain.o_valid), output.i.as_value().eq(drain.o.as_value())]
    ends = drain.pass_end.valid
    since = Signal(range(32), init=31, name="since")
    bench.m.d.sync += since.eq(Mux(ends, 1, since + (since != 31)))
    bench.assume(~ends | (since >= apart))
    bench.assume(~drain.start | ((since == 31) & ~ends))
    bench.assume(drain.layer.last_columns == SMALL.columns)
    clashes(bench, design, "memory")
    return bench


def test_passes_end_far_enough_apart_and_partial_sums_never_read_what_they_write():
    prove(drains())
    prove(sums(), memory_words=0)


def test_a_shorter_drain_is_noticed():
    refute(drains(minimum=7))
    refute(sums(apart=3), memory_words=0)


def control(old="allowed.eq(is_register_read | ~", new=None):
    """Host port and sequencer: whose memories they are."""
    bench = Bench()
    host = mutated("steelyard_hw.host", old, new or old).HostPort(SMALL)
    sequencer = Sequencer(SMALL, settle=SETTLE)
    port, runner = bench.add("host", host), bench.add("sequencer", sequencer)
    bench.m.d.comb += [
        host.busy.eq(sequencer.busy),
        sequencer.start.eq(host.start),
        sequencer.start_first.eq(host.start_first),
        sequencer.start_count.eq(host.start_count),
    ]
    bench.assume(host.start_count < 4)
    busy, guard = sequencer.busy, port["guard"]
    soon = host.start | (guard == HostPort.START_GUARD)
    strobes = host.bus_write | bench.past(host.bus_write, name="written")
    private = host.bus_space != Space.REGISTERS
    bench.check("the host writes in idle time only", ~strobes | ~(busy | soon))
    bench.check("it reads there too", ~host.bus_read | ~private | ~(busy | soon))
    bench.check("never both", ~host.bus_write | ~host.bus_read)
    bench.check("counters are written in busy time only", ~sequencer.counter_write | busy)
    bench.check("a start finds the sequencer idle", ~host.start | ~busy)
    bench.cover("a write", host.bus_write)
    bench.cover("a read", host.bus_read & private)
    bench.cover("a run", busy)
    return bench
