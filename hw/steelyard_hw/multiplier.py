"""Multipliers of the array: one weight times the activations of all lanes."""

from amaranth import Module, Signal
from amaranth.hdl import signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["LaneMultipliers"]


class LaneMultipliers(wiring.Component):
    """Products of one int8 weight and one int8 activation a lane (portable version).

    Two cycles of latency; one weight a cycle. The second register lets a toolchain place it inside
    the multiplier block.

    Parameters
    ----------
    lanes : :class:`int`
        Multipliers, at least 1.

    Members
    -------
    weight : ``In(signed(8))``
    activations : ``In(ArrayLayout(signed(8), lanes))``
    products : ``Out(ArrayLayout(signed(16), lanes))``
    """

    LATENCY = 2

    def __init__(self, lanes: int):
        if not isinstance(lanes, int) or lanes < 1:
            raise ValueError(f"Lanes must be a positive integer, not {lanes!r}")
        self._lanes = lanes
        super().__init__(
            {
                "weight": In(signed(8)),
                "activations": In(data.ArrayLayout(signed(8), lanes)),
                "products": Out(data.ArrayLayout(signed(16), lanes)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        for lane in range(self._lanes):
            product = Signal(signed(16), name=f"product_{lane}", reset_less=True)
            m.d.sync += [
                product.eq(self.weight * self.activations[lane]),
                self.products[lane].eq(product),
            ]
        return m
