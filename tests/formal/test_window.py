# amaranth: UnusedElaboratable=no
"""The window memory is a ring: no group of it is written while items read it.

The proof has two parts. Loader and scheduler never name the same group in one cycle, for any tiles
and taps; and both ways into the window memories have the same number of registers.
"""

import pytest
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring

from formal.prover import Bench, mutated, prove, refute
from steelyard.contract import configure
from steelyard.contract.latencies import loader_latency
from steelyard_hw.load.taps import TapSequence
from steelyard_hw.load.walker import TileWalker
from steelyard_hw.shell.layer import Operation

SMALL = configure(
    "array",
    lanes=4,
    columns=2,
    group=4,
    requantizers=2,
    window_groups=2,
    activation_words=16,
    weight_words=16,
    parameter_words=16,
    partial_sum_channels=2,
    max_layers=1,
)


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
                    m.d.comb += port.eq(bench.free(port.shape(), f"any_{name}"))
            if component is TileWalker:
                same = segments_stay(bench, self)
                bench.assume(same)
            return m

    return Unknown


def segments_stay(bench, walker):
    """The tile in use keeps its number of segments: what the proof asks of the walker."""
    taken = bench.past(walker.take | walker.start, name="tile_taken")
    before = bench.past(walker.segments_last, name="segments_before")
    return taken | ~bench.begun | (walker.segments_last == before)


def total(values):
    """Sum in 6 bits."""
    return sum((Value.cast(value) for value in values), start=Const(0, 1))[:6]


def words_in_flight(bench, loader, design, config):
    """Count, in the loader's pipeline, the words from the oldest on.

    Returns how many groups end there, and whether the places count on to the word issued next.
    """
    place = loader.window_address[: (config.engine.group - 1).bit_length()]
    sound = Const(1, 1)
    ends = []
    for stage in range(loader_latency(config), 0, -1):
        flags = design[f"flags_{stage}"]
        word, end = flags[0], flags[1]
        sound &= ~end | word
        sound &= ~word | end | (place != config.engine.group - 1)
        place = Mux(word, Mux(end, 0, place + 1), place)[: len(place)]
        ends.append(end)
    return total(ends), sound & (place == design["position"])


