"""Accelerator behind a serial line: UART, link, accelerator."""

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from ..accelerator import Accelerator
from ..cells.target import Target
from .link import Link
from .uart import UartReceiver, UartTransmitter

__all__ = ["SerialAccelerator"]


class SerialAccelerator(wiring.Component):
    """Accelerator behind a serial line, what a board holds.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
    divider : :class:`int`
        Clock cycles of a bit on the line, at least 4; :func:`.uart.divider_for` finds it.
    clock_hz : :class:`int`
        Frequency of the clock, told to the host.
    target : :class:`.target.Target`

    Raises
    ------
    ValueError
        If the configuration has external memory.

    Members
    -------
    rx : ``In(1)``
        From the host, high when idle.
    tx : ``Out(1)``
        To the host.
    busy : ``Out(1)``
        A network is running, or a frame is being executed or answered.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        *,
        divider: int,
        clock_hz: int = 0,
        target: Target = Target.PORTABLE,
    ):
        if config.memory.external_words:
            raise ValueError("A serial accelerator has no external memory yet")
        self._accelerator = Accelerator(config, target)
        self._receiver = UartReceiver(divider)
        self._transmitter = UartTransmitter(divider)
        self._link = Link(
            words=config.link.words, clock_hz=clock_hz, registered=config.link.registered
        )
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "busy": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = self._receiver
        m.submodules.transmitter = transmitter = self._transmitter
        m.submodules.link = link = self._link
        accelerator = self._accelerator
        # Registered, for it has a load in every control register.
        reset = Signal()
        m.d.sync += reset.eq(link.reset)
        m.submodules.accelerator = ResetInserter(reset)(accelerator)
        wiring.connect(m, link.o, accelerator.i)
        wiring.connect(m, accelerator.o, link.i)
        wiring.connect(m, link.line, transmitter.i)
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            link.byte_valid.eq(receiver.valid),
            link.byte.eq(receiver.payload),
            link.busy.eq(accelerator.busy),
            self.busy.eq(accelerator.busy | link.active | transmitter.busy),
        ]
        return m
