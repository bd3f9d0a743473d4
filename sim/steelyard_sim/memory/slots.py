"""Pins of two slots a cycle, as the chip behind them sees them."""

from amaranth.hdl import DomainRenamer, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from steelyard_hw.memory.pins import SdramPins

__all__ = ["CHIP_DOMAIN", "PlainPins", "connect_chip"]

CHIP_DOMAIN = "chip"
"""Clock domain of a chip at twice its controller's clock. Every edge of ``sync`` is one of it."""


class PlainPins(wiring.Component):
    """Puts the two slots of a cycle on plain pins, one after the other, and takes two halves back.

    This is what an FPGA's cells with two values a cycle do (ODDRX1F and IDDRX1F of the ECP5), but
    for their registers, which are part of the delay of whatever stands behind. A value in the first
    slot is on the pins in the first of a cycle's two cycles of :data:`CHIP_DOMAIN`; what the chip
    drives in the two is in both slots of `slots` at the cycle's end.

    Parameters
    ----------
    address_bits : :class:`int`
        Address pins.

    Members
    -------
    slots : ``In(SdramPins(address_bits, 2))``
        From the controller, in ``sync``.
    pins : ``Out(SdramPins(address_bits))``
        To the chip.
    """

    def __init__(self, address_bits: int) -> None:
        super().__init__(
            {"slots": In(SdramPins(address_bits, 2)), "pins": Out(SdramPins(address_bits))}
        )

    def elaborate(self, platform):
        m = Module()
        slots, pins = self.slots, self.pins
        cycle, seen = Signal(), Signal()
        second = Signal()
        earlier = Signal.like(pins.data_i)
        # Two signals that differ only behind an edge of both clocks: no reset has to set a phase.
        m.d.sync += cycle.eq(~cycle)
        m.d[CHIP_DOMAIN] += [seen.eq(cycle), earlier.eq(pins.data_i)]
        m.d.comb += second.eq(cycle == seen)
        for name in ("select", "command", "bank", "address", "data_o"):
            first_value, second_value = getattr(slots, name)
            pin = getattr(pins, name)
            m.d.comb += pin.eq(first_value)
            with m.If(second):
                m.d.comb += pin.eq(second_value)
        m.d.comb += [
            *(getattr(pins, n).eq(getattr(slots, n)) for n in ("clock_enable", "mask", "data_oe")),
            slots.data_i[0].eq(earlier),
            slots.data_i[1].eq(pins.data_i),
        ]
        return m


def connect_chip(m: Module, pins, chip: wiring.Component) -> None:
    """Make a model of a chip a submodule ``model`` and connect it to a controller's pins.

    Parameters
    ----------
    pins : :class:`SdramPins`, of one slot or two; with two the model is in :data:`CHIP_DOMAIN`
    chip : model in the domain ``sync``
    """
    slots = pins.signature.slots
    if slots == 1:
        m.submodules.model = chip
        connect(m, pins, chip.pins)
        return
    m.submodules.model = DomainRenamer(CHIP_DOMAIN)(chip)
    m.submodules.plain = plain = PlainPins(len(chip.pins.address))
    connect(m, pins, plain.slots)
    connect(m, plain.pins, chip.pins)