def ring(*pieces, where="loader", config=SMALL):
    """Loader and scheduler on layers of one shape: who holds which group; `pieces` are replaced."""
    bench = Bench()
    paths = {"loader": "steelyard_hw.load.loader", "scheduler": "steelyard_hw.array.scheduler"}
    modules = {
        name: mutated(path, *(pieces if name == where else ())) for name, path in paths.items()
    }
    modules["loader"].TileWalker = unknown(bench, TileWalker)
    modules["loader"].TapSequence = unknown(bench, TapSequence)
    loader = modules["loader"].Loader(config)
    scheduler = modules["scheduler"].Scheduler(config)
    load, read = bench.add("loader", loader), bench.add("scheduler", scheduler)
    layer_bits = bench.constant(loader.layer.as_value().shape(), "layer_bits")
    start = bench.free(1, "start_now")
    bench.m.d.comb += [
        *(part.layer.as_value().eq(layer_bits) for part in (loader, scheduler)),
        *(part.start.eq(start) for part in (loader, scheduler)),
        scheduler.group_loaded.eq(loader.group_loaded),
        loader.group_free.eq(scheduler.group_free),
    ]
    layer, size = loader.layer, config.engine.window_groups
    # At stride 2 two groups of the ring belong together.
    twice = layer.shared & layer.step2
    for name in ("chunk_groups", "last_chunk_groups"):
        bench.assume((layer[name] != 0) & ((layer[name] << twice) <= size))
    bench.assume(layer.op == Operation.CONV)
    ended, counted = words_in_flight(bench, loader, load, config)
    stages = [load[f"flags_{stage + 1}"][:2].any() for stage in range(loader_latency(config))]
    # As the sequencer starts a layer, `settle` cycles after the one before.
    bench.assume(~start | (bench.begun & loader.done & scheduler.done & ~Cat(*stages).any()))
    started = bench.latch(start, "started")

    # Groups that the loader has completed and the scheduler has not freed.
    held = Signal(4, name="held")
    with bench.m.If(start):
        bench.m.d.sync += held.eq(0)
    with bench.m.Else():
        bench.m.d.sync += held.eq(held + loader.group_loaded - scheduler.group_free)

    slots = (size - 1).bit_length()
    written = loader.window_address[-slots:]
    slot = Value.cast(scheduler.control.slot)
    bench.check("no group is read that is written",
                ~(scheduler.issue & loader.window_valid & (slot == written)))  # fmt: skip
    bench.check("only what is held is freed", ~scheduler.group_free | (held != 0))

    position, tile = load["position"], load["have_tile"]
    segment = load.signals["segment"][0]  # the register, or the walker's port that it drives
    lead, led = load["lead"], load["led"]
    begun = (position != 0) | (segment != 0) | led
    bench.check("every group has a holder",
                ~started | (total([load["free"], held, ended, begun]) == size))  # fmt: skip
    bench.check("words are counted", ~started | counted)
    bench.check("no words before the start", started | ~Cat(*stages).any())
    segments_last = load["walker.segments_last"]
    bench.check("segments end", segment <= segments_last)
    bench.check("the read left of a tile comes first", ~lead | ((segment == 0) & ~led))
    bench.check("tiles end with their groups", tile | ~begun)
    bench.check("done is done", ~loader.done | (~tile & (load["left"] == 0)))

    group, loaded, head = read["group"], read["loaded"], read["head"]
    last_pass, last_chunk = read["passes_last"], read["chunks_last"]
    bench.check("the scheduler counts what is held",
                ~started | (loaded == held + Mux(last_pass, group, 0)))  # fmt: skip
    bench.check("in the same places", ~started | ((head + loaded)[:slots] == written))
    ahead = read["ahead"]
    bench.check("and what is ahead", ~started | (group + ahead == loaded))
    bench.check("missing is missing", ~started | (read["missing"] == (ahead == 0)))
    groups = Mux(last_chunk, layer.last_chunk_groups, layer.chunk_groups)
    left = read["groups"]
    tap, taps = read["tap"], read["taps"]
    begun_pair = twice & (tap != 0)
    bench.check("a chunk has its groups",
                ~started | (group + (left << twice) == (groups << twice) + begun_pair))  # fmt: skip
    bench.check("taps", ~started | Mux(layer.shared, tap + taps == 3, (tap == 0) & (taps == 1)))
    bench.check("and end", ~started | (taps != 0))
    bench.check("last tap", ~started | (read["taps_last"] == (taps == 1)))
    bench.check("last tap but one", ~started | (read["taps_two"] == (taps == 2)))
    bench.check("and ends", ~started | (left != 0))
    bench.check("last group", ~started | (read["groups_last"] == (left == 1)))
    bench.check("last group but one", ~started | (read["groups_two"] == (left == 2)))
    bench.check("a single group", ~started | (read["one_group"] == (layer.chunk_groups == 1)))
    bench.check("a single group at last",
                ~started | (read["one_group_last"] == (layer.last_chunk_groups == 1)))  # fmt: skip
    bench.check("a start comes later", ~started | bench.begun)
    bench.check("a convolution is one", ~bench.begun | load["convolution"])
    for side, design in (("loader", load), ("scheduler", read)):
        bench.check(f"the {side} knows of pairs", ~bench.begun | (design["twice_1"] == twice))
    bench.check("idle before the start", started | (loader.done & scheduler.done))

    both = scheduler.issue & loader.window_valid
    again = bench.latch(scheduler.group_free, "freed_before")
    bench.cover("the ring is used again", again & both & (written == 0))
    return bench


def only(bench):
    """Leave the one assertion that matters."""
    name = "no group is read that is written"
    bench.asserts = {name: bench.asserts[name]}
    return bench


def test_loader_and_scheduler_never_work_on_the_same_group():
    prove(ring(), steps=1, depth=30)


