"""Pins of an SDR SDRAM, and the commands on them."""

from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["ALL_BANKS", "BANKS", "BANK_BITS", "DATA_BITS", "SLOTS", "SdramCommand", "SdramPins"]

BANK_BITS = 2
BANKS = 1 << BANK_BITS
DATA_BITS = 16
"""Bits that a chip moves in a cycle."""
SLOTS = (1, 2)
"""Cycles of a chip in one of its controller."""
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
    slots : :class:`int`
        Cycles of the chip in one of the controller, 1 or 2. With two, pins have an array of two
        values a cycle of the controller, the earlier one first; cells of an FPGA's pins put them
        out one after the other.

    Members
    -------
    clock_enable : ``Out(1)``
        CKE, one for all slots.
    select : ``Out(1)``, an array of slots
        CS, high where the pin is low.
    command : ``Out(SdramCommand)``, an array of slots
        WE, CAS and RAS.
    bank : ``Out(2)``, an array of slots
        BA.
    address : ``Out(address_bits)``, an array of slots
        A.
    mask : ``Out(2)``
        DQM of each byte, one for all slots.
    data_o : ``Out(16)``, an array of slots
        DQ from the controller.
    data_oe : ``Out(1)``
        Whether the controller drives DQ, one for all slots.
    data_i : ``In(16)``, an array of slots
        DQ from the chip.

    Raises
    ------
    ValueError
        If there are neither 1 nor 2 slots.
    """

    def __init__(self, address_bits, slots=1):
        if slots not in SLOTS:
            raise ValueError(f"Slots of a memory's pins must be 1 or 2, not {slots!r}")
        self._slots = slots

        def each(member):
            return member if slots == 1 else member.array(slots)

        super().__init__(
            {
                "clock_enable": Out(1),
                "select": each(Out(1)),
                "command": each(Out(SdramCommand)),
                "bank": each(Out(BANK_BITS)),
                "address": each(Out(address_bits)),
                "mask": Out(2, init=0b11),
                "data_o": each(Out(DATA_BITS)),
                "data_oe": Out(1),
                "data_i": each(In(DATA_BITS)),
            }
        )

    @property
    def slots(self):
        """Cycles of the chip in one of the controller."""
        return self._slots
