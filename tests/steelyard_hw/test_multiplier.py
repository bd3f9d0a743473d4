# amaranth: UnusedElaboratable=no
"""Multipliers against Python's integers, for every weight and activation."""

import re

import pytest
from amaranth.sim import Simulator

from steelyard_hw.multiplier import LaneMultipliers

LANES = 32


def test_every_weight_times_every_activation_one_weight_a_cycle():
    dut = LaneMultipliers(LANES)
    sent = []

    def operands():
        for weight in range(-128, 128):
            for first in range(0, 256, LANES):
                # The start moves with the weight, so a lane meets other activations each time.
                yield weight, [(first + weight + lane) % 256 - 128 for lane in range(LANES)]

    async def testbench(ctx):
        tick = ctx.tick().sample(dut.products.as_value())
        for weight, activations in operands():
            ctx.set(dut.weight, weight)
            packed = bytes(a & 0xFF for a in activations)
            ctx.set(dut.activations.as_value(), int.from_bytes(packed, "little"))
            sent.append([weight * a & 0xFFFF for a in activations])
            _, _, products = await tick
            if len(sent) > dut.LATENCY:
                got = [products >> 16 * lane & 0xFFFF for lane in range(LANES)]
                assert got == sent[-1 - dut.LATENCY], f"weight near {weight}"

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(testbench)
    sim.run()
    assert len(sent) == 256 * 256 // LANES


@pytest.mark.parametrize("lanes", [0, -1, 2.0, "4"])
def test_multipliers_refuse_what_is_no_number_of_lanes(lanes):
    sentence = f"Lanes must be a positive integer, not {lanes!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        LaneMultipliers(lanes)
