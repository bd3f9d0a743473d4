# amaranth: UnusedElaboratable=no
"""Every stream of the gateware: an item offered stays until it is taken, and none is lost."""

import importlib
import inspect
import pkgutil

import pytest
from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import data, stream, wiring

import steelyard_hw
from formal.lemmas import queue, stable
from formal.netlist import Netlist
from formal.prover import Bench, mutated, prove, refute
from steelyard.contract import configure
from steelyard.contract.descriptor import ANY_UNDER_WAY
from steelyard.engines.crossbar import CrossbarConfig
from steelyard_hw.accelerator import Accelerator
from steelyard_hw.array.array import SparseArray
from steelyard_hw.array.scheduler import Scheduler
from steelyard_hw.crossbar.gather import Gather
from steelyard_hw.crossbar.tile import CrossbarTile, UnitIssue
from steelyard_hw.engine import Engine
from steelyard_hw.link.frame import FrameSender
from steelyard_hw.link.link import Link
from steelyard_hw.link.payloads import Payloads
from steelyard_hw.link.uart import UartReceiver, UartTransmitter
from steelyard_hw.memory.bursts import BurstSplitter
from steelyard_hw.memory.chips import W9825G6KH_6
from steelyard_hw.memory.external import ExternalMemory, MemorySide
from steelyard_hw.memory.guard import PortGuard
from steelyard_hw.memory.reads import ReadPath
from steelyard_hw.memory.sdram import SdramController
from steelyard_hw.shell.accesses import MovedAccess
from steelyard_hw.shell.host import HostPort
from steelyard_hw.shell.mover import Move, Mover, MoveRows
from steelyard_hw.shell.ports import HostBus, MovedWord
from steelyard_hw.shell.sequencer import Sequencer
from steelyard_hw.shell.weights import WeightFetch
from steelyard_hw.shell.weights_direct import DirectFetch

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
EXTERNAL = SMALL.with_(external_words=1 << 16)
TILE = configure(
    "crossbar",
    lanes=4,
    group=4,
    requantizers=4,
    window_groups=2,
    activation_words=16,
    weight_words=16,
    parameter_words=16,
    partial_sum_channels=2,
    max_layers=1,
    crossbar=CrossbarConfig(rows=4, columns=4, ou_rows=2, ou_columns=4),
)
COMPONENTS = {
    Accelerator: lambda: Accelerator(SMALL),
    BurstSplitter: lambda: BurstSplitter(W9825G6KH_6),
    CrossbarTile: lambda: CrossbarTile(TILE),
    DirectFetch: lambda: DirectFetch(SMALL.with_(weight_queue=False)),
    FrameSender: lambda: FrameSender(4),
    Gather: lambda: Gather(TILE),
    HostPort: lambda: HostPort(SMALL),
    Link: lambda: Link(words=32),
    MemorySide: lambda: MemorySide(EXTERNAL, ExternalMemory(W9825G6KH_6, 3), 80_000_000),
    MoveRows: lambda: MoveRows(EXTERNAL),
    MovedAccess: lambda: MovedAccess(EXTERNAL),
    Mover: lambda: Mover(EXTERNAL, HostBus(32, 3)),
    Payloads: lambda: Payloads(8),
    PortGuard: lambda: PortGuard(4),
    ReadPath: lambda: ReadPath(4),
    Scheduler: lambda: Scheduler(SMALL),
    SdramController: lambda: SdramController(W9825G6KH_6, 80_000_000),
    Sequencer: lambda: Sequencer(EXTERNAL, settle=2),
    SparseArray: lambda: SparseArray(SMALL),
    UartTransmitter: lambda: UartTransmitter(4),
    UnitIssue: lambda: UnitIssue(TILE),
    WeightFetch: lambda: WeightFetch(SMALL),
}
BESIDE = {Accelerator: lambda: Accelerator(EXTERNAL), HostPort: lambda: HostPort(EXTERNAL)}
"""Those that have more streams beside an external memory."""
TWO_SLOTS = {
    MemorySide: lambda: MemorySide(EXTERNAL, ExternalMemory(W9825G6KH_6, 5, 2), 62_500_000),
    ReadPath: lambda: ReadPath(4, 2),
    SdramController: lambda: SdramController(W9825G6KH_6, 62_500_000, 2),
}
"""Those with a chip at twice their clock."""
WHOLE = ("valid", "ready", "payload")
ALIASES = {
    Accelerator: [("o", "host.o", WHOLE), ("i", "host.i", WHOLE)],
    Link: [("o", "payloads.o", WHOLE), ("line", "sender.o", WHOLE)],
    MemorySide: [
        (f"port__{name}", f"guard.user__{name}", WHOLE) for name in ("command", "write", "read")
    ],
    SdramController: [
        ("port__read", "reads.o", WHOLE),
        ("port__command", "splitter.i", WHOLE),
    ],
    SparseArray: [("weights", "scheduler.weights", ("valid", "ready"))],
}
"""Streams that are those of a submodule: what is proved there holds here."""


