# amaranth: UnusedElaboratable=no
"""Host port against a Python model of the commands, on a bus with the promised latency."""

import re
from random import Random

import pytest
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard.contract.registers import Space
from steelyard_hw.lib.testing import monitor, receive, send
from steelyard_hw.shell.host import HostPort

CONFIG = configure("array", lanes=16, columns=16, group=16, weight_words=64, activation_words=64)
ITEM_WORDS = {0: 1, 1: 1, 2: 3, 3: 6, 4: 4, 5: 1, 6: 1}
WRITE, READ, START = 0x01000000, 0x02000000, 0x03000000


class Bench:
    """Port with a model of the memories and of an accelerator that runs after every start."""

    def __init__(self, *, run_cycles=30, rise=2):
        self.dut = HostPort(CONFIG)
        self.run_cycles, self.rise = run_cycles, rise
        self.words = {}
        self.starts = []
        self.busy = False
        self.violations = []

    async def bus(self, ctx):
        """Memories that answer a place held for ``READ_LATENCY`` cycles, garbage otherwise."""
        dut = self.dut
        shown = []
        noise = Random(99)
        tick = ctx.tick().sample(
            dut.space, dut.bus.address, dut.bus.sub, dut.bus.write, dut.bus.data, dut.o.valid
        )
        while True:
            _, _, space, address, sub, write, word, answered = await tick
            place = (space, address, sub)
            if (write or (answered and space)) and self.busy:
                self.violations.append(place)
            if write:
                self.words[place] = word
            shown = [place, *shown][: dut.READ_LATENCY - 1]
            answer = noise.getrandbits(32)
            if shown == [place] * (dut.READ_LATENCY - 1):
                answer = self.words.get(place, 0xDEAD0000 | sub)
            ctx.set(dut.bus.result, answer)

    async def engine(self, ctx):
        """Accelerator whose busy rises `rise` cycles after start and falls later."""
        dut = self.dut
        while True:
            start = 0
            while not start:
                _, _, start, first, count = await ctx.tick().sample(
                    dut.start, dut.start_first, dut.start_count
                )
            self.starts.append((first, count))
            self.busy = True
            for _ in range(self.rise - 1):
                await ctx.tick()
            ctx.set(dut.busy, 1)
            for _ in range(self.run_cycles):
                await ctx.tick()
            self.busy = False
            ctx.set(dut.busy, 0)

    def run(self, *testbenches):
        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        for testbench in testbenches:
            sim.add_testbench(testbench)
        sim.add_testbench(self.bus, background=True)
        sim.add_testbench(self.engine, background=True)
        sim.add_process(monitor(self.dut.i, "i"))
        sim.add_process(monitor(self.dut.o, "o"))
        sim.run()
        assert not self.violations, "memory touched while a network ran"

    def exchange(self, words, answers, seed, stall=0.3, settle=200):
        """Send `words` and return the next `answers` words, with random stalls of both sides."""
        rng_i = None if seed is None else Random(seed)
        rng_o = None if seed is None else Random(seed + 1000)
        received = []

        async def sender(ctx):
            await send(ctx, self.dut.i, words, rng=rng_i, stall=stall)
            await ctx.tick().repeat(settle)

        async def receiver(ctx):
            received.extend(await receive(ctx, self.dut.o, answers, rng=rng_o, stall=stall))
            for _ in range(settle):
                await ctx.tick()
                assert not ctx.get(self.dut.o.valid), "more answers than asked for"

        self.run(sender, receiver)
        return received


