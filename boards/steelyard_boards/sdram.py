"""Pins of a board's SDRAM: registers in the cells of the pins, and the chip's clock."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In

from steelyard_hw.memory.chips import IS42S16160_7, ULX3S_SDRAM, W9825G6KH_6
from steelyard_hw.memory.external import ExternalMemory
from steelyard_hw.memory.pins import SdramPins

__all__ = ["ICEPI_ZERO", "ICESUGAR_PRO", "SLOTS_DELAY", "ULX3S", "SdramBuffers"]

DELAY = 3
"""Cycles that words read are late: one for the registers of the pins in each direction, and one
that clock, chip and pins take together. The chip's clock rises in the middle of a cycle, its data
come up to 6 ns later, and are taken at the end of the next cycle."""

SLOTS_DELAY = 10
"""The same of a memory of two slots, in clocks of the chip: what is given to an ODDRX1F in a cycle
is on its pin three cycles later, and what was on the pin of an IDDRX1F is there two cycles later;
a clock and a half is the chip's and the pins'."""

ULX3S = ExternalMemory(ULX3S_SDRAM, DELAY)
ICEPI_ZERO = ExternalMemory(W9825G6KH_6, DELAY)
ICESUGAR_PRO = ExternalMemory(IS42S16160_7, DELAY)


class SdramBuffers(wiring.Component):
    """Cells of the pins of an SDRAM.

    All pins have a register in their cell. The chip's clock is the inverted one of the FPGA, so
    that what comes with a rising edge of the one is taken half a cycle later by the other. With two
    slots the cells give and take two values a cycle, and the clock of the chip is the inverted one
    of the domain `memory`.

    Parameters
    ----------
    port
        The resource ``sdram`` of the platform, requested without direction.
    slots : :class:`int`
        1 or 2.

    Members
    -------
    pins : ``In(SdramPins)``
        From the controller.
    """

    def __init__(self, port: Any, slots: int = 1):
        self._port = port
        self._slots = slots
        super().__init__({"pins": In(SdramPins(len(port.a), slots))})

    def elaborate(self, platform):
        m = Module()
        pins, port = self.pins, self._port
        twice = self._slots > 1
        single = {"clk_en": pins.clock_enable, "dqm": pins.mask}
        each = [
            {
                "cs": select,
                "we": command[0],
                "cas": command[1],
                "ras": command[2],
                "ba": bank,
                "a": address,
            }
            for select, command, bank, address in zip(
                *(
                    _slots(getattr(pins, name), self._slots)
                    for name in ("select", "command", "bank", "address")
                ),
                strict=True,
            )
        ]
        for name, value in single.items():
            # Either all the time or never: a cycle more or less does not matter.
            m.submodules[name] = buffer = io.FFBuffer("o", getattr(port, name))
            m.d.comb += buffer.o.eq(value)
        kind: Any = io.DDRBuffer if twice else io.FFBuffer
        for name in each[0]:
            m.submodules[name] = buffer = kind("o", getattr(port, name))
            for given, slot in zip(_slots(buffer.o, self._slots), each, strict=True):
                m.d.comb += given.eq(slot[name])
        options = {"o_domain": "memory"} if twice else {}
        m.submodules.clk = clock = io.DDRBuffer("o", port.clk, **options)
        m.d.comb += clock.o.eq(0b10)
        m.submodules.dq = dq = kind("io", port.dq)
        m.d.comb += dq.oe.eq(pins.data_oe)
        for number in range(self._slots):
            m.d.comb += [
                _slots(dq.o, self._slots)[number].eq(_slots(pins.data_o, self._slots)[number]),
                _slots(pins.data_i, self._slots)[number].eq(_slots(dq.i, self._slots)[number]),
            ]
        return m


def _slots(value: Any, count: int) -> list[Any]:
    """Values of all slots, in their order."""
    return [value] if count == 1 else [value[number] for number in range(count)]
