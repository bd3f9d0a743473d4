"""Testbench of the accelerator with the crossbar tile: random programs and their counts."""

import os
from random import Random

import cocotb

from steelyard.tile import TileConfig
from steelyard_sim.bench import HostBench
from steelyard_sim.tile_case import TileScript, random_tile_program

STALLS = (0.0, 0.1, 0.5)


@cocotb.test()
async def random_program_agrees(dut):
    """Upload, run and read back one program over host streams that stall."""
    seed = int(os.environ["STEELYARD_SEED"])
    config = TileConfig.from_toml(os.environ["STEELYARD_CONFIG"])
    rng = Random(seed)
    program, x = random_tile_program(seed, config)
    stalls = rng.choice(STALLS), rng.choice(STALLS)
    script = TileScript(program, x, rng, layerwise=rng.random() < 0.5)
    print(f"CASE {program.method}: {script}, stalls {stalls[0]} {stalls[1]}", flush=True)
    bench = HostBench(dut, rng, *stalls)
    await bench.start()
    mismatch = script.check(await bench.exchange(script.words, script.answers))
    assert mismatch is None, str(mismatch)
