# amaranth: UnusedElaboratable=no
"""Guard of a memory's port: a user that is reset in the midst of bursts leaves nothing behind."""

from dataclasses import replace
from random import Random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from steelyard_hw.memory.chips import W9825G6KH_6, Figure
from steelyard_hw.memory.guard import PortGuard
from steelyard_hw.memory.sdram import SdramController
from steelyard_sim.memory.sdram import Rule, StoredSdram

CLOCK_HZ = 100_000_000
CHIP = replace(
    W9825G6KH_6, row_bits=4, column_bits=5, power_up=Figure(40, "tCK", "this test")
)  # fmt: skip
SIZE = 1 << CHIP.word_bits


class Rig:
    """Guard, controller and chip, and a user that does one thing a cycle on each stream."""

    def __init__(self):
        self.guard = PortGuard(CHIP.word_bits)
        self.controller = SdramController(CHIP, CLOCK_HZ)
        self.model = StoredSdram(CHIP, CLOCK_HZ)
        m = Module()
        m.submodules.guard = self.guard
        m.submodules.controller = self.controller
        m.submodules.model = self.model
        wiring.connect(m, self.guard.memory, self.controller.port)
        wiring.connect(m, self.controller.pins, self.model.pins)
        m.d.comb += self.controller.latency.eq(self.controller.timing.cas)
        self._simulator = Simulator(m)
        self._simulator.add_clock(1e-8)

    def run(self, testbench):
        """Run to its end; the rule that was broken."""

        async def whole(ctx):
            await testbench(ctx)
            self.violation = Rule(ctx.get(self.model.violation))

        self._simulator.add_testbench(whole)
        self._simulator.run()
        return self.violation

    async def work(self, ctx, commands, words, count, rng, cycles=5000):
        """Words read, of commands, words and takings that stall, in a limited time.

        What waits when that is over is still offered, as a reset finds it.
        """
        user, got = self.guard.user, []
        commands, words = list(commands), list(words)
        for _ in range(cycles):
            offers = [rng.random() < 0.7 for _ in range(3)]
            ctx.set(user.command.valid, bool(commands) and offers[0])
            ctx.set(user.write.valid, bool(words) and offers[1])
            ctx.set(user.read.ready, len(got) < count and offers[2])
            if commands:
                ctx.set(user.command.payload, commands[0])
            if words:
                ctx.set(user.write.payload, words[0])
            streams = (user.command, user.write, user.read)
            flags = [getattr(each, name) for each in streams for name in ("valid", "ready")]
            _, _, *flags, payload = await ctx.tick().sample(*flags, user.read.payload)
            taken = [valid and ready for valid, ready in zip(flags[::2], flags[1::2], strict=True)]
            del commands[: taken[0]], words[: taken[1]]
            got += [payload] * taken[2]
            if not commands and not words and len(got) == count:
                break
        for each, waits in ((user.command, commands), (user.write, words)):
            ctx.set(each.valid, bool(waits) and ctx.get(each.valid))
            if waits:
                ctx.set(each.payload, waits[0])
        ctx.set(user.read.ready, 0)
        return got

    async def reset(self, ctx, cycles):
        """Reset the user, who shows anything from the second cycle on."""
        user = self.guard.user
        ctx.set(self.guard.reset, 1)
        await ctx.tick()
        for name in (user.command.valid, user.write.valid, user.read.ready):
            ctx.set(name, 1)
        if cycles > 1:
            await ctx.tick().repeat(cycles - 1)
        for name in (user.command.valid, user.write.valid, user.read.ready, self.guard.reset):
            ctx.set(name, 0)


@pytest.mark.parametrize("seed", range(4))
def test_bursts_after_a_reset_have_their_own_words(seed):
    print("seed", seed)
    rng, rig = Random(seed), Rig()

    async def rounds(ctx):
        for _ in range(12):
            begun = [
                {"address": rng.randrange(SIZE), "words": rng.randrange(40), "write": write}
                for write in (rng.random() < 0.5, rng.random() < 0.5)
            ]
            # More words than the bursts have: those before their command must not stay either.
            words = [rng.getrandbits(32) for _ in range(100)]
            await rig.work(ctx, begun, words, 100, rng, cycles=rng.randrange(1, 150))
            await rig.reset(ctx, rng.choice((1, 1, 5)))
            address, length = rng.randrange(SIZE), rng.randrange(1, 20)
            burst = {"address": address, "words": length}
            words = [rng.getrandbits(32) for _ in range(length)]
            commands = [{**burst, "write": 1}, {**burst, "write": 0}]
            assert await rig.work(ctx, commands, words, length, rng) == words

    assert rig.run(rounds) is Rule.NONE


def test_what_was_to_be_written_becomes_zero_and_the_rest_stays():
    rig, rng = Rig(), Random(1)

    async def bench(ctx):
        whole = {"address": 0, "words": SIZE}
        filled = [n + 1 for n in range(SIZE)]
        await rig.work(ctx, [{**whole, "write": 1}], filled, 0, rng)
        begun = [{"address": 10, "words": 20, "write": 1}]
        await rig.work(ctx, begun, [7, 8, 9], 1, rng, cycles=100)
        await rig.reset(ctx, 1)
        found = await rig.work(ctx, [{**whole, "write": 0}], [], SIZE, rng, cycles=4 * SIZE)
        assert found == [*filled[:10], 7, 8, 9, *([0] * 17), *filled[30:]]

    assert rig.run(bench) is Rule.NONE


def test_without_a_reset_streams_lose_no_cycle():
    rig = Rig()
    user = rig.guard.user

    async def bench(ctx):
        await ctx.tick().until(rig.controller.ready)
        ctx.set(user.command.payload, {"address": 0, "words": 60, "write": 0})
        ctx.set(user.command.valid, 1)
        await ctx.tick().until(user.command.ready)
        ctx.set(user.command.valid, 0)
        ctx.set(user.read.ready, 1)
        cycles = taken = 0
        while taken < 60:
            _, _, valid = await ctx.tick().sample(user.read.valid)
            taken += valid
            cycles += 1
        # Two a word, and what the first one takes with a row to open.
        assert cycles < 2 * 60 + 21

    assert rig.run(bench) is Rule.NONE