def streams(component, flow):
    """Names of a component's streams, those of its ports among them."""
    return [*_streams(component.signature, flow)]


def _streams(signature, flow):
    for name, member in signature.members.items():
        if not member.is_signature:
            continue
        if isinstance(member.signature, stream.Signature):
            if member.flow.name == flow:
                yield name
        else:
            inner = {"In": "Out", "Out": "In"}[flow] if member.flow.name == "In" else flow
            yield from (f"{name}__{each}" for each in _streams(member.signature, inner))


def test_no_component_with_a_stream_is_left_out():
    found = set()
    for module in pkgutil.walk_packages(steelyard_hw.__path__, "steelyard_hw."):
        for _, thing in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            own = issubclass(thing, wiring.Component) and thing.__module__ == module.name
            engine = thing in Engine.__subclasses__()
            text = inspect.getsource(thing) if own else ""
            port = any(kind in text for kind in ("stream.Signature(", "(MemoryPort("))
            if own and (engine or port):
                found.add(thing.__name__)
    # What the engines have in common, which alone is none.
    found.remove(Engine.__name__)
    assert found == {component.__name__ for component in COMPONENTS}


@pytest.mark.parametrize(
    ("component", "make"),
    [*COMPONENTS.items(), *BESIDE.items(), *TWO_SLOTS.items()],
    ids=[
        *(each.__name__ for each in COMPONENTS),
        *(f"{each.__name__}-external" for each in BESIDE),
        *(f"{each.__name__}-two slots" for each in TWO_SLOTS),
    ],
)
def test_valid_and_payload_do_not_depend_on_ready_and_inner_streams_are_the_outer_ones(
    component, make
):
    netlist = Netlist(make())
    for name in streams(make(), "Out"):
        assert f"{name}__ready" not in netlist.depends_on([f"{name}__valid", f"{name}__payload"])
    for outer, inner, parts in ALIASES.get(component, ()):
        for part in parts:
            assert netlist.same(f"{outer}__{part}", f"{inner}__{part}")


