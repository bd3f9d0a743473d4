# amaranth: UnusedElaboratable=no
"""The SDRAM controller: rules of the chip that it never breaks, and streams that lose nothing."""

from dataclasses import replace

import pytest
from amaranth.hdl import DomainRenamer, EnableInserter, Mux, Signal
from amaranth.lib import wiring

from formal.lemmas import queue, stable
from formal.prover import Bench, mutated, prove, refute
from steelyard_hw.memory.bursts import BurstSplitter
from steelyard_hw.memory.chips import AS4C32M16SB_7, W9825G6KH_6, Figure
from steelyard_hw.memory.pins import SLOTS, SdramCommand
from steelyard_hw.memory.reads import LATENCY_BITS
from steelyard_hw.memory.rows import Steps
from steelyard_hw.memory.sdram import refresh_period
from steelyard_hw.memory.timing import SdramTiming
from steelyard_sim.memory.sdram import Rule
from steelyard_sim.memory.slots import CHIP_DOMAIN, PlainPins

CLOCK_HZ = 100_000_000
SMALL = {"row_bits": 3, "column_bits": 2, "power_up": Figure(4, "tCK", "this test")}
W9825 = replace(W9825G6KH_6, **SMALL)
AS4C = replace(AS4C32M16SB_7, **SMALL)
CONTROLLER = "steelyard_hw.memory.sdram"
MODEL = "steelyard_sim.memory.sdram"
FEW = ("FIRST_REFRESHES = 8", "FIRST_REFRESHES = 2")
# Refreshes fall due whenever the prover wants: what holds then holds for every interval.
ANY_TIME = ("elapsed.eq(left == 0)", "elapsed.eq(self.latency[0])")


def controller(chip, *pieces, slots=1):
    """Controller whose refreshes fall due at any time, with pieces of its source replaced."""
    copy = mutated(CONTROLLER, *ANY_TIME, *FEW, *pieces)
    return copy.SdramController(chip, CLOCK_HZ // slots, slots)


def halved(bench, dut, chip):
    """Controller that is clocked in every second cycle, between plain pins and free inputs."""
    enable = Signal(init=1, name="enable")
    bench.m.d.sync += enable.eq(~enable)
    plain = PlainPins(chip.address_pins)
    at_half = EnableInserter(enable)
    bench.m.submodules.plain = DomainRenamer({CHIP_DOMAIN: "sync"})(at_half(plain))
    wiring.connect(bench.m, dut.pins, plain.slots)
    return bench.add("dut", at_half(dut)), plain.pins, enable


def rules_bench(chip, *pieces, slots=1):
    """Controller, all of whose inputs are free, with the model of its chip."""
    bench = Bench()
    dut = controller(chip, *pieces, slots=slots)
    # How late refreshes are is proved apart.
    lenient = mutated(MODEL, "            (Rule.REFRESH, since > limit),\n", "", *FEW)
    model = lenient.SdramModel(chip, CLOCK_HZ)
    if slots == 1:
        design, pins = bench.add("dut", dut), dut.pins
    else:
        design, pins, _ = halved(bench, dut, chip)
    bench.add("model", model)
    wiring.connect(bench.m, pins, model.pins)
    powered = bench.past(1, dut.timing.power_up + 1, name="power")
    bench.assume(~dut.latency[0] | ((design["number"] < 3) & powered))
    bench.check("no rule is broken", model.violation == Rule.NONE)
    for command in (SdramCommand.READ, SdramCommand.WRITE, SdramCommand.PRECHARGE):
        given = dut.ready & pins.select & (pins.command == command)
        bench.cover(command.name, given)
    return bench


@pytest.mark.parametrize("slots", SLOTS)
@pytest.mark.parametrize("chip", [W9825, AS4C], ids=lambda chip: chip.name)
def test_no_rule_of_the_chip_is_ever_broken(chip, slots):
    prove(rules_bench(chip, slots=slots))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("& banks.column_ready", "& 1"),
        ("able = Cat(current.valid, following.valid & apart) & Cat(banks.row_ready)",
         "able = Cat(current.valid, following.valid & apart)"),
        ("writes.r_rdy & (turn == 0)", "writes.r_rdy"),
        ("due.due & due.able & banks.quiet", "due.due & due.able"),
    ],
    ids=["rcd", "ras", "contention", "quiet"],
)  # fmt: skip
def test_a_controller_that_does_not_wait_is_noticed(old, new):
    refute(rules_bench(W9825, old, new))


def test_a_row_command_that_trusts_what_was_seen_before_the_last_one_is_noticed():
    old, new = "with m.If(given | banks.shift):", "with m.If(banks.shift):"
    refute(rules_bench(W9825, old, new, slots=2))


def refresh_bench(slots, less=0):
    """Controller with the cycles that a refresh has been due."""
    bench = Bench()
    dut = controller(W9825, slots=slots)
    design = bench.add("dut", dut)
    number, refreshed = design["number"], design["refreshed"]
    since = Signal(4, init=15, name="since_start")
    bench.m.d.sync += since.eq(Mux(dut.start, 0, since + (since != 15)))
    bench.assume(~dut.start | (since == 15))
    # Between two of them lies far more time than one waits.
    bench.assume(~dut.latency[0] | (number == 0) | ~design["powered"])
    period = refresh_period(dut.timing, slots)
    most = (dut.timing.refresh - less) // slots - period
    waiting = Signal(range(most + 2), name="waiting")
    waits = dut.ready & (number != 0) & ~refreshed
    bench.m.d.sync += waiting.eq(Mux(waits, waiting + (waiting <= most), 0))
    bench.check("no refresh waits too long", waiting <= most)
    bench.check("one at a time", ~dut.ready | (number <= 1))
    bench.cover("a refresh", refreshed & dut.ready)
    return bench


