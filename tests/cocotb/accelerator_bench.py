"""Testbench of the whole accelerator: random programs against the golden model."""

import os
from random import Random

import cocotb

from steelyard.config import ArrayConfig
from steelyard_sim.bench import HostBench
from steelyard_sim.program_case import Script, random_program

STALLS = (0.0, 0.1, 0.5)


@cocotb.test()
async def random_program_agrees(dut):
    """Upload, run and read back one program over host streams that stall."""
    seed = int(os.environ["STEELYARD_SEED"])
    config = ArrayConfig.from_toml(os.environ["STEELYARD_CONFIG"])
    rng = Random(seed)
    program, x = random_program(seed, config)
    stalls = rng.choice(STALLS), rng.choice(STALLS)
    script = Script(program, x, rng, layerwise=rng.random() < 0.5)
    print(f"CASE {script}, stalls {stalls[0]} {stalls[1]}", flush=True)
    bench = HostBench(dut, rng, *stalls)
    await bench.start()
    mismatch = script.check(await bench.exchange(script.words, script.answers))
    if mismatch is not None:
        # Only now is it worth the time to read every layer's output, not just the last one's.
        again = Script(program, x, rng, layerwise=True)
        first = again.check(await bench.exchange(again.words, again.answers))
        raise AssertionError(f"First difference: {first or mismatch}")
