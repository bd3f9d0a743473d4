# amaranth: UnusedElaboratable=no
"""Frames in gateware against the driver's own: no bytes hang the receiver, none fool it."""

import zlib
from random import Random

import pytest
from amaranth.hdl import Module
from amaranth.lib.memory import Memory
from amaranth.sim import Simulator

from link_bytes import frame_of_run, frame_with_a_run_at_its_end
from steelyard.driver.frames import Frame, decode, encode
from steelyard_hw.lib.testing import monitor, receive
from steelyard_hw.link.frame import FrameReceiver, FrameSender

WORDS = 16
CYCLES_A_BYTE = 10


def random_frame(rng: Random, words: int, **fields) -> Frame:
    # Few values, so that runs with and without zeros come in all lengths.
    payload = bytes(rng.choice((0, 0, 1, 255, rng.randrange(256))) for _ in range(4 * words))
    values = {
        "kind": rng.randrange(16),
        "answers": rng.randrange(4096),
        "sequence": rng.randrange(1 << 16),
        "session": rng.getrandbits(32),
        "payload": payload,
    }
    return Frame(**(values | fields))


class Receiving:
    """Receiver with a memory behind it, and the frames that it announces."""

    def __init__(self, words=WORDS):
        self.dut = FrameReceiver(words)
        self.frames = []

    async def store(self, ctx):
        dut = self.dut
        memory = {}
        signals = (dut.write, dut.address, dut.word, dut.frame, dut.head, dut.session)
        while True:
            _, _, write, address, word, frame, head, session = await ctx.tick().sample(*signals)
            if write:
                memory[address] = word
            if frame:
                words = [memory.pop(n) for n in range(2, address)]
                self.frames.append(
                    Frame(
                        kind=head.kind,
                        answers=head.answers,
                        sequence=head.sequence,
                        session=session,
                        payload=b"".join(word.to_bytes(4, "little") for word in words),
                    )
                )

    async def feed(self, ctx, data):
        for byte in data:
            ctx.set(self.dut.byte, byte)
            ctx.set(self.dut.valid, 1)
            await ctx.tick()
            ctx.set(self.dut.valid, 0)
            await ctx.tick().repeat(CYCLES_A_BYTE - 1)

    def run(self, testbench):
        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        sim.add_testbench(testbench)
        sim.add_testbench(self.store, background=True)
        sim.run()


@pytest.mark.parametrize("seed", range(6))
def test_a_good_frame_is_accepted_after_any_garbage(seed):
    rng = Random(seed)
    bench = Receiving()
    sent = []

    async def testbench(ctx):
        ctx.set(bench.dut.room, 1)
        for _ in range(6):
            garbage = bytes(
                rng.choice((0, 1, 2, 255, rng.randrange(256))) for _ in range(rng.randrange(120))
            )
            # Part of a frame is the garbage that looks most like one.
            part = encode(random_frame(rng, rng.randrange(WORDS - 2)))
            await bench.feed(ctx, garbage + part[: rng.randrange(len(part) - 1)])
            frame = random_frame(rng, rng.randrange(WORDS - 2))
            sent.append(frame)
            await bench.feed(ctx, encode(frame))
            assert bench.frames == sent

    bench.run(testbench)


def test_long_runs_without_zeros_are_taken_apart():
    rng = Random(4)
    bench = Receiving(128)
    frames = [
        random_frame(rng, words, payload=bytes([value]) * (4 * words))
        for words, value in ((62, 7), (63, 9), (125, 1), (125, 0), (0, 0))
    ]

    async def testbench(ctx):
        ctx.set(bench.dut.room, 1)
        for frame in frames:
            await bench.feed(ctx, encode(frame))

    bench.run(testbench)
    assert bench.frames == frames


RUNS = (253, 254, 255, 508)
"""Bytes without a zero before one: the longest run of a code, and its neighbours."""


def test_long_runs_before_a_zero_are_taken_apart():
    bench = Receiving(256)
    frames = [*(frame_of_run(length) for length in RUNS), frame_with_a_run_at_its_end()]

    async def testbench(ctx):
        ctx.set(bench.dut.room, 1)
        for frame in frames:
            await bench.feed(ctx, encode(frame))

    bench.run(testbench)
    assert bench.frames == frames


@pytest.mark.parametrize("seed", range(3))
def test_damaged_frames_are_dropped_alone(seed):
    rng = Random(seed)
    bench = Receiving()
    sent = []

    async def testbench(ctx):
        ctx.set(bench.dut.room, 1)
        for kind in ("flip", "drop", "double", "insert"):
            line = bytearray(encode(random_frame(rng, 3))[1:-1])
            place = rng.randrange(len(line))
            if kind == "flip":
                line[place] ^= 1 << rng.randrange(8)
            elif kind == "drop":
                del line[place]
            else:
                line.insert(place, line[place] if kind == "double" else rng.randrange(256))
            sent.append(random_frame(rng, 2))
            await bench.feed(ctx, b"\0" + bytes(line) + encode(sent[-1]))

    bench.run(testbench)
    assert bench.frames == sent


