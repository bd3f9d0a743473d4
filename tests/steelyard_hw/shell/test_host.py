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
WORDS = 1 << 16
EXTERNAL = CONFIG.with_(external_words=WORDS)
ITEM_WORDS = {0: 1, 1: 1, 2: 3, 3: 6, 4: 4, 5: 1, 6: 1, 7: 1}
WRITE, READ, START = 0x01000000, 0x02000000, 0x03000000


class Bench:
    """Port with a model of the memories and of an accelerator that runs after every start."""

    def __init__(self, *, run_cycles=30, rise=2, config=CONFIG):
        self.dut = HostPort(config)
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

    def around(self):
        """Models of what is around the port."""
        return [self.bus, self.engine]

    def streams(self):
        """Streams whose items must stay until they are taken."""
        return {"i": self.dut.i, "o": self.dut.o}

    def run(self, *testbenches):
        sim = Simulator(self.dut)
        sim.add_clock(1e-6)
        for testbench in testbenches:
            sim.add_testbench(testbench)
        for process in self.around():
            sim.add_testbench(process, background=True)
        for name, stream in self.streams().items():
            sim.add_process(monitor(stream, name))
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


def random_commands(rng, number, stored=()):
    """Random commands to memories with words `stored`: contents, words in, words out, starts."""
    stored, sent, answers, starts = dict(stored), [], [], []
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


class ExternalBench(Bench):
    """The same with an external memory, which has its own stalls and runs bursts in their order.

    Parameters
    ----------
    seed : of the memory's stalls
    stall : probability of a cycle in which it takes no command, one without a word to read, and one
        in which it takes no word to write
    """

    def __init__(self, seed=0, stall=0.3, config=EXTERNAL, **options):
        super().__init__(config=config, **options)
        self.rng, self.stall = Random(seed), stall
        self.bursts = []
        self.external = {}

    async def memory(self, ctx):
        """Run one burst after the other; words go in and come out only with theirs."""
        port = self.dut.external
        while True:
            # A stall that began before the command would mostly be over when it comes.
            while self.stall and not ctx.get(port.command.valid):
                await ctx.tick()
            await self.stalls(ctx)
            ctx.set(port.command.ready, 1)
            command = await self.item(ctx, port.command)
            ctx.set(port.command.ready, 0)
            if self.busy:
                self.violations.append("external")
            self.bursts.append((command.address, command.words, command.write))
            for place in range(command.address, command.address + command.words):
                await self.stalls(ctx)
                if command.write:
                    ctx.set(port.write.ready, 1)
                    self.external[place % WORDS] = await self.item(ctx, port.write)
                    ctx.set(port.write.ready, 0)
                else:
                    ctx.set(port.read.payload, self.external.get(place % WORDS, held(place)))
                    ctx.set(port.read.valid, 1)
                    while not (await ctx.tick().sample(port.read.ready))[2]:
                        pass
                    ctx.set(port.read.valid, 0)
                    ctx.set(port.read.payload, 0xDEADBEEF)

    async def stalls(self, ctx):
        while self.rng.random() < self.stall:
            await ctx.tick()

    async def item(self, ctx, stream):
        """Next item of a stream that the memory is ready for."""
        valid = 0
        while not valid:
            _, _, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
        return payload

    async def unasked(self, ctx):
        """Words are given and taken only while a burst is open that they belong to."""
        port = self.dut.external
        tick = ctx.tick().sample(
            port.command.valid & port.command.ready,
            port.command.payload,
            port.write.valid,
            port.write.ready,
            port.read.ready,
            port.read.valid,
        )
        writes = reads = 0
        while True:
            _, _, asked, command, offered, written, wanted, read = await tick
            if (offered and not writes) or (wanted and not reads):
                self.violations.append("unasked")
            writes -= offered and written
            reads -= wanted and read
            if asked:
                writes += command.words * command.write
                reads += command.words * (1 - command.write)

    async def deadline(self, ctx):
        for _ in range(20_000):
            await ctx.tick()
        raise AssertionError("the port hangs")

    def around(self):
        return [*super().around(), self.memory, self.unasked, self.deadline]

    def streams(self):
        port = self.dut.external
        return super().streams() | {"command": port.command, "write": port.write}


def held(address):
    """What the external memory holds before anything is written."""
    return (address % WORDS * 0x9E3779B1 + 0x7F4A7C15) & 0xFFFFFFFF


