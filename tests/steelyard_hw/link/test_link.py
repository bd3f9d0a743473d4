# amaranth: UnusedElaboratable=no
"""Link against the driver's frames: each executed once, answered as often as asked for."""

import pytest
from amaranth.sim import Simulator

from steelyard.contract.frames import Reply, Request
from steelyard.driver.frames import Frame, FrameReader, encode
from steelyard_hw.lib.testing import monitor
from steelyard_hw.link.link import Link

SESSION = 0x1234_5678
CYCLES_A_BYTE = 12


class Bench:
    """Link between a host of bytes and an accelerator that answers every word plus one."""

    def __init__(self, testbench):
        self.dut = dut = Link(words=32, clock_hz=48_000_000)
        self.taken: list[int] = []
        self.answers: list[int] = []
        self.frames: list[Frame] = []
        self.resets = 0
        self.ready = True
        self.busy_after: int | None = None
        """Cycles from a word that the accelerator takes until it is busy."""
        sim = Simulator(dut)
        sim.add_clock(1e-6)
        sim.add_testbench(self._accelerator, background=True)
        sim.add_testbench(self._host, background=True)

        async def run(ctx):
            self.ctx = ctx
            await testbench(self)

        sim.add_testbench(run)
        sim.add_process(monitor(dut.line, "line"))
        sim.run()

    async def _accelerator(self, ctx):
        dut = self.dut
        signals = (dut.reset, dut.o.valid, dut.o.ready, dut.o.payload, dut.i.valid, dut.i.ready)
        left = None
        while True:
            if left == 0:
                ctx.set(dut.busy, 1)
            left = left - 1 if left else None
            ctx.set(dut.o.ready, self.ready)
            ctx.set(dut.i.valid, bool(self.answers))
            ctx.set(dut.i.payload, self.answers[0] if self.answers else 0)
            _, _, reset, valid, ready, word, gives, takes = await ctx.tick().sample(*signals)
            if gives and takes:
                self.answers.pop(0)
            if valid and ready:
                self.taken.append(word)
                self.answers.append(word + 1)
                left = self.busy_after
            if reset:
                self.resets += 1
                self.answers.clear()

    async def _host(self, ctx):
        reader = FrameReader()
        ctx.set(self.dut.line.ready, 1)
        while True:
            _, _, valid, byte = await ctx.tick().sample(self.dut.line.valid, self.dut.line.payload)
            if valid:
                self.frames += reader.feed(bytes([byte]))
            assert not reader.damaged

    async def send(self, kind, sequence, words=(), answers=0, session=SESSION):
        frame = Frame(
            kind=kind,
            answers=answers,
            sequence=sequence,
            session=session,
            payload=b"".join(word.to_bytes(4, "little") for word in words),
        )
        for byte in encode(frame):
            self.ctx.set(self.dut.byte, byte)
            self.ctx.set(self.dut.byte_valid, 1)
            await self.ctx.tick()
            self.ctx.set(self.dut.byte_valid, 0)
            await self.ctx.tick().repeat(CYCLES_A_BYTE - 1)

    async def reply(self):
        for _ in range(1500):
            if self.frames:
                return self.frames.pop(0)
            await self.ctx.tick()
        raise AssertionError("No reply")

    async def silence(self):
        await self.ctx.tick().repeat(1500)
        assert not self.frames

    async def ask(self, *arguments, **options):
        await self.send(*arguments, **options)
        return await self.reply()

    async def open(self, session=SESSION):
        reply = await self.ask(Request.OPEN, 0, answers=2, session=session)
        assert (reply.kind, reply.sequence, reply.session) == (Reply.OPENED, 0, session)
        return reply