def test_frames_that_are_too_long_or_too_short_are_dropped():
    rng = Random(0)
    bench = Receiving()
    good = random_frame(rng, WORDS - 3)

    async def testbench(ctx):
        ctx.set(bench.dut.room, 1)
        for words in (WORDS - 2, WORDS - 1, 2 * WORDS - 3):
            await bench.feed(ctx, encode(random_frame(rng, words)))
        await bench.feed(ctx, b"\0\0\0\1\0\2\1\0")
        await bench.feed(ctx, encode(random_frame(rng, 1, payload=b"\1\2\3")))
        # A head and its own CRC, with no session between them.
        head = b"\x11\x11\x22\x22"
        data = head + zlib.crc32(head).to_bytes(4, "little")
        assert 0 not in data
        await bench.feed(ctx, b"\0\x09" + data + b"\0")
        await bench.feed(ctx, encode(good))

    bench.run(testbench)
    assert bench.frames == [good]


def test_a_frame_without_room_is_dropped_unless_it_needs_none():
    rng = Random(0)
    bench = Receiving()
    empty, late = random_frame(rng, 0), random_frame(rng, 4)

    async def testbench(ctx):
        await bench.feed(ctx, encode(random_frame(rng, 1)))
        await bench.feed(ctx, encode(empty))
        # Room that comes in the middle of a frame comes too late.
        line = encode(random_frame(rng, 5))
        await bench.feed(ctx, line[:18])
        ctx.set(bench.dut.room, 1)
        await bench.feed(ctx, line[18:])
        await bench.feed(ctx, encode(late))

    bench.run(testbench)
    assert bench.frames == [empty, late]


def check_sender(rng, depth, frames):
    """Send frames out of a memory; the driver must read just these."""
    m = Module()
    m.submodules.sender = sender = FrameSender(depth)
    m.submodules.memory = memory = Memory(shape=32, depth=depth, init=[])
    write, read = memory.write_port(), memory.read_port()
    m.d.comb += [
        read.addr.eq(sender.address),
        read.en.eq(sender.enable),
        sender.data.eq(read.data),
    ]

    async def testbench(ctx):
        for frame in frames:
            data = frame.pack()[:-4]
            first = rng.randrange(depth)
            for place in range(0, len(data), 4):
                ctx.set(write.addr, (first + place // 4) % depth)
                ctx.set(write.data, int.from_bytes(data[place : place + 4], "little"))
                ctx.set(write.en, 1)
                await ctx.tick()
            ctx.set(write.en, 0)
            ctx.set(sender.first, first)
            ctx.set(sender.end, (first + len(data) // 4) % depth)
            ctx.set(sender.start, 1)
            await ctx.tick()
            ctx.set(sender.start, 0)
            line = bytearray(await receive(ctx, sender.o, 2, rng=rng))
            while line[-1]:
                line += bytes(await receive(ctx, sender.o, 1, rng=rng))
            assert line[0] == 0
            assert decode(bytes(line[1:-1])) == frame
            assert not ctx.get(sender.busy)

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.add_process(monitor(sender.o, "o"))
    sim.run()


@pytest.mark.parametrize("seed", range(4))
def test_what_is_sent_is_read_by_the_driver(seed):
    rng = Random(seed)
    frames = [
        random_frame(rng, words, payload=payload or random_frame(rng, words).payload)
        for words, payload in (
            (0, b""),
            (rng.randrange(1, 100), b""),
            (60, b"\5" * 240),
            (61, b"\5" * 244),
            (62, b"\5" * 248),
            (rng.randrange(62, 125), b""),
        )
    ]
    check_sender(rng, 128, frames)


def test_long_runs_before_a_zero_are_read_by_the_driver():
    check_sender(Random(5), 256, [frame_of_run(length) for length in RUNS])


def test_sizes_are_checked():
    message = r"^Words of a frame must be an integer from 8 to 2048, not 4$"
    with pytest.raises(ValueError, match=message):
        FrameReceiver(4)
    with pytest.raises(ValueError, match=r"^Words of a frame must be a power of two, not 24$"):
        FrameReceiver(24)
    with pytest.raises(
        ValueError, match=r"^Depth of the memory must be an integer from 4 to 4096, not 'big'$"
    ):
        FrameSender("big")