def random_bursts(rng, number):
    """Random commands to the external memory among those to the others, and what they do."""
    stored, external, bursts, sent, answers, starts = {}, {}, [], [], [], []
    for _ in range(number):
        if rng.random() < 0.4:
            stored, words, heard, begun = random_commands(rng, 1, stored)
            sent, answers, starts = sent + words, answers + heard, starts + begun
            continue
        address = rng.choice([rng.getrandbits(32), 16 + rng.randrange(8), WORDS - 3])
        count = rng.choice([0, 1, 1, 2, 7, 25])
        write = rng.randrange(2)
        cut = [(address + n) % WORDS for n in range(count)]
        if count:
            bursts.append((address % WORDS, count, write))
        if write:
            values = [rng.getrandbits(32) for _ in range(count)]
            sent += [WRITE | Space.EXTERNAL, address, count, *values]
            external.update(zip(cut, values, strict=True))
        else:
            sent += [READ | Space.EXTERNAL, address, count]
            answers += [external.get(place, held(place)) for place in cut]
    return stored, external, bursts, sent, answers, starts


@pytest.mark.parametrize("seed", range(6))
def test_commands_to_the_external_memory_become_one_burst_each_among_the_others(seed):
    print(f"seed {seed}")
    stored, external, bursts, sent, answers, starts = random_bursts(Random(seed), 40)
    stall = (0.0, 0.3, 0.7)
    bench = ExternalBench(seed + 50, stall[seed // 2], rise=1 + seed % 5)
    assert bench.exchange(sent, len(answers), seed, stall[seed % 3]) == answers
    assert bench.bursts == bursts
    assert bench.external == external
    assert bench.words == stored
    assert bench.starts == starts


def test_a_burst_waits_until_the_network_has_ended():
    bench = ExternalBench(7, run_cycles=200, rise=HostPort.START_GUARD)
    dut = bench.dut

    async def sender(ctx):
        await send(ctx, dut.i, [START, 2, 5, WRITE | Space.EXTERNAL, 9, 2])
        for word in (11, 12):
            await send(ctx, dut.i, [word])
            # The first of them is taken only behind the burst.
            assert not bench.busy
        await send(ctx, dut.i, [START | Space.EXTERNAL, 3, 1, READ | Space.EXTERNAL, 9, 2])

    async def receiver(ctx):
        assert await receive(ctx, dut.o, 2) == [11, 12]
        assert not bench.busy

    bench.run(sender, receiver)
    assert bench.starts == [(2, 5), (3, 1)]
    assert bench.bursts == [(9, 2, 1), (9, 2, 0)]
    assert bench.external == {9: 11, 10: 12}


@pytest.mark.parametrize("command", [WRITE, READ])
def test_a_command_for_no_word_of_the_external_memory_is_no_burst(command):
    bench = ExternalBench()
    sent = [command | Space.EXTERNAL, 5, 0, READ | 3, 1, 1]
    assert bench.exchange(sent, 1, None) == [0xDEAD0000]
    assert bench.bursts == []


@pytest.mark.parametrize("weight_words", [64, 1 << 16])
def test_of_a_count_beyond_a_burst_the_low_bits_are_taken(weight_words):
    # Of a memory with more words than a burst can have the port counts further.
    bench = ExternalBench(config=EXTERNAL.with_(weight_words=weight_words))
    sent = [WRITE | Space.EXTERNAL, 5, (3 << 16) + 2, 21, 22, READ | Space.EXTERNAL, 4, 1 << 16]
    sent += [READ | Space.EXTERNAL, 5, (1 << 16) + 3]
    assert bench.exchange(sent, 3, None) == [21, 22, held(7)]
    assert bench.bursts == [(5, 2, 1), (5, 3, 0)]


def test_words_of_a_burst_move_one_a_cycle_into_the_memory_and_in_two_out_of_it():
    bench = ExternalBench(stall=0)
    port, values = bench.dut.external, list(range(20))
    cycles = {"write": [], "read": []}

    async def ready_at_once(ctx):
        cycle = 0
        for signal in (port.command.ready, port.write.ready, port.read.valid):
            ctx.set(signal, 1)
        tick = ctx.tick().sample(port.write.valid, port.write.payload, port.read.ready)
        while True:
            ctx.set(port.read.payload, 100 + len(cycles["read"]))
            _, _, write, word, read = await tick
            cycle += 1
            assert not write or word == values[len(cycles["write"])]
            cycles["write"] += [cycle] * write
            cycles["read"] += [cycle] * read

    bench.memory = ready_at_once
    sent = [WRITE | Space.EXTERNAL, 0, 20, *values, READ | Space.EXTERNAL, 0, 20]
    assert bench.exchange(sent, 20, None) == [100 + n for n in range(20)]
    for name, step in (("write", 1), ("read", 2)):
        first = cycles[name][0]
        assert cycles[name] == list(range(first, first + 20 * step, step))


def test_port_refuses_what_is_no_configuration():
    sentence = "Configuration must be an AcceleratorConfig, not {'lanes': 4}"
    with pytest.raises(TypeError, match=f"^{re.escape(sentence)}$"):
        HostPort({"lanes": 4})