def places(space, address, count):
    """(space, item, word) of `count` consecutive words."""
    words = ITEM_WORDS.get(space, 1)
    return [(space, address + n // words, n % words) for n in range(count)]


def random_commands(rng, number):
    """Random commands: words in, words out, contents of the memories, starts."""
    stored, sent, answers, starts = {}, [], [], []
    for _ in range(number):
        kind = rng.choice(["write", "read", "read", "start", "unknown"])
        space = rng.randrange(1, 6)
        address, count = rng.randrange(8), rng.choice([0, 1, 1, 2, 7, 12, 25])
        if kind == "write":
            values = [rng.getrandbits(32) for _ in range(count)]
            sent += [WRITE | space, address, count, *values]
            stored.update(zip(places(space, address, count), values, strict=True))
        elif kind == "read":
            space = rng.randrange(6)
            sent += [READ | space, address, count]
            answers += [stored.get(p, 0xDEAD0000 | p[2]) for p in places(space, address, count)]
        elif kind == "start":
            count = rng.choice([0, 1, 3, 65535])
            sent += [START, address, count]
            if count:
                starts.append((address, count))
        else:
            sent.append(rng.choice([0, 0xFFFFFFFF, 0x04000000, 0x01000008, 0x02800001]))
    return stored, sent, answers, starts


@pytest.mark.parametrize("seed", range(6))
def test_random_commands_agree_with_the_model(seed):
    stored, sent, answers, starts = random_commands(Random(seed), 40)
    bench = Bench(rise=1 + seed % 5)
    stall = (0.0, 0.3, 0.8)[seed % 3]
    assert bench.exchange(sent, len(answers), seed, stall) == answers
    assert bench.words == stored
    assert bench.starts == starts


@pytest.mark.parametrize("space", list(Space))
def test_words_of_items_are_visited_in_order(space):
    values = list(range(100, 100 + 4 * ITEM_WORDS[space]))
    bench = Bench()
    sent = [WRITE | space, 9, len(values), *values, READ | space, 9, len(values)]
    assert bench.exchange(sent, len(values), None) == values
    assert bench.words == dict(zip(places(space, 9, len(values)), values, strict=True))


def test_writes_move_one_word_a_cycle_and_reads_as_the_port_says():
    bench = Bench()
    dut = bench.dut
    cycles = {"bus": [], "o": []}
    values = list(range(40))

    async def watch(ctx):
        cycle = 0
        while True:
            _, _, write, valid = await ctx.tick().sample(dut.bus.write, dut.o.valid)
            cycle += 1
            if write:
                cycles["bus"].append(cycle)
            if valid:
                cycles["o"].append(cycle)

    async def sender(ctx):
        await send(ctx, dut.i, [WRITE | 3, 0, 40, *values, READ | 3, 0, 40])

    async def receiver(ctx):
        assert await receive(ctx, dut.o, 40) == values

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(sender)
    sim.add_testbench(receiver)
    sim.add_testbench(watch, background=True)
    sim.add_testbench(bench.bus, background=True)
    sim.run()
    for name, step in (("bus", 1), ("o", HostPort.READ_CYCLES)):
        first = cycles[name][0]
        assert cycles[name] == list(range(first, first + 40 * step, step))


def test_registers_answer_at_once_while_a_network_runs_and_memories_wait():
    bench = Bench(run_cycles=200, rise=HostPort.START_GUARD)
    dut = bench.dut
    bench.words = {(0, 10, 0): 77, (4, 1, 0): 88}

    async def testbench(ctx):
        ctx.set(dut.o.ready, 1)
        await send(ctx, dut.i, [START, 2, 5, READ, 10, 1])
        waited, *_ = await cycles_until_answer(ctx)
        assert waited < 16 and bench.busy
        await send(ctx, dut.i, [READ | 4, 1, 1])
        waited, answer = await cycles_until_answer(ctx)
        assert waited > 100 and not bench.busy
        assert answer == 88
        assert bench.starts == [(2, 5)]

    async def cycles_until_answer(ctx):
        waited = 0
        while not ctx.get(dut.o.valid):
            await ctx.tick()
            waited += 1
        answer = ctx.get(dut.o.payload)
        await ctx.tick()
        return waited, answer

    bench.run(testbench)


def test_an_unread_answer_holds_back_only_the_reads():
    bench = Bench()
    count = 60

    async def sender(ctx):
        await send(ctx, bench.dut.i, [READ | 1, 0, count])

    async def receiver(ctx):
        await ctx.tick().repeat(150)
        assert await receive(ctx, bench.dut.o, count) == [0xDEAD0000] * count

    bench.run(sender, receiver)


def test_port_refuses_what_is_no_configuration():
    sentence = "Configuration must be an AcceleratorConfig, not {'lanes': 4}"
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}$"):
        HostPort({"lanes": 4})
