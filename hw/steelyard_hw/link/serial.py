"""Accelerator behind a serial line: UART, link, accelerator."""

from amaranth.hdl import Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from steelyard.contract import AcceleratorConfig

from ..accelerator import Accelerator
from ..cells.target import Target
from ..memory.external import ExternalMemory, MemorySide
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
    memory : :class:`.external.ExternalMemory`
        What the board has, for a configuration with external memory.

    Raises
    ------
    ValueError
        If the configuration has external memory and the board none that suffices.

    Members
    -------
    rx : ``In(1)``
        From the host, high when idle.
    tx : ``Out(1)``
        To the host.
    busy : ``Out(1)``
        A network is running, or a frame is being executed or answered.
    pins : ``Out(SdramPins)``
        To the external memory; only with one.
    """

    def __init__(
        self,
        config: AcceleratorConfig,
        *,
        divider: int,
        clock_hz: int = 0,
        target: Target = Target.PORTABLE,
        memory: ExternalMemory | None = None,
    ):
        self._memory = None
        if config.memory.external_words:
            if memory is None:
                raise ValueError("The board has no external memory, and the configuration has")
            self._memory = MemorySide(config, memory, clock_hz)
        self._accelerator = Accelerator(config, target)
        self._receiver = UartReceiver(divider)
        self._transmitter = UartTransmitter(divider)
        self._link = Link(
            words=config.link.words, clock_hz=clock_hz, registered=config.link.registered
        )
        pins = {} if self._memory is None else {"pins": self._memory.signature.members["pins"]}
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1), "busy": Out(1), **pins})

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = self._receiver
        m.submodules.transmitter = transmitter = self._transmitter
        m.submodules.link = link = self._link
        accelerator = self._accelerator
        # Registered, for it has a load in every control register, and far from the link is `busy`.
        reset = Signal()
        m.d.sync += [reset.eq(link.reset), link.busy.eq(accelerator.busy)]
        m.submodules.accelerator = ResetInserter(reset)(accelerator)
        wiring.connect(m, link.o, accelerator.i)
        wiring.connect(m, accelerator.o, link.i)
        wiring.connect(m, link.line, transmitter.i)
        if self._memory is not None:
            m.submodules.memory = memory = self._memory
            wiring.connect(m, accelerator.external, memory.port)
            wiring.connect(m, memory.pins, wiring.flipped(self.pins))
            m.d.comb += [
                memory.begins.eq(accelerator.begins),
                memory.read_latency.eq(accelerator.read_latency),
                memory.reset.eq(reset),
            ]
        m.d.comb += [
            receiver.rx.eq(self.rx),
            self.tx.eq(transmitter.tx),
            link.byte_valid.eq(receiver.valid),
            link.byte.eq(receiver.payload),
            self.busy.eq(accelerator.busy | link.active | transmitter.busy),
        ]
        return m
