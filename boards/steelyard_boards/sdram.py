"""Pins of a board's SDRAM: registers in the cells of the pins, and the chip's clock."""

from typing import Any

from amaranth.hdl import Module
from amaranth.lib import io, wiring
from amaranth.lib.wiring import In

from steelyard_hw.memory.chips import IS42S16160_7, ULX3S_SDRAM, W9825G6KH_6
from steelyard_hw.memory.external import ExternalMemory
from steelyard_hw.memory.pins import SdramPins

__all__ = ["ICEPI_ZERO", "ICESUGAR_PRO", "ULX3S", "SdramBuffers"]

DELAY = 3
"""Cycles that words read are late: one for the registers of the pins in each direction, and one
that clock, chip and pins take together. The chip's clock rises in the middle of a cycle, its data
come up to 6 ns later, and are taken at the end of the next cycle."""

ULX3S = ExternalMemory(ULX3S_SDRAM, DELAY)
ICEPI_ZERO = ExternalMemory(W9825G6KH_6, DELAY)
ICESUGAR_PRO = ExternalMemory(IS42S16160_7, DELAY)


class SdramBuffers(wiring.Component):
    """Cells of the pins of an SDRAM.

    All pins have a register in their cell. The chip's clock is the inverted one of the FPGA, so
    that what comes with a rising edge of the one is taken half a cycle later by the other.

    Parameters
    ----------
    port
        The resource ``sdram`` of the platform, requested without direction.

    Members
    -------
    pins : ``In(SdramPins)``
        From the controller.
    """

    def __init__(self, port: Any):
        self._port = port
        super().__init__({"pins": In(SdramPins(len(port.a)))})

    def elaborate(self, platform):
        m = Module()
        pins, port = self.pins, self._port
        outputs = {
            "clk_en": pins.clock_enable,
            "cs": pins.select,
            "we": pins.command[0],
            "cas": pins.command[1],
            "ras": pins.command[2],
            "ba": pins.bank,
            "a": pins.address,
            "dqm": pins.mask,
        }
        for name, value in outputs.items():
            m.submodules[name] = buffer = io.FFBuffer("o", getattr(port, name))
            m.d.comb += buffer.o.eq(value)
        m.submodules.clk = clock = io.DDRBuffer("o", port.clk)
        m.d.comb += clock.o.eq(0b10)
        m.submodules.dq = dq = io.FFBuffer("io", port.dq)
        m.d.comb += [dq.o.eq(pins.data_o), dq.oe.eq(pins.data_oe), pins.data_i.eq(dq.i)]
        return m