def test_open_tells_version_sizes_and_clock_and_resets_the_accelerator_once():
    async def testbench(bench):
        reply = await bench.open()
        version, clock = reply.words().tolist()
        assert version == 1 | bench.dut.payload_words << 8 | bench.dut.answer_words << 20
        assert clock == 48_000_000
        resets = bench.resets
        assert resets >= 4
        assert await bench.ask(Request.OPEN, 0, answers=2) == reply
        assert bench.resets == resets

    Bench(testbench)


def test_an_exchange_moves_words_both_ways_and_its_repetition_moves_none():
    async def testbench(bench):
        await bench.open()
        words = list(range(100, 100 + bench.dut.payload_words))
        reply = await bench.ask(Request.EXCHANGE, 1, words, len(words))
        assert (reply.kind, reply.sequence, reply.session) == (Reply.DONE, 1, SESSION)
        assert reply.words().tolist() == [word + 1 for word in words]
        assert await bench.ask(Request.EXCHANGE, 1, words, len(words)) == reply
        assert bench.taken == words
        # Answers may be fetched later, and in parts.
        assert (await bench.ask(Request.EXCHANGE, 2, [7, 8, 9])).payload == b""
        assert (await bench.ask(Request.EXCHANGE, 3, [], 1)).words().tolist() == [8]
        assert (await bench.ask(Request.EXCHANGE, 4, [], 2)).words().tolist() == [9, 10]
        assert bench.taken == [*words, 7, 8, 9]

    Bench(testbench)


def test_numbers_out_of_order_are_refused_and_not_executed():
    async def testbench(bench):
        await bench.open()
        await bench.ask(Request.EXCHANGE, 1, [1])
        for sequence in (3, 0, 0xFFFF):
            reply = await bench.ask(Request.EXCHANGE, sequence, [9])
            assert (reply.kind, reply.sequence) == (Reply.REFUSED, 1)
            assert reply.answers == sequence & 0xFFF
            assert reply.payload == b""
        # The stored answer outlives a refusal.
        assert (await bench.ask(Request.EXCHANGE, 1, [1])).kind == Reply.DONE
        assert bench.taken == [1]

    Bench(testbench)


def test_numbers_go_on_after_the_last():
    async def testbench(bench):
        reply = await bench.ask(Request.OPEN, 0xFFFE, answers=2)
        assert reply.kind == Reply.OPENED
        for sequence in (0xFFFF, 0, 1):
            assert (await bench.ask(Request.EXCHANGE, sequence, [sequence])).kind == Reply.DONE
        assert bench.taken == [0xFFFF, 0, 1]

    Bench(testbench)


@pytest.mark.parametrize("session", [0, SESSION ^ 1, 0xFFFF_FFFF])
def test_a_frame_of_another_session_is_told_so(session):
    async def testbench(bench):
        await bench.open()
        reply = await bench.ask(Request.EXCHANGE, 1, [5], session=session)
        assert (reply.kind, reply.session, reply.sequence) == (Reply.LOST, session, 0)
        assert bench.taken == []
        assert (await bench.ask(Request.EXCHANGE, 1, [6])).kind == Reply.DONE
        # It names the number that was executed last, not that of the frame.
        reply = await bench.ask(Request.EXCHANGE, 0x1234, [5], session=session)
        assert (reply.kind, reply.session, reply.sequence) == (Reply.LOST, session, 1)
        assert (reply.answers, reply.payload) == (0, b"")
        assert bench.taken == [6]

    Bench(testbench)


def test_what_is_no_request_is_ignored():
    async def testbench(bench):
        await bench.open()
        for kind in {*range(16)} - {*Request}:
            await bench.send(kind, 1, [5])
        await bench.silence()
        assert (await bench.ask(Request.EXCHANGE, 1, [6])).kind == Reply.DONE
        assert bench.taken == [6]

    Bench(testbench)


