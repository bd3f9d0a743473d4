"""Pins of an SDR SDRAM, and the commands on them."""

from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ALL_BANKS", "BANKS", "BANK_BITS", "DATA_BITS", "SdramCommand", "SdramPins"]

BANK_BITS = 2
BANKS = 1 << BANK_BITS
DATA_BITS = 16
"""Bits that a chip moves in a cycle."""
ALL_BANKS = 10
"""Address pin that makes a precharge one of all banks, and a column command close its row."""


class SdramCommand(enum.IntEnum, shape=3):  # type: ignore[call-arg]
    """Command of a selected chip: the pins WE, CAS and RAS, bits 0 to 2, each 1 where it is low."""

    NOTHING = 0
    STOP = 1
    READ = 2
    WRITE = 3
    ACTIVATE = 4
    PRECHARGE = 5
    REFRESH = 6
    MODE = 7


class SdramPins(wiring.Signature):
    """Pins of a chip as a controller drives them, but for its clock.

    Parameters
    ----------
    address_bits : :class:`int`
        Address pins.

    Members
    -------
    clock_enable, select : ``Out(1)``
        CKE; CS, high where the pin is low.
    command : ``Out(SdramCommand)``
        WE, CAS and RAS.
    bank : ``Out(2)``
        BA.
    address : ``Out(address_bits)``
        A.
    mask : ``Out(2)``
        DQM of each byte.
    data_o : ``Out(16)``
        DQ from the controller.
    data_oe : ``Out(1)``
        Whether the controller drives DQ.
    data_i : ``In(16)``
        DQ from the chip.
    """

    def __init__(self, address_bits):
        super().__init__(
            {
                "clock_enable": Out(1),
                "select": Out(1),
                "command": Out(SdramCommand),
                "bank": Out(BANK_BITS),
                "address": Out(address_bits),
                "mask": Out(2, init=0b11),
                "data_o": Out(DATA_BITS),
                "data_oe": Out(1),
                "data_i": In(DATA_BITS),
            }
        )
