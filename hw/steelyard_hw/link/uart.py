"""UART of the link: bytes to and from one serial line, 8 data bits, no parity, one stop bit."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from steelyard.errors import UserError

__all__ = ["MIN_DIVIDER", "UartReceiver", "UartTransmitter", "divider_for"]

MIN_DIVIDER = 4
"""Clock cycles of a bit below which a bit's middle is not met."""

TOLERANCE = 0.025
"""Share by which the line's rate may be off: a frame of ten bits slips a quarter of a bit."""


def divider_for(clock_hz: float, baud: float) -> int:
    """Clock cycles of a bit.

    Raises
    ------
    UserError
        If the clock is too slow, or no whole number of cycles is near enough.
    """
    divider = round(clock_hz / baud)
    if divider < MIN_DIVIDER or abs(clock_hz / divider / baud - 1) > TOLERANCE:
        nearest = clock_hz / max(divider, MIN_DIVIDER)
        raise UserError(
            f"A clock of {clock_hz / 1e6:g} MHz cannot make {baud:g} baud within "
            f"{TOLERANCE:.1%}; use {nearest:.0f} baud or another clock."
        )
    return divider


def _checked(divider: object) -> int:
    if not isinstance(divider, int) or isinstance(divider, bool) or divider < MIN_DIVIDER:
        raise ValueError(f"Divider must be an integer of at least {MIN_DIVIDER}, not {divider!r}")
    return divider


class UartReceiver(wiring.Component):
    """Bytes of a serial line, each sampled in the middle of its bits.

    A byte comes half a bit before its stop bit ends; nothing can hold it back. A start bit that is
    gone by its middle and a byte without stop bit are dropped; a byte begins only where the line
    falls, not in the middle of a break.

    Parameters
    ----------
    divider : :class:`int`
        Clock cycles of a bit, at least 4.

    Members
    -------
    rx : ``In(1)``
        The line, high when idle, of any clock domain.
    valid : ``Out(1)``
        Strobe: `payload` is a byte.
    payload : ``Out(8)``
        The byte, stable for nine bits.
    """

    def __init__(self, divider: int):
        self._divider = _checked(divider)
        super().__init__({"rx": In(1, init=1), "valid": Out(1), "payload": Out(8)})

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        left = Signal(range(11))
        count = Signal(range(self._divider))
        before = Signal(init=1)
        m.d.sync += [before.eq(line), count.eq(count - 1), self.valid.eq(0)]
        with m.If(left == 0):
            m.d.sync += count.eq(self._divider // 2 - 1)
            with m.If(before & ~line):
                m.d.sync += left.eq(10)
        with m.Elif(count == 0):
            m.d.sync += [count.eq(self._divider - 1), left.eq(left - 1)]
            with m.If(left == 1):
                m.d.sync += self.valid.eq(line)
            with m.Elif((left == 10) & line):
                m.d.sync += left.eq(0)
            with m.Else():
                m.d.sync += self.payload.eq(Cat(self.payload[1:], line))
        return m


class UartTransmitter(wiring.Component):
    """Bytes onto a serial line; takes one every ten bits.

    Parameters
    ----------
    divider : :class:`int`
        Clock cycles of a bit, at least 4.

    Members
    -------
    i : ``In(stream.Signature(8))``
        Bytes.
    tx : ``Out(1)``
        The line, a register.
    busy : ``Out(1)``
        A byte is on the line.
    """

    def __init__(self, divider: int):
        self._divider = _checked(divider)
        super().__init__({"i": In(stream.Signature(8)), "tx": Out(1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        shift = Signal(9, init=0x1FF)
        left = Signal(range(11))
        count = Signal(range(self._divider))
        m.d.comb += [self.tx.eq(shift[0]), self.busy.eq(left != 0), self.i.ready.eq(~self.busy)]
        m.d.sync += count.eq(count - 1)
        with m.If(~self.busy | (count == 0)):
            m.d.sync += count.eq(self._divider - 1)
        with m.If(~self.busy):
            with m.If(self.i.valid):
                m.d.sync += [shift.eq(Cat(0, self.i.payload)), left.eq(10)]
        with m.Elif(count == 0):
            m.d.sync += [shift.eq(Cat(shift[1:], 1)), left.eq(left - 1)]
        return m
