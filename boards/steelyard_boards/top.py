"""What a board holds: oscillator, PLL, and the accelerator behind the serial port's two pins."""

from amaranth.hdl import ClockDomain, Elaboratable, Module
from amaranth.lib import io

from steelyard.config import ArrayConfig
from steelyard_hw.link import SerialAccelerator
from steelyard_hw.link_uart import divider_for

from .board import Board
from .pll import EcpPll

__all__ = ["Top"]


class Top(Elaboratable):
    """Design of a board, elaborated with the board's platform.

    Parameters
    ----------
    board : :class:`.board.Board`
    config : :class:`~steelyard.config.ArrayConfig`

    Raises
    ------
    UserError
        If the PLL cannot make the board's clock, or the clock not the rate of its serial line.
    """

    def __init__(self, board: Board, config: ArrayConfig):
        divider = divider_for(board.clock_hz, board.baud)
        self._pll = EcpPll(board.oscillator_hz, board.clock_hz)
        self._accelerator = SerialAccelerator(config, divider=divider, clock_hz=board.clock_hz)

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = sync = ClockDomain("sync", reset_less=True)
        m.submodules.pll = pll = self._pll
        m.submodules.serial = serial = self._accelerator
        uart = platform.request("uart", 0, dir="-")
        oscillator = platform.request(platform.default_clk, 0, dir="-")
        m.submodules.oscillator_pin = oscillator_pin = io.Buffer("i", oscillator)
        m.submodules.rx_pin = rx_pin = io.Buffer("i", uart.rx)
        m.submodules.tx_pin = tx_pin = io.Buffer("o", uart.tx)
        m.d.comb += [
            pll.i.eq(oscillator_pin.i),
            sync.clk.eq(pll.clock),
            serial.rx.eq(rx_pin.i),
            tx_pin.o.eq(serial.tx),
        ]
        return m
