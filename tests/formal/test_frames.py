# amaranth: UnusedElaboratable=no
"""Frames of the link: no bytes hang the receiver, and no reply holds the link for ever."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring

from formal.prover import Bench, mutated, prove, refute
from steelyard_hw.link.crc import Crc32
from steelyard_hw.link.executor import State
from steelyard_hw.link.frame import FrameReceiver, FrameSender

SPACING = 10
"""Cycles between two bytes, at least, that the receiver's docstring asks for."""


def spaced(bench, valid, name="since"):
    """Assume that strobes are `SPACING` cycles apart."""
    since = Signal(range(SPACING), init=SPACING - 1, name=name)
    bench.m.d.sync += since.eq(Mux(valid, 0, Mux(since == SPACING - 1, since, since + 1)))
    bench.assume(~valid | (since == SPACING - 1))


def resynchronized(module=None):
    """A receiver after any bytes beside one that sees no byte before some delimiter."""
    receiver = module.FrameReceiver if module else FrameReceiver
    bench = Bench()
    used, fresh = receiver(8), receiver(8)
    designs = [bench.add("used", used), bench.add("fresh", fresh)]
    choice, room = bench.free(1, "choice"), bench.free(1, "room_now")
    strobe, byte = bench.free(1, "strobe"), bench.free(8, "byte_now")
    begins = Signal(name="begins")
    begun = bench.latch(begins, "delimiter_seen")
    bench.m.d.comb += [
        begins.eq(choice & strobe & (byte == 0)),
        used.valid.eq(strobe),
        fresh.valid.eq(strobe & (begun | begins)),
        *(copy.byte.eq(byte) for copy in (used, fresh)),
        *(copy.room.eq(room) for copy in (used, fresh)),
    ]
    spaced(bench, strobe)
    # In the first cycle after the delimiter `frame` still speaks of what it ended.
    later = bench.past(begun, name="later")

    def same(name, when):
        left, right = (design[name] for design in designs)
        bench.check(f"the same {name}", ~when | (left == right))

    for name in ("run", "zero", "sub", "index", "missed", "bad", "crc.register", "crc.left"):
        same(name, begun)
    bench.check("the same strobe to store", ~later | (used.write == fresh.write))
    bench.check("the same frames", ~later | (used.frame == fresh.frame))
    index, sub = designs[0]["index"], designs[0]["sub"]
    words = [used.word, fresh.word]
    shown = [(design["crc.left"], design["crc.data"]) for design in designs]
    bench.check("the same CRC byte", ~begun | (shown[0][0] == 0) | (shown[0][1] == shown[1][1]))
    for bytes_in in (1, 2, 3):
        high = [word[32 - 8 * bytes_in :] for word in words]
        bench.check(
            f"the same {bytes_in} bytes of a word", ~begun | (sub < bytes_in) | (high[0] == high[1])
        )
    bench.check("the same word to store", ~later | ~used.write | (words[0] == words[1]))
    bench.check("the same address", ~begun | (index == 0) | (used.address == fresh.address))
    bench.check("the same head", ~begun | (index == 0) | (used.head == fresh.head))
    bench.check("the same session", ~begun | (index < 2) | (used.session == fresh.session))
    # The counters of the frame are cleared as `frame` is made, so it says what held before.
    reported = used.frame & later
    bench.check("the frame's head", ~reported | (used.head == fresh.head))
    bench.check("the frame's session", ~reported | (used.session == fresh.session))
    bench.check("the frame's length", ~reported | (used.address == fresh.address))
    for number, design in enumerate(designs):
        bench.check(f"CRC {number} takes every byte", ~design["crc.busy"] | ~design["valid"])
    # What the proofs of the link assume of its receiver.
    byte_before = bench.past(used.valid, name="byte_before")
    bench.check("speaks only behind a byte", ~(used.write | used.frame) | byte_before)
    bench.check("one thing at a time", ~(used.write & used.frame))
    bench.check("stores with room only", ~used.write | bench.past(used.room, name="room_before"))
    bench.cover("a word of a frame behind garbage", used.write & later)
    return bench


def test_after_one_delimiter_the_receiver_is_as_good_as_new_whatever_came_before():
    prove(resynchronized())


def test_a_receiver_that_keeps_a_fault_beyond_the_delimiter_is_noticed():
    broken = mutated(
        "steelyard_hw.link.frame", "for signal in (sub, index, missed, bad)",
        "for signal in (sub, index, missed)",
    )  # fmt: skip
    refute(resynchronized(broken))