@pytest.mark.parametrize("slots", SLOTS)
def test_a_refresh_that_is_due_is_made_within_what_the_period_leaves(slots):
    prove(refresh_bench(slots))


@pytest.mark.parametrize("slots", SLOTS)
def test_a_refresh_may_wait_nearly_as_long(slots):
    steps = Steps.of(SdramTiming.of(W9825, CLOCK_HZ))
    refute(refresh_bench(slots, less=2 * (steps.precharge + 2)))


DEPTH = 4
"""Of the words read, in the proofs."""


def places(bench, design, prefix, ahead, latency, slots):
    """Check that the queue has a place for every word that is on its way; `ahead` those for which
    the path has still to be told that a command is on the pins, or just is."""
    level = queue(bench, design, f"{prefix}words.", DEPTH, f"{prefix}w_en")
    flight = ahead
    for name in ("first", "second") if slots == 1 else ("both",):
        flight += design[f"{prefix}{name}"]
    earlier = design[f"{prefix}earlier"]
    cycles = latency if slots == 1 else latency[1:] + latency[0]
    for number in range(len(earlier)):
        flight += earlier[number] & (number < cycles)
    bench.check("every place is accounted for", design[f"{prefix}places"] + flight + level == DEPTH)


def reads_bench(slots, *pieces):
    """Words read, with commands on the pins as the controller gives them: two cycles after they are
    asked for and not in every one, or with two slots one cycle after."""
    bench = Bench()
    dut = mutated("steelyard_hw.memory.reads", *pieces).ReadPath(DEPTH, slots)
    design = bench.add("dut", dut)
    latency = bench.constant(3 if slots == 1 else LATENCY_BITS, "latency")
    asked = bench.past(dut.ask, name="asked")
    bench.assume(dut.latency == latency)
    bench.assume(~dut.ask | dut.room)
    if slots == 1:
        bench.assume(~dut.ask | ~asked)
        bench.assume(dut.sent == bench.past(asked, name="sent"))
        ahead = asked + dut.sent
    else:
        bench.assume(dut.sent == asked)
        ahead = dut.sent
    stable(bench, dut.o, "o", bits=1)
    places(bench, design, "", ahead, latency, slots)
    return bench


@pytest.mark.parametrize("slots", SLOTS)
def test_every_word_read_has_its_place_whatever_the_latency(slots):
    prove(reads_bench(slots))


@pytest.mark.parametrize("slots", SLOTS)
def test_a_word_that_is_asked_for_without_a_place_is_noticed(slots):
    refute(reads_bench(slots, "self.room.eq(places != 0)", "self.room.eq(1)"))


def test_pieces_stay_in_their_row_and_make_up_the_burst():
    bench = Bench()
    chip = replace(W9825, column_bits=3)
    dut = BurstSplitter(chip)
    design = bench.add("dut", dut)
    stable(bench, dut.o, "o")
    piece, left = dut.o.payload, design["left"]
    held, measured = design["held"], design["measured"]
    room = 4 - piece.column
    bench.check("there is something left", ~held | (left != 0))
    bench.check("it is measured", ~measured | held)
    bench.check("it fits", ~measured | ((piece.words <= room) & (piece.words <= left)))
    bench.check("it is no less", ~measured | (piece.words == room) | (piece.words == left))
    bench.check("the last is the last", ~measured | (design["more"] == (left != piece.words)))
    taken = dut.o.valid & dut.o.ready
    went_on = bench.past(taken & design["more"], name="went_on")
    before = bench.past(design["address"] + piece.words, name="before")
    bench.check("it goes on behind", ~went_on | (design["address"] == before[: chip.word_bits]))
    words = bench.past(left - piece.words, name="words")
    bench.check("with what is left", ~went_on | (left == words[: len(left)]))
    bench.cover("another row", went_on & held)
    prove(bench)


@pytest.mark.parametrize("slots", SLOTS)
def test_the_controller_asks_for_words_as_that_proof_assumes(slots):
    bench = Bench()
    # A pin whose word nobody looks at says when a refresh is due.
    due = "self.pins.data_i[0]" if slots == 1 else "self.pins.data_i[0][0]"
    dut = mutated(
        CONTROLLER, "elapsed.eq(left == 0)", f"elapsed.eq({due})", *FEW,
        "READ_WORDS = 16", f"READ_WORDS = {DEPTH}",
    ).SdramController(W9825, CLOCK_HZ // slots, slots)  # fmt: skip
    design = bench.add("dut", dut)
    pins = dut.pins
    data_i, select, command = (
        getattr(pins, name) if slots == 1 else getattr(pins, name)[0]
        for name in ("data_i", "select", "command")
    )
    if slots == 2:
        bench.inputs += [*pins.data_i]
    latency = bench.constant(3, "latency")
    bench.assume(dut.latency == latency)
    bench.assume(~data_i[0] | (design["number"] < 3))
    ask, sent = design["ask"], design["sent"]
    asked = bench.past(ask, name="asked")
    if slots == 1:
        bench.check("on the pins two cycles later", sent == bench.past(asked, name="sent"))
        bench.check("every second cycle at most", ~ask | ~asked)
    else:
        bench.check("on the pins a cycle later", sent == asked)
        second = pins.select[1] & (pins.command[1] == SdramCommand.READ)
        bench.check("none in the second slot", ~second)
    read = select & (command == SdramCommand.READ)
    bench.check("as a command", sent == read)
    bench.check("only with room", ~ask | design["reads.room"])
    places(bench, design, "reads.", asked + sent if slots == 1 else sent, latency, slots)
    bench.cover("a read", read)
    prove(bench)
