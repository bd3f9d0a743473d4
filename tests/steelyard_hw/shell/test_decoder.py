# amaranth: UnusedElaboratable=no
"""Decoder of the host's bus against what each space should see."""

from random import Random

from amaranth.sim import Simulator

from steelyard.contract.registers import Space
from steelyard_hw.shell.decoder import HostDecoder
from steelyard_hw.shell.ports import HostBus

SPACES = {Space.REGISTERS: (16, 1), Space.WEIGHTS: (64, 4), Space.UNITS: (8, 2)}


def test_each_space_sees_the_place_and_only_the_addressed_one_is_written_and_heard():
    dut = HostDecoder(HostBus(64, 4), {space: HostBus(*size) for space, size in SPACES.items()})

    async def testbench(ctx):
        rng = Random(5)
        for _ in range(200):
            space, select, write = rng.choice(list(Space)), rng.getrandbits(1), rng.getrandbits(1)
            address, sub, data = rng.randrange(64), rng.randrange(4), rng.getrandbits(32)
            results = {each: rng.getrandbits(32) for each in SPACES}
            ctx.set(dut.space, space)
            for name, value in (
                ("select", select), ("address", address), ("sub", sub), ("write", write),
                ("data", data),
            ):  # fmt: skip
                ctx.set(getattr(dut.host, name), value)
            for each, value in results.items():
                ctx.set(dut.bus(each).result, value)
            for each, (items, words) in SPACES.items():
                bus = dut.bus(each)
                seen = [ctx.get(getattr(bus, name)) for name in ("select", "data", "write")]
                assert seen == [select, data, write and space == each]
                assert (ctx.get(bus.address), ctx.get(bus.sub)) == (address % items, sub % words)
            assert ctx.get(dut.host.result) == results.get(space, 0)

    sim = Simulator(dut)
    sim.add_testbench(testbench)
    sim.run()
