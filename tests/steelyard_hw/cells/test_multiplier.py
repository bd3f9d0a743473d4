# amaranth: UnusedElaboratable=no
"""Multipliers against Python's integers, for every weight and activation."""

import re

import pytest
import z3
from amaranth.hdl import Fragment
from amaranth.sim import Simulator

from steelyard.contract import configure
from steelyard_hw.cells.multiplier import LaneMultipliers, lane_multipliers, multiplier_signature
from steelyard_hw.cells.multiplier_ecp5 import EcpLanes, EcpPairs
from steelyard_hw.cells.multiplier_xilinx import XilinxPairs
from steelyard_hw.cells.target import Target

LANES = 32
VERSIONS = {
    "portable, 2 stages": (lambda: LaneMultipliers(LANES), 2),
    "portable, 5 stages": (lambda: LaneMultipliers(LANES, 5), 5),
    "ECP5": (
        lambda: EcpLanes(LANES, multiplier_signature(LANES), model=True),
        EcpLanes.STAGES,
    ),
    "ECP5 pairs": (
        lambda: EcpPairs(LANES, multiplier_signature(LANES), model=True),
        EcpPairs.STAGES,
    ),
    "Xilinx pairs": (
        lambda: XilinxPairs(LANES, multiplier_signature(LANES)),
        XilinxPairs.STAGES,
    ),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_weight_times_every_activation_one_weight_a_cycle(version):
    make, stages = VERSIONS[version]
    dut = make()
    sent = []

    def operands():
        for weight in range(-128, 128):
            for first in range(0, 256, LANES):
                # Every activation once, in an order that moves with the weight.
                yield weight, [(37 * (first + lane) + 11 * weight) % 256 for lane in range(LANES)]

    async def testbench(ctx):
        tick = ctx.tick().sample(dut.products.as_value())
        for weight, activations in operands():
            ctx.set(dut.weight, weight)
            ctx.set(dut.activations.as_value(), int.from_bytes(bytes(activations), "little"))
            sent.append([weight * a & 0xFFFF for a in activations])
            _, _, products = await tick
            if len(sent) > stages:
                got = [products >> 16 * lane & 0xFFFF for lane in range(LANES)]
                assert got == sent[-1 - stages], f"weight near {weight}"

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


@pytest.mark.parametrize("stages", [1, 2.0, "3"])
def test_multipliers_refuse_too_few_stages(stages):
    sentence = f"Stages must be an integer of at least 2, not {stages!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        LaneMultipliers(4, stages)


@pytest.mark.parametrize("version", [EcpPairs, XilinxPairs])
def test_pairs_refuse_an_odd_number_of_lanes(version):
    with pytest.raises(ValueError, match="^Lanes must be even to share multipliers, not 3$"):
        version(3, multiplier_signature(3))


def test_xilinx_pairs_keep_the_products_apart_for_all_operands():
    # What the exhaustive simulation cannot try: every pair of activations, for every weight.
    low, high = z3.Ints("low high")
    for weight in range(-128, 128):
        solver = z3.Solver()
        solver.add(low >= 0, low < 256, high >= 0, high < 256)
        product = (high * 65536 + low) * weight
        negative = product % 65536 >= 32768
        lower = product % 65536 - z3.If(negative, 65536, 0)
        upper = product / 65536 + z3.If(negative, 1, 0)
        solver.add(z3.Or(lower != low * weight, upper != high * weight))
        assert solver.check() == z3.unsat, f"weight {weight}"


@pytest.mark.parametrize(
    ("target", "stages", "version"),
    [
        (Target.PORTABLE, 4, LaneMultipliers),
        (Target.ECP5, EcpPairs.STAGES, EcpPairs),
        (Target.ECP5, 4, LaneMultipliers),
        (Target.ECP5, 2, EcpLanes),
        (Target.XILINX, 4, XilinxPairs),
        (Target.XILINX, 2, LaneMultipliers),
    ],
)
def test_a_target_gets_its_own_version_where_the_latency_allows(target, stages, version):
    config = configure("array", multiplier_stages=stages)
    component = lane_multipliers(config, target)
    assert isinstance(component, version)
    Fragment.get(component, None)
