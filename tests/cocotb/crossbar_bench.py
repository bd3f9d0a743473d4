"""Testbench of the crossbar tile alone: random layers; late weights, activations and drains."""

import os
from random import Random

import cocotb

from steelyard.contract import AcceleratorConfig
from steelyard_sim.cases.tile import random_crossbar_tile_case
from steelyard_sim.cocotb.tile_ports import CrossbarTilePorts

STALLS = (0.0, 0.2, 0.7)


@cocotb.test()
async def random_layer(dut):
    """Sums, addresses and counts of one layer."""
    seed = int(os.environ["STEELYARD_SEED"])
    config = AcceleratorConfig.from_toml(os.environ["STEELYARD_CONFIG"])
    rng = Random(seed)
    case = random_crossbar_tile_case(seed, config)
    stalls = rng.choice(STALLS), rng.choice(STALLS), rng.choice(STALLS)
    print(f"CASE {case}, stalls {stalls[0]} {stalls[1]} {stalls[2]}", flush=True)
    await CrossbarTilePorts(dut).run(case, rng, *stalls)
