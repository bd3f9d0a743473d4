"""Testbench of the whole accelerator: random programs against the golden model of its engine."""

import os
from pathlib import Path
from random import Random

import cocotb

from steelyard.contract import AcceleratorConfig
from steelyard_sim.cases.program import Script, random_program
from steelyard_sim.cases.tile import CrossbarTileScript, random_crossbar_tile_program
from steelyard_sim.cocotb.ports import HostBench

STALLS = (0.0, 0.1, 0.5)


@cocotb.test()
async def random_program_agrees(dut):
    """Upload, run and read back one program over host streams that stall."""
    seed = int(os.environ["STEELYARD_SEED"])
    path = Path(os.environ["STEELYARD_CONFIG"])
    rng = Random(seed)
    kind: type[Script]
    config = AcceleratorConfig.from_toml(path)
    if config.engine.kind == "crossbar":
        kind, (program, x) = CrossbarTileScript, random_crossbar_tile_program(seed, config)
    else:
        kind, (program, x) = Script, random_program(seed, config)
    stalls = rng.choice(STALLS), rng.choice(STALLS)
    script = kind(program, x, rng, layerwise=rng.random() < 0.5)
    print(f"CASE {script}, stalls {stalls[0]} {stalls[1]}", flush=True)
    bench = HostBench(dut, rng, *stalls)
    await bench.start()
    mismatch = script.check(await bench.exchange(script.words, script.answers))
    if mismatch is not None:
        # Only now is it worth the time to read every layer's output, not just the last one's.
        again = kind(program, x, rng, layerwise=True)
        first = again.check(await bench.exchange(again.words, again.answers))
        raise AssertionError(f"First difference: {first or mismatch}")