def sending(module=None):
    """A sender, with the cycles without an offer counted."""
    bench = Bench()
    sender = (module.FrameSender if module else FrameSender)(4)
    design = bench.add("dut", sender)
    bench.assume(~sender.start | (~sender.busy & (sender.first != sender.end)))
    end = bench.past(sender.end, name="end")
    bench.assume(~bench.past(sender.busy | sender.start, name="sending") | (sender.end == end))
    silent = Signal(range(16), name="silent")
    bench.m.d.sync += silent.eq(Mux(sender.busy & ~sender.o.valid, silent + 1, 0))
    bench.check("the next byte comes soon", silent <= 10)
    bench.check("while the CRC works", (silent == 0) | (silent + design["crc.left"] <= 10))
    bench.cover("nine silent cycles", silent == 9)
    return bench


def test_the_sender_is_never_silent_for_long():
    prove(sending())


def test_a_sender_that_waits_for_ever_is_noticed():
    refute(sending(mutated("steelyard_hw.link.frame", "with m.If(~crc.busy):", "with m.If(0):")))


def any_crc(bench):
    """Stand-in for the CRC: any sum, and busy for as long as you like."""

    class AnyCrc(wiring.Component):
        def __init__(self):
            super().__init__(Crc32().signature)

        def elaborate(self, platform):
            m = Module()
            for name in ("busy", "crc"):
                port = getattr(self, name)
                m.d.comb += port.eq(bench.free(port.shape(), f"any_{name}"))
            return m

    return AnyCrc


def bounded(*pieces, depth=128, run=254):
    """A sender of any words with the bytes that its frame still needs, at most; replaces `pieces`.

    Parameters
    ----------
    run : bytes without a zero behind which the sender adds a code
    """
    bench = Bench()
    limit = ("run == 253", f"run == {run - 1}")
    module = mutated("steelyard_hw.link.frame", *limit, *pieces)
    module.Crc32 = any_crc(bench)
    sender = module.FrameSender(depth)
    design = bench.add("dut", sender)
    bench.assume(~sender.start | ~sender.busy)
    end = bench.past(sender.end, name="end")
    bench.assume(~bench.past(sender.busy | sender.start, name="sending") | (sender.end == end))

    sub, ending, ended = design["sub"], design["ending"], design["ended"]
    idle, lead, fetch, byte, full, last, tail = (
        design.state(name) for name in ("IDLE", "LEAD", "FETCH", "BYTE", "FULL", "LAST", "TAIL")
    )
    inside = ~(idle | lead | last | tail)
    words = (sender.end - sender.address)[: len(sender.end)]
    left = Signal(range(4 * depth + 1), name="left")  # bytes of words and CRC
    bench.m.d.comb += left.eq(Mux(lead | inside & ~ended, 4 * words + 4 - sub, 0))
    measure = Signal(range(8 * depth + 16), name="measure")
    bench.m.d.comb += measure.eq(2 * left + full + Mux(lead, 3, Mux(inside | last, 2, tail)))
    # Bytes of words and CRC behind the last code of a run of such.
    since = Signal(range(run + 1), name="since")
    taken = sender.o.valid & sender.o.ready
    with bench.m.If(idle | taken & full):
        bench.m.d.sync += since.eq(0)
    with bench.m.Elif(taken & byte & (since != run)):
        bench.m.d.sync += since.eq(since + 1)

    before = bench.past(measure, name="before")
    moved, rested = bench.past(taken, name="moved"), bench.past(sender.busy & ~taken, name="rested")
    bench.check("each byte is a step to the end", ~moved | (measure < before))
    bench.check("and nothing is a step back", ~rested | (measure == before))
    bench.check("the end is the end", idle == (measure == 0))
    bench.check("a code follows a whole run", ~full | (since == run))
    bench.check("a run counts its bytes", idle | (design["run"] <= since))
    bench.check("up to a whole one", since <= run)
    bench.check("a run is cut", full | (design["run"] < run))
    bench.check("the CRC comes last", ~(design.state("WORD") | byte) | (ending == (words == 0)))
    bench.check("also behind a run", ~full | (sub == 0) | (ending == (words == 0)))
    bench.check("a word is fetched whole", ~(lead | fetch | design.state("WORD")) | (sub == 0))
    bench.check("its end is an end", ~ended | full & ending & (sub == 0) | last | tail | idle)
    bench.cover("a byte of the CRC", taken & byte & ending)
    bench.cover("the last byte", taken & tail)
    return bench, full & ended


def test_a_frame_of_any_length_ends():
    prove(bounded()[0], steps=1, depth=20)
    # Codes of full runs, which a solver does not meet in 254 bytes.
    bench, full_end = bounded(depth=4, run=5)
    bench.cover("a full run at the end", full_end)
    prove(bench, steps=1, depth=40)


def test_a_sender_that_never_ends_is_noticed():
    refute(
        bounded("self.address.eq(self.address + 1)", "self.address.eq(self.address)")[0], depth=30
    )
    refute(bounded("with m.If(ended):", "with m.If(0):", depth=4, run=4)[0], depth=40)