@pytest.mark.parametrize(
    ("where", "old", "new"),
    [
        ("loader", "free + self.group_free - taken", "free + self.group_free"),
        ("scheduler", "missing.eq((ahead == 1) & ~arrives)", "missing.eq(0)"),
    ],
    ids=["loader", "scheduler"],
)
def test_a_side_that_does_not_wait_for_the_other_is_noticed(where, old, new):
    refute(only(ring(old, new, where=where)), depth=24)


def walker():
    bench = Bench()
    dut = TileWalker(SMALL)
    bench.add("dut", dut)
    bench.check("segments stay", segments_stay(bench, dut))
    bench.cover("a tile of several segments", dut.segments_last != 0)
    return bench


def test_a_tile_keeps_its_number_of_segments():
    prove(walker())


def ways(*pieces, columns=2):
    """Array: registers from loader and scheduler to each window memory."""
    bench = Bench()
    config = SMALL.with_(columns=columns, partial_sum_channels=columns)
    array = mutated("steelyard_hw.array.array", *pieces).SparseArray(config)
    design = bench.add("dut", array)
    cycles = 2 + (columns > 8)
    control = design["scheduler.control"]
    writes = bench.past(array.window_valid, cycles, "writes")
    address = bench.past(array.window_address, cycles, "write_address")
    issued = bench.past(array.issue, cycles, "issued")
    slots = (config.engine.window_groups - 1).bit_length()
    slot = bench.past(Value.cast(control)[2 : 2 + slots], cycles, "slot")
    # A column's copies, memory and register lie between the address and the selection's parts.
    taps, two, known = [], [], []
    for late in range(cycles, cycles + 3):
        taps.append(bench.past(Value.cast(control)[2 + slots :], late, f"tap_{late}"))
        paired = array.layer.shared & array.layer.step2
        two.append(bench.past(paired, late, f"twice_{late}"))
        known.append(bench.past(array.issue, late, f"known_{late}"))
    step = Mux(two[0], taps[0] == 2, taps[0] != 0)
    second = (taps[1] == 2) & ~two[1]
    at_an_end = (taps[2] == two[2]) | (taps[2] == 2)
    for number in range(0, columns, columns - 1):
        memory = design.memories[f"column_{number}.window"]
        [read], [write] = memory.reads, memory.writes
        bench.check(f"writes of column {number}", write.enable == writes)
        bench.check(f"where column {number} writes", ~writes | (write.address == address))
        bench.check(f"reads of column {number}", design[f"column_{number}.valid"] == issued)
        bench.check(f"where column {number} reads", ~issued | (read.address[-len(slot) :] == slot))
        select = design.signals["select"][number]
        bench.check(f"step of column {number}", ~known[0] | (select[0] == step))
        bench.check(f"second step of column {number}", ~known[1] | (select[1] == second))
        bench.check(f"ends in column {number}", ~known[2] | at_an_end | ~select[2:].any())
    bench.cover("both at once", writes & issued)
    return bench


@pytest.mark.parametrize("columns", [2, 9])
def test_writes_and_reads_take_equally_long_to_the_window_memories(columns):
    prove(ways(columns=columns), memory_words=SMALL.engine.window_groups)


@pytest.mark.parametrize(
    ("right", "late"),
    [
        ('late, "step"', 'late + 1, "step"'),
        ('late + 1, "second"', 'late + 2, "second"'),
        ('late + 2, "outside"', 'late + 3, "outside"'),
    ],
    ids=["step", "second", "outside"],
)
def test_a_selection_that_comes_late_is_noticed(right, late):
    # Where rows end is read of a memory of a word a group.
    refute(ways(right, late), memory_words=SMALL.engine.window_groups)


def test_a_register_too_many_on_one_way_is_noticed():
    late = ("window_address.eq(self.window_address),",
            "window_address.eq(window_address_early),",
            "window_valid = Signal()\n",
            "window_valid = Signal()\n        window_address_early = Signal.like("
            "self.window_address)\n        m.d.sync += window_address_early.eq("
            "self.window_address)\n")  # fmt: skip
    refute(ways(*late), memory_words=0)
