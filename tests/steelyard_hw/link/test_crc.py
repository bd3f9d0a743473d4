# amaranth: UnusedElaboratable=no
"""CRC of the link against zlib's, and both against Amaranth's."""

import zlib
from functools import partial
from random import Random

import pytest
from amaranth.sim import Simulator

from steelyard_hw.link.crc import ALGORITHM, Crc32


def simulate(testbench) -> None:
    dut = Crc32()
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(partial(testbench, dut=dut))
    sim.run()


async def feed(ctx, dut, data: bytes) -> None:
    for byte in data:
        ctx.set(dut.byte, byte)
        ctx.set(dut.valid, 1)
        await ctx.tick()
        ctx.set(dut.valid, 0)
        await ctx.tick().until(~dut.busy)


async def clear(ctx, dut) -> None:
    ctx.set(dut.clear, 1)
    await ctx.tick()
    ctx.set(dut.clear, 0)


@pytest.mark.parametrize("seed", range(3))
def test_result_and_check_are_those_of_zlib(seed):
    rng = Random(seed)

    async def testbench(ctx, dut):
        for length in (0, 1, 9, rng.randrange(40)):
            data = rng.randbytes(length)
            await feed(ctx, dut, data)
            crc = zlib.crc32(data)
            assert crc == ALGORITHM.compute(data)
            assert ctx.get(dut.crc) == crc
            await feed(ctx, dut, crc.to_bytes(4, "little"))
            assert ctx.get(dut.good)
            await clear(ctx, dut)
            damaged = bytearray(data + crc.to_bytes(4, "little"))
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            await feed(ctx, dut, damaged)
            assert not ctx.get(dut.good)
            await clear(ctx, dut)

    simulate(testbench)


def test_the_result_moves_down_when_fed_with_the_complement_of_its_low_byte():
    async def testbench(ctx, dut):
        await feed(ctx, dut, b"steelyard")
        sent = bytearray()
        for _ in range(4):
            sent.append(ctx.get(dut.crc) & 0xFF)
            await feed(ctx, dut, bytes([sent[-1] ^ 0xFF]))
        assert sent == zlib.crc32(b"steelyard").to_bytes(4, "little")

    simulate(testbench)
