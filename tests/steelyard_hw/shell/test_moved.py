# amaranth: UnusedElaboratable=no
"""CRC of moved words against the host's."""

from random import Random

import numpy as np
import pytest
from amaranth.sim import Simulator

from steelyard.contract.checksum import crc
from steelyard_hw.shell.moved import MovedCrc


@pytest.mark.parametrize("seed", range(4))
def test_it_is_that_of_the_host_whatever_the_gaps_and_begins_anew(seed):
    rng = Random(seed)
    dut = MovedCrc()

    async def bench(ctx):
        for length in (0, 1, 2, 3, 50):
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            moved = []
            while len(moved) < length:
                valid, word = rng.random() < 0.6, rng.getrandbits(32)
                ctx.set(dut.valid, valid)
                ctx.set(dut.word, word)
                await ctx.tick()
                moved += [word] if valid else []
            ctx.set(dut.valid, 0)
            await ctx.tick()
            assert ctx.get(dut.crc) == crc(np.array(moved, np.uint32))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