def test_a_frame_is_buffered_while_another_is_executed():
    async def testbench(bench):
        await bench.open()
        bench.ready = False
        await bench.send(Request.EXCHANGE, 1, [1, 2])
        await bench.send(Request.EXCHANGE, 2, [3, 4], 4)
        await bench.send(Request.EXCHANGE, 3, [5])
        await bench.silence()
        bench.ready = True
        assert (await bench.reply()).sequence == 1
        reply = await bench.reply()
        assert reply.sequence == 2
        assert reply.words().tolist() == [2, 3, 4, 5]
        # The third found no room: it was lost, and is sent again.
        await bench.silence()
        assert (await bench.ask(Request.EXCHANGE, 3, [5])).sequence == 3
        assert bench.taken == [1, 2, 3, 4, 5]

    Bench(testbench)


def test_an_idle_exchange_is_answered_when_the_network_has_run():
    async def testbench(bench):
        await bench.open()
        bench.ctx.set(bench.dut.busy, 1)
        assert (await bench.ask(Request.EXCHANGE, 1, [1])).sequence == 1
        await bench.send(Request.EXCHANGE_IDLE, 2, [2])
        await bench.silence()
        bench.ctx.set(bench.dut.busy, 0)
        assert (await bench.reply()).sequence == 2

    Bench(testbench)


@pytest.mark.parametrize("late", [1, 8, Link.SETTLE_CYCLES])
def test_an_idle_exchange_waits_for_a_network_whose_busy_rises_late(late):
    async def testbench(bench):
        await bench.open()
        bench.busy_after = late
        await bench.send(Request.EXCHANGE_IDLE, 1, [1])
        await bench.silence()
        bench.ctx.set(bench.dut.busy, 0)
        assert (await bench.reply()).sequence == 1

    Bench(testbench)


def test_a_third_frame_while_both_buffers_are_taken_is_lost_and_harms_none():
    async def testbench(bench):
        await bench.open()
        bench.ready = False
        await bench.send(Request.EXCHANGE, 1, [1, 2, 3])
        await bench.send(Request.EXCHANGE, 2, [4, 5, 6])
        # With words, without, of the other kind, and the first two once more.
        await bench.send(Request.EXCHANGE, 3, [7, 8, 9], 2)
        await bench.send(Request.EXCHANGE, 3, [], 1)
        await bench.send(Request.EXCHANGE_IDLE, 3, [10])
        await bench.send(Request.EXCHANGE, 1, [11])
        await bench.send(Request.EXCHANGE, 2, [12, 13, 14, 15])
        bench.ready = True
        assert [(await bench.reply()).sequence for _ in range(2)] == [1, 2]
        await bench.silence()
        assert bench.taken == [1, 2, 3, 4, 5, 6]
        assert (await bench.ask(Request.EXCHANGE, 3, [7], 7)).words().tolist() == [
            2,
            3,
            4,
            5,
            6,
            7,
            8,
        ]

    Bench(testbench)


def test_opening_another_session_ends_whatever_the_board_waits_for():
    async def testbench(bench):
        await bench.open()
        # An answer that never comes, with another frame behind it.
        await bench.send(Request.EXCHANGE, 1, [1], 5)
        await bench.send(Request.EXCHANGE, 2, [2])
        await bench.silence()
        await bench.open(99)
        reply = await bench.ask(Request.EXCHANGE, 1, [3], 1, session=99)
        assert reply.words().tolist() == [4]
        # Words that the accelerator does not take.
        bench.ready = False
        await bench.send(Request.EXCHANGE, 2, [4, 5], session=99)
        await bench.silence()
        await bench.open(100)
        bench.ready = True
        await bench.ask(Request.EXCHANGE, 1, [6], session=100)
        assert bench.taken == [1, 3, 6]

    Bench(testbench)


def test_parameters_are_checked():
    with pytest.raises(ValueError, match=r"^Words must be a power of two from 32 to 4096, not 48$"):
        Link(words=48)
    with pytest.raises(ValueError, match=r"^Clock must be an integer of hertz .* 48000000\.0$"):
        Link(clock_hz=4.8e7)
