"""Multipliers of the array: one weight times the activations of all lanes."""

from amaranth import Module, Signal
from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from ..lib.delay import delay
from .multiplier_ecp5 import EcpLanes, EcpPairs
from .multiplier_ice40 import IcePairs
from .multiplier_xilinx import XilinxPairs
from .target import Target

__all__ = ["LaneMultipliers", "lane_multipliers", "multiplier_signature"]


def multiplier_signature(lanes: int) -> wiring.Signature:
    """Ports of every version of the multipliers, as documented in :class:`LaneMultipliers`.

    Raises
    ------
    ValueError
        If `lanes` is no positive integer.
    """
    if not isinstance(lanes, int) or lanes < 1:
        raise ValueError(f"Lanes must be a positive integer, not {lanes!r}")
    return wiring.Signature(
        {
            "weight": In(signed(8)),
            "activations": In(data.ArrayLayout(8, lanes)),
            "products": Out(data.ArrayLayout(signed(16), lanes)),
        }
    )


class LaneMultipliers(wiring.Component):
    """Products of one int8 weight and one unsigned byte a lane (portable version).

    `stages` cycles of latency; one weight a cycle. Activations are unsigned because the array keeps
    them offset by 128 (docs/architecture.md, section 3). The last register lets a toolchain place
    it inside the multiplier block.

    Parameters
    ----------
    lanes : :class:`int`
        Multipliers, at least 1.
    stages : :class:`int`
        Registers from operands to products, at least 2.

    Members
    -------
    weight : ``In(signed(8))``
    activations : ``In(ArrayLayout(8, lanes))``
    products : ``Out(ArrayLayout(signed(16), lanes))``

    Raises
    ------
    ValueError
        If a parameter is out of range.
    """

    def __init__(self, lanes: int, stages: int = 2):
        if not isinstance(stages, int) or stages < 2:
            raise ValueError(f"Stages must be an integer of at least 2, not {stages!r}")
        self._lanes = lanes
        self._stages = stages
        super().__init__(multiplier_signature(lanes))

    def elaborate(self, platform):
        m = Module()
        # Operands are narrower than products: further registers stand in front.
        weight = delay(m, self.weight, self._stages - 2, "weight")
        activations = delay(m, self.activations, self._stages - 2, "activations")
        for lane in range(self._lanes):
            product = Signal(signed(16), name=f"product_{lane}", reset_less=True)
            result = Signal(signed(16), name=f"result_{lane}", reset_less=True)
            m.d.sync += [product.eq(weight * activations[lane]), result.eq(product)]
            m.d.comb += self.products[lane].eq(result)
        return m


def lane_multipliers(config: AcceleratorConfig, target: Target) -> wiring.Component:
    """Multipliers of a column for a target, with the latency ``config.engine.multiplier_stages``.

    A target's own cells are used where they can have that latency, else plain arithmetic. Those of
    the iCE40 register their operands, for which the column then has no registers; only
    configurations without `carry_registers` instantiate them, for yosys' option ``-dsp``, which the
    others need for their requantizers, changes instances into plain 16x16 multipliers.
    """
    versions = {Target.ECP5: (EcpPairs, EcpLanes), Target.XILINX: (XilinxPairs,)}
    for version in versions.get(target, ()):
        if config.engine.multiplier_stages == version.STAGES:
            return version(config.engine.lanes, multiplier_signature(config.engine.lanes))
    instantiates = (
        not config.engine.carry_registers and config.engine.multiplier_stages + 1 == IcePairs.STAGES
    )
    if target is Target.ICE40 and instantiates:
        return IcePairs(config.engine.lanes, multiplier_signature(config.engine.lanes))
    return LaneMultipliers(config.engine.lanes, config.engine.multiplier_stages)
