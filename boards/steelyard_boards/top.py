"""What a board holds: its clock, and the accelerator behind the serial port's two pins."""

from amaranth.hdl import ClockDomain, Elaboratable, Module
from amaranth.lib import io, wiring

from steelyard.contract import AcceleratorConfig
from steelyard_hw.link.serial import SerialAccelerator
from steelyard_hw.link.uart import divider_for

from .board import Board
from .sdram import SdramBuffers

__all__ = ["Top"]


class Top(Elaboratable):
    """Design of a board, elaborated with the board's platform.

    Parameters
    ----------
    board : :class:`.board.Board`
    config : :class:`~steelyard.contract.AcceleratorConfig`

    Raises
    ------
    UserError
        If the board's clock cannot be made, or the clock not the rate of its serial line.
    """

    def __init__(self, board: Board, config: AcceleratorConfig):
        board = board.clocked(config)
        divider = divider_for(board.clock_hz, board.baud)
        self._slots = config.memory.external_slots if config.memory.external_words else 1
        options = {"slots": self._slots} if self._slots > 1 else {}
        self._clock = board.device.family.clock(board.oscillator_hz, board.clock_hz, **options)
        self._accelerator = SerialAccelerator(
            config,
            divider=divider,
            clock_hz=board.clock_hz,
            target=board.device.family.target,
            memory=board.memory_of(config),
        )
        self._external = bool(config.memory.external_words)

    def elaborate(self, platform):
        m = Module()
        m.submodules.clock = clock = self._clock
        m.submodules.serial = serial = self._accelerator
        m.domains.sync = sync = ClockDomain("sync", reset_less=clock.reset_less)
        m.d.comb += sync.clk.eq(clock.clock)
        if not clock.reset_less:
            m.d.comb += sync.rst.eq(clock.reset)
        uart = platform.request("uart", 0, dir="-")
        m.submodules.rx_pin = rx_pin = io.Buffer("i", uart.rx)
        m.submodules.tx_pin = tx_pin = io.Buffer("o", uart.tx)
        m.d.comb += [serial.rx.eq(rx_pin.i), tx_pin.o.eq(serial.tx)]
        if self._external:
            port = platform.request("sdram", 0, dir="-")
            m.submodules.sdram = sdram = SdramBuffers(port, self._slots)
            if self._slots > 1:
                m.domains.memory = memory = ClockDomain("memory", reset_less=True)
                m.d.comb += memory.clk.eq(clock.memory)
            wiring.connect(m, serial.pins, sdram.pins)
        return m
