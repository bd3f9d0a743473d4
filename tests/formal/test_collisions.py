# amaranth: UnusedElaboratable=no
"""No memory of the accelerator is read for use in the cycle in which the address is written."""

from amaranth.hdl import Cat, Mux, Signal

from formal.prover import Bench, mutated, prove, refute
from steelyard.contract import configure
from steelyard.contract.latencies import MINIMUM_DRAIN
from steelyard_hw.array.array import Drain
from steelyard_hw.array.scheduler import Scheduler
from steelyard_hw.output.stage import OutputStage
from steelyard_hw.shell.layer import Operation
from steelyard_hw.shell.sequencer import EventCounters, Sequencer

SMALL = configure(
    "array",
    lanes=4,
    columns=1,
    group=4,
    requantizers=2,
    window_groups=2,
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


def drains(minimum=None):
    """Scheduler with the cycles since the last pass ended."""
    bench = Bench()
    told = "from steelyard.contract.latencies import MINIMUM_DRAIN"
    changed = told, f"MINIMUM_DRAIN = {minimum}"
    module = mutated("steelyard_hw.array.scheduler", *changed) if minimum else None
    scheduler = (module.Scheduler if module else Scheduler)(SMALL)
    design = bench.add("dut", scheduler)
    columns = bench.constant(2, "columns")
    bench.assume(scheduler.layer.last_columns == columns)
    bench.assume((columns != 0) & (columns <= SMALL.engine.columns))
    bench.assume(~scheduler.start | (scheduler.layer.op == Operation.CONV))
    ends = scheduler.pass_end.valid
    since = Signal(range(32), init=31, name="since")
    bench.m.d.sync += since.eq(Mux(ends, 1, since + (since != 31)))
    bench.assume(~scheduler.start | (scheduler.done & (since >= MINIMUM_DRAIN)))
    fused = bench.constant(1, "fused")
    bench.assume(scheduler.layer.fused == fused)
    phase = Signal(range(SMALL.drain_beats), name="phase")
    bench.m.d.sync += phase.eq(Mux(scheduler.start, 0, phase + 1))
    bench.check("rhythm counted", design["beat"] == phase)
    bench.check("fused in step", ~(fused & design["in_step"]) | (phase == 1))
    bench.check("fused passes end in the rhythm", ~(fused & ends) | (phase == 1))
    bench.cover("out of the rhythm", ~fused & ends & (phase == 0))
    bench.cover("in the rhythm", fused & ends)
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
    bench.m.d.comb += [
        output.i_valid.eq(drain.o_valid),
        output.i.as_value().eq(drain.o.as_value()),
        drain.o_ready.eq(output.i_ready),
    ]
    ends = drain.pass_end.valid
    since = Signal(range(32), init=31, name="since")
    bench.m.d.sync += since.eq(Mux(ends, 1, since + (since != 31)))
    bench.assume(~ends | (since >= apart))
    bench.assume(~drain.start | ((since == 31) & ~ends))
    bench.assume(drain.layer.last_columns == SMALL.engine.columns)
    clashes(bench, design, "memory")
    return bench


def test_passes_end_far_enough_apart_and_partial_sums_never_read_what_they_write():
    prove(drains())
    prove(sums(), memory_words=0)


def test_a_shorter_drain_is_noticed():
    refute(drains(minimum=7))
    refute(sums(apart=3), memory_words=0)


def control(old="allowed.eq(is_register_read | ~self.busy)", new=None):
    """Host port and sequencer: whose memories they are."""
    bench = Bench()
    host = mutated("steelyard_hw.shell.host", old, new or old).HostPort(SMALL)
    sequencer = Sequencer(SMALL, settle=30)
    bench.add("host", host)
    bench.add("sequencer", sequencer)
    bench.m.d.comb += [
        host.busy.eq(sequencer.busy),
        sequencer.start.eq(host.start),
        sequencer.start_first.eq(host.start_first),
        sequencer.start_count.eq(host.start_count),
    ]
    busy = sequencer.busy
    strobes = host.bus.write | bench.past(host.bus.write, name="written")
    bench.check("the host writes in idle time only", ~strobes | ~busy)
    bench.check("a start finds the sequencer idle", ~host.start | ~busy)
    bench.cover("a write", host.bus.write)
    bench.cover("a run", busy)
    return bench


def test_the_host_writes_no_memory_while_a_network_runs():
    prove(control())


def test_a_host_port_that_does_not_wait_is_noticed():
    refute(control(new="allowed.eq(1)"))


def counters():
    """Counter memory: read for a visit, written three cycles later."""
    bench = Bench()
    dut = EventCounters(SMALL)
    bench.add("dut", dut)
    layer = bench.past(dut.layer, name="layer")
    bench.assume(~bench.begun | (dut.layer == layer))
    bench.assume(~dut.begin | ~dut.active)
    idle = Cat(*(~bench.past(dut.active, n, f"active_{n}") for n in range(1, 5))).all()
    bench.assume(~dut.begin | idle)
    bench.check("no clash", ~(dut.write.en & dut.active & (dut.read.addr == dut.write.addr)))
    bench.cover("a write beside a read", dut.write.en & dut.active)
    return bench


def test_the_counter_memory_never_reads_what_it_writes():
    prove(counters())