def any_receiver(bench):
    """Stand-in for the receiver that reports any frames, so far as the real one's contract goes."""

    class AnyReceiver(wiring.Component):
        def __init__(self, words):
            super().__init__(FrameReceiver(words).signature)

        def elaborate(self, platform):
            m = Module()
            for name in ("write", "frame", "address", "word", "head", "session"):
                port = Value.cast(getattr(self, name))
                m.d.comb += port.eq(bench.free(port.shape(), f"any_{name}"))
            bench.assume(~(self.write | self.frame) | bench.past(self.valid, name="byte"))
            bench.assume(~(self.write & self.frame))
            bench.assume(~self.write | bench.past(self.room, name="room"))
            return m

    return AnyReceiver


def linked(old="wiring.connect(m, payloads.o, wiring.flipped(self.o))", new=None):
    """A link behind a receiver of any frames and before any accelerator; `new` replaces `old`."""
    bench = Bench()
    module = mutated("steelyard_hw.link.link", old, new or old)
    module.FrameReceiver = any_receiver(bench)
    link = module.Link(words=32)
    design = bench.add("dut", link)
    spaced(bench, link.byte_valid)
    return bench, link, design


def memories(bench, link, design):
    """No word of the link's two memories is written in the cycle in which it is read."""
    writing, active = design["writing"], design["payloads.active"]
    half, full = design["payloads.active_half"], design["slot_full"]
    bench.check("what waits is not being filled", ~full | (design["slot_half"] != writing))
    bench.check("what is given away is not being filled", ~active | full | (half != writing))
    bench.check("one at a time", ~active | (design["state"] == State.MOVE))
    busy = design["sender.busy"]
    bench.check("sends only when it says so", ~busy | (design["state"] == State.SENDING))
    for name in ("payloads.memory", "answers"):
        memory = design.memories[name]
        [read], [write] = memory.reads, memory.writes
        clash = read.enable & write.enable & (read.address == write.address)
        bench.check(f"no clash in {name}", ~clash)
        bench.cover(f"{name} written", write.enable)


def test_the_links_memories_never_read_what_they_write():
    bench, link, design = linked()
    memories(bench, link, design)
    bench.check("no reply is written while one is read", ~(
        design.memories["answers"].writes[0].enable & design["sender.busy"]
    ))  # fmt: skip
    prove(bench)


def test_a_link_that_fills_the_half_it_gives_away_is_noticed():
    bench, link, design = linked("writing.eq(~writing)", "writing.eq(writing)")
    memories(bench, link, design)
    refute(bench)


def progress(bench, link, design):
    """Cycles that each state may last, where it waits for nothing outside the board."""
    state, opening = design["state"], design["opening"]
    limits = {State.OPEN: 4, State.TAKE: 1, State.REFUSE: 1, State.LOSE: 2, State.SEND: 1}
    age = Signal(range(32), name="age")
    same = Signal.like(state, name="state_before")
    lasts = Signal(range(32), name="lasts")
    bench.m.d.comb += lasts.eq(Mux((state == same) & ~bench.past(opening), age, 0))
    bench.m.d.sync += [same.eq(state), age.eq(lasts + (lasts != 31))]
    for waits, cycles in limits.items():
        bench.check(f"{waits.name} ends", (state != waits) | (lasts < cycles))
        bench.cover(f"{waits.name} is met", state == waits)
    # OPEN and LOSE count in steps from zero.
    bench.check("steps of OPEN", (state != State.OPEN) | (design["step"] == lasts))
    bench.check("steps of LOSE", (state != State.LOSE) | (design["step"] == lasts))
    bench.check("steps begin at zero", (state == State.OPEN) | (state == State.LOSE)
                | (state > State.LOSE) | (design["step"] == 0))  # fmt: skip
    opened = bench.past(opening, name="opened")
    bench.check("OPEN gets through at once", ~opened | (state == State.OPEN))
    bench.check("OPEN silences the line", ~opened | ~design["sender.busy"])
    bench.check("OPEN drops what waits", ~opened | ~(design["slot_full"] | link.o.valid))
    bench.check("and resets the accelerator", (state != State.OPEN) | link.reset)
    bench.check("SENDING waits for the sender alone",
                ~(bench.past((state == State.SENDING) & ~design["sender.busy"], name="sent")
                  & (state == State.SENDING)))  # fmt: skip


def test_every_state_of_the_link_ends_and_open_ends_them_all():
    bench, link, design = linked()
    progress(bench, link, design)
    prove(bench)


def test_an_open_that_waits_for_the_sender_is_noticed():
    bench, link, design = linked("ResetInserter(opening)(sender)", "sender")
    progress(bench, link, design)
    refute(bench)