class Hasty(wiring.Component):
    """Stream that is valid only while its taker is ready."""

    def __init__(self):
        super().__init__({"go": wiring.In(1), "o": wiring.Out(stream.Signature(1))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.valid.eq(self.go & self.o.ready)
        return m


def test_a_valid_that_waits_for_ready_is_noticed():
    assert Netlist(Hasty()).depends_on(["o__valid"]) == {"go", "o__ready"}


def host_bench(old="self.o.payload.eq(self.bus.result)", new=None):
    bench = Bench()
    dut = mutated("steelyard_hw.shell.host", old, new or old).HostPort(SMALL)
    bench.add("dut", dut)
    stable(bench, dut.o, "o", bits=1)
    bench.check("a word written is taken", ~dut.bus.write | (dut.i.valid & dut.i.ready))
    bench.check("as it comes", ~dut.bus.write | (dut.bus.data == dut.i.payload))
    bench.cover("two writes in a row", dut.bus.write & bench.past(dut.bus.write, name="write"))
    return bench


def test_the_host_port_holds_its_answers_and_writes_only_words_that_it_takes():
    prove(host_bench())


def test_answers_that_go_before_they_are_taken_are_noticed():
    answer = (
        'with m.If(self.o.ready):\n                count_down()\n                m.next = "READ"'
    )
    refute(host_bench(answer, answer.replace("self.o.ready", "1")))


def burst_bench(*pieces):
    """Host port beside an external memory, with a host that holds its words."""
    bench = Bench()
    dut = mutated("steelyard_hw.shell.host", *pieces).HostPort(EXTERNAL)
    bench.add("dut", dut)
    waits = bench.past(dut.i.valid & ~dut.i.ready, name="i_waits")
    word = bench.past(dut.i.payload[:1], name="i_payload")
    bench.assume(~waits | (dut.i.valid & (dut.i.payload[:1] == word)))
    port = dut.external
    for name, item in (("o", dut.o), ("command", port.command), ("write", port.write)):
        stable(bench, item, name, bits=1)
    given = port.write.valid & port.write.ready
    bench.check("a word given is taken", ~given | (dut.i.valid & dut.i.ready))
    bench.check("no word goes both ways", ~dut.bus.write | ~(given | port.read.ready))
    return bench


def test_the_host_port_holds_its_bursts_and_their_words():
    prove(burst_bench())


def test_a_burst_that_goes_before_it_is_taken_is_noticed():
    refute(burst_bench("with m.If(external.command.ready):", "with m.If(1):"))


def mover_bench(*pieces):
    bench = Bench()
    dut = mutated("steelyard_hw.shell.mover", *pieces).Mover(EXTERNAL, HostBus(32, 3))
    design = bench.add("dut", dut)
    port, access, words = dut.port, dut.activations.access, dut.STORE_WORDS
    # No move of no words goes into the queue, and Amaranth's gives what was put into it.
    asked_length = data.View(Move(EXTERNAL), design["queue.r_data"]).length
    bench.assume(~design["queue.r_rdy"] | (asked_length != 0))
    waits = bench.past(port.read.valid & ~port.read.ready, name="read_waits")
    bench.assume(~waits | port.read.valid)
    for name, item in (("command", port.command), ("access", access), ("write", port.write)):
        stable(bench, item, name, bits=1)
    level = queue(
        bench, design, "queue.", 1 << len(dut.under_way), dut.moves.valid & dut.moves.ready
    )
    # It has one place more than there are moves under way.
    del bench.covers["queue.full"]
    working, left, last = design["working"], design["left"], design["last"]
    store, final, asked = design["store"], design["final"], design["rows.asked"]
    given = port.write.valid & port.write.ready
    read = access.valid & access.ready & ~access.payload.write
    # Words that are read are found, in no more than they are.
    reading = Signal(range(2 * words), name="reading")
    bench.m.d.sync += reading.eq(reading + read - dut.activations.found)
    bench.assume(~dut.activations.found | (reading != 0))
    marks = Signal.like(dut.under_way, name="marks")
    stored = given & design["words.r_data"][-1]
    bench.m.d.sync += marks.eq(marks + (read & access.payload.last) - stored)
    kept = queue(bench, design, "words.", words, dut.activations.found)
    bench.check("there is room", design["room"] + reading + kept == words)
    bench.check("every move is counted", dut.under_way == (level + (working & final) + marks)[:4])
    bench.check("rows are of moves", ~design["rows.begun"] | (level != 0))
    bench.check("no burst is asked for twice", ~asked | design["rows.begun"])
    bench.check("there are words left", ~working | (left != 0))
    bench.check("the last is the last", ~working | (last == (left == 1)))
    taken = bench.past(asked & design["o__ready"], name="began")
    length = bench.past(asked_length, name="length")
    bench.check("a row has its words", ~taken | (left == length))
    taken_words = port.read.valid & port.read.ready
    loads = access.valid & access.ready & access.payload.write
    bench.check("words are written as they come", (dut.bus.write | loads) == taken_words)
    bench.check("to one place", ~(dut.bus.write & access.valid))
    bench.check("in one direction", ~working | ~store | ~port.read.ready)
    bench.check("only for a move", ~(dut.bus.write | loads) | working)
    full = dut.under_way == ANY_UNDER_WAY
    bench.check("no more than that are taken", ~full | ~dut.moves.ready)
    bench.cover("all that may be under way", full)
    return bench


def test_the_mover_holds_its_bursts_and_counts_what_is_under_way():
    # In `pdr` the arithmetic of words and moves takes minutes; each fact follows in two steps.
    prove(mover_bench(), steps=2, depth=40)


def test_a_mover_that_takes_too_many_is_noticed():
    refute(mover_bench("allowed = self.under_way != ANY_UNDER_WAY", "allowed = 1"), depth=40)


@pytest.mark.parametrize(
    "change",
    [
        ("self.under_way + begun - loaded - stored", "self.under_way + begun - loaded"),
        ("rows.o.ready.eq(~working | ends)", "rows.o.ready.eq(1)"),
    ],
)
def test_a_mover_that_moves_wrong_words_is_noticed(change):
    refute(mover_bench(*change))


def moved_bench(*pieces, slots=1):
    """Accesses to activations beside an engine that does as it likes."""
    bench = Bench()
    config = EXTERNAL.with_(lanes=8, external_slots=slots)
    kind = MovedWord(config)
    dut = mutated("steelyard_hw.shell.accesses", *pieces).MovedAccess(config)
    design = bench.add("dut", dut)
    bench.assume(~dut.host.write)
    place, left, waiting = dut.place, design["left"], design["waiting"]
    held = bench.past(waiting & ~dut.done, name="held")
    before = kind(bench.past(place, name="place"))
    bench.check("a word waits for all its parts", ~held | waiting)
    bench.check("it stays what it is", ~held | (kind(place).as_value() == before.as_value()))
    # Beats of two lanes: a word has two parts.
    for part, strobe in enumerate(dut.parts):
        beat = Cat(Const(part, 1), place.sub)
        writes = dut.writes & (dut.write_beat == beat)
        reads = dut.reads & (dut.read_beat == beat)
        bench.check(f"part {part} leaves the engine its ports", ~strobe | ~(writes | reads))
        bench.check(f"part {part} takes what is free", (~strobe & waiting & left[part]) == (
            waiting & left[part] & (writes | reads)))  # fmt: skip
        bench.check(f"part {part} is accessed once", ~strobe | left[part])
        done = bench.past(strobe, name=f"strobe_{part}")
        bench.check(f"part {part} stays done", ~(held & done) | ~left[part])
    rest = left & ~dut.parts
    bench.check("done is done", dut.done == (waiting & (rest == 0)))
    bench.check("something is left", ~waiting | (left != 0))
    # As many words are done as are taken, one after the other.
    taken = dut.access.valid & dut.access.ready
    inside = Signal(2, name="inside")
    bench.m.d.sync += inside.eq(inside + taken - dut.done)
    behind = design["behind"] if slots > 1 else 0
    bench.check("none is lost", inside == waiting + design["comes"] + behind)
    bench.cover("parts at different times", held & waiting)
    bench.cover("two words", waiting & design["comes"])
    return bench


@pytest.mark.parametrize("slots", [1, 2])
def test_words_of_activations_are_moved_part_by_part_where_the_engine_is_not(slots):
    prove(moved_bench(slots=slots))


@pytest.mark.parametrize(
    "change",
    [
        ("access.ready.eq(~(behind if self._each_cycle else comes))", "access.ready.eq(1)"),
        ("left.eq(left & ~self.parts)", "left.eq(left)"),
        ("(self.reads & (self.read_beat == beat))", "(self.reads & (self.write_beat == beat))"),
        ("free.eq(~waiting | self.done)", "free.eq(1)"),
    ],
)
def test_words_that_meet_the_engine_or_get_lost_are_noticed(change):
    refute(moved_bench(*change))


def guard_bench(*pieces):
    """Guard whose user may be reset at any time and holds its items otherwise."""
    bench = Bench()
    dut = mutated("steelyard_hw.memory.guard", *pieces).PortGuard(4)
    design = bench.add("dut", dut)
    user, memory = dut.user, dut.memory
    writes, reads = design["writes"], design["reads"]
    bench.assume(~memory.read.valid | (reads != 0))
    for name in ("command", "write"):
        mine, its = getattr(user, name), getattr(memory, name)
        waits = bench.past(mine.valid & ~mine.ready & ~dut.reset, name=f"{name}_user")
        bench.assume(~waits | mine.valid)
        waits = bench.past(its.valid & ~its.ready & ~dut.reset, name=f"{name}_memory")
        bench.check(f"a {name} waits, but for a reset", ~waits | its.valid)
    bench.check("no count runs over", ~writes.all() & ~reads.all())
    bench.check("words to write are told", design["writing"] == (writes != 0))
    bench.check("what a reset cut ends first", ~memory.command.valid | ~design["ending"])
    bench.check("the user is not seen meanwhile", ~(
        design["ending"]
        & (user.command.ready | user.write.ready | user.read.valid)
    ))  # fmt: skip
    bench.cover("both directions are ended", design["ending"] & (writes != 0) & (reads != 0))
    return bench


def test_the_guard_of_a_port_holds_its_bursts_and_counts_their_words():
    prove(guard_bench())


def test_a_guard_that_takes_bursts_beyond_its_counts_is_noticed():
    refute(guard_bench("quiet & ~writes[-1] & ~reads[-1]", "quiet & ~writes[-1]"))


@pytest.mark.parametrize("ahead", [True, False])
def test_the_sequencer_holds_its_moves(ahead):
    bench = Bench()
    dut = Sequencer(EXTERNAL.with_(ahead=ahead, max_layers=2), settle=2)
    bench.add("dut", dut)
    stable(bench, dut.moves, "moves", bits=1)
    bench.check("engines stand still meanwhile", ~dut.moves.valid | ~dut.go)
    prove(bench)


def fetch_bench(module=None):
    bench = Bench()
    dut = (module.WeightFetch if module else WeightFetch)(SMALL)
    design = bench.add("dut", dut)
    idle = ~design["running"] & (design["free"] == WeightFetch.DEPTH) & ~dut.o.valid
    bench.assume(~dut.start | idle)
    stable(bench, dut.o, "o", bits=1)
    behind = design["behind"]
    apart = (design["produce"] - design["consume"])[: len(design["produce"])]
    bench.check("pointers agree", apart == behind + dut.o.valid)
    bench.check("items behind are in range", behind <= WeightFetch.DEPTH)
    bench.cover("full", dut.o.valid & (behind == WeightFetch.DEPTH))
    taken = design["free"] + design["left"] + behind + sum(design["in_flight"])
    bench.check("every place is accounted for", taken == WeightFetch.DEPTH)
    return bench, dut, design


def test_weight_fetch_holds_its_items_and_loses_none():
    prove(fetch_bench()[0])


def test_a_fetch_that_runs_ahead_of_its_buffer_is_noticed():
    broken = mutated("steelyard_hw.shell.weights", "self._walk(m, issue, free != 0)",
                     "self._walk(m, issue, 1)")  # fmt: skip
    refute(fetch_bench(broken)[0])


def test_weight_fetch_asks_for_the_items_in_order_once_a_repetition():
    bench, dut, design = fetch_bench()
    bench.asserts.clear()
    bench.covers.clear()
    running, issue = design["running"], design["issue"]
    items, repeats = design["items"], design["repeats"]
    done = (design["count"] - items)[: len(dut.read.addr)]
    bench.check("flags tell the truth", ~running | (
        (design["single"] == (design["count"] == 1))
        & (design["last_item"] == (items == 1))
        & (design["last_repeat"] == (repeats == 1))
        & (items != 0) & (repeats != 0)
    ))  # fmt: skip
    bench.check(
        "address follows the count",
        ~running | (dut.read.addr == (design["base"] + done)[: len(dut.read.addr)]),
    )
    last = issue & (items == 1) & (repeats == 1)
    ended = bench.past(last, name="ended") & ~bench.past(dut.start, name="started")
    bench.check("ends after the last item", ~ended | ~running)
    stepped = bench.past(issue & ~last, name="stepped")
    bench.check("not before", ~stepped | running)
    bench.cover("another repetition", stepped & (repeats == 1) & (items == 2))
    prove(bench)


def sender_bench(module=None):
    bench = Bench()
    dut = (module.FrameSender if module else FrameSender)(4)
    bench.add("dut", dut)
    held = ~bench.past(dut.enable, name="enabled")
    data = bench.past(dut.data, name="data")
    bench.assume(~held | ~bench.begun | (dut.data == data))
    end = bench.past(dut.end, name="end")
    bench.assume(~bench.past(dut.busy | dut.start, name="busy") | (dut.end == end))
    bench.assume(~dut.start | ~dut.busy)
    stable(bench, dut.o, "o")
    return bench, dut


def test_the_frame_sender_holds_its_bytes():
    prove(sender_bench()[0])


def test_payloads_hold_their_words():
    bench = Bench()
    dut = Payloads(8)
    bench.add("dut", dut)
    bench.assume(~dut.go | ~dut.active)
    stable(bench, dut.o, "o", bits=1, unless=dut.cancel)
    prove(bench)


def test_what_the_uart_sends_it_receives():
    bench = Bench()
    sender, receiver = UartTransmitter(4), UartReceiver(4)
    bench.add("sender", sender)
    bench.add("receiver", receiver)
    byte = bench.constant(8, "byte")
    bench.m.d.comb += receiver.rx.eq(sender.tx)
    taken = sender.i.valid & sender.i.ready
    bench.assume(~taken | (sender.i.payload == byte))
    # Start bit, eight bits, half a stop bit; synchronizer, edge detector, register.
    arrives = bench.past(taken, 9 * 4 + 2 + 4)
    bench.check("a byte comes exactly then", receiver.valid == arrives)
    bench.check("it is the byte", ~receiver.valid | (receiver.payload == byte))
    bench.cover("a byte", receiver.valid)
    prove(bench, depth=90)


def test_an_item_leaves_the_weight_stream_exactly_when_it_is_issued():
    bench = Bench()
    dut = Scheduler(SMALL)
    bench.add("dut", dut)
    taken = dut.weights.valid & dut.weights.ready
    bench.check("taken when issued", taken == dut.issue)
    bench.check("the columns hear of it", dut.control.valid == dut.issue)
    bench.cover("issued", dut.issue)
    prove(bench)
