"""External memory of a board: its chip, its controller and what guards its port."""

from dataclasses import dataclass

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from steelyard.contract import AcceleratorConfig

from .chips import SdramChip
from .guard import PortGuard
from .pins import SLOTS, SdramPins
from .port import MemoryPort
from .reads import LATENCY_BITS
from .sdram import SdramController
from .timing import SdramTiming

__all__ = ["MOST_DELAY", "ExternalMemory", "MemorySide"]

SLOWEST_CAS = 3
MOST_DELAY = (1 << LATENCY_BITS) - 1 - SLOWEST_CAS
"""Cycles of a chip that its data may be late."""


@dataclass(frozen=True)
class ExternalMemory:
    """External memory as a board has it.

    Attributes
    ----------
    chip : what is on the board
    delay : cycles of the chip from its pins to the controller and back: those of registers of the
        FPGA's pins and of the chip's clock
    slots : cycles of the chip in one of the controller, 1 or 2

    Raises
    ------
    ValueError
        If the delay is beyond what the controller can wait for, or there are neither 1 nor 2 slots.
    """

    chip: SdramChip
    delay: int
    slots: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.delay <= MOST_DELAY:
            raise ValueError(
                f"Delay of an external memory is 0 to {MOST_DELAY} cycles, not {self.delay!r}"
            )
        if self.slots not in SLOTS:
            raise ValueError(f"Slots of an external memory must be 1 or 2, not {self.slots!r}")

    @property
    def words(self) -> int:
        """32-bit words of the chip."""
        return 1 << self.chip.word_bits


class MemorySide(wiring.Component):
    """What stands between an accelerator that may be reset and the pins of its external memory.

    Parameters
    ----------
    config : :class:`~steelyard.contract.AcceleratorConfig`
        With external memory.
    memory : :class:`ExternalMemory`
    clock_hz : :class:`int`
        Frequency of the accelerator's clock.

    Members
    -------
    port : ``In(MemoryPort(config.memory.external_address_bits))``
        To the accelerator.
    begins : ``In(1)``
        Strobe: a run begins.
    reset : ``In(1)``
        The accelerator is reset.
    read_latency : ``In(4)``
        Read latency that the host has chosen, in cycles of the chip; 0 for that of `memory`.
    pins : ``Out(SdramPins)`` of the memory's slots
        To the chip.

    Raises
    ------
    ValueError
        If the memory has fewer words than the configuration, or cannot work at that clock.
    """

    def __init__(self, config: AcceleratorConfig, memory: ExternalMemory, clock_hz: int):
        address_bits = config.memory.external_address_bits
        if address_bits > memory.chip.word_bits:
            raise ValueError(
                f"{memory.chip.name} has {memory.words} words, not {config.memory.external_words}"
            )
        self._address_bits = address_bits
        self._chip, self._clock_hz, self._slots = memory.chip, clock_hz, memory.slots
        self._latency = SdramTiming.of(memory.chip, memory.slots * clock_hz).cas + memory.delay
        super().__init__(
            {
                "port": In(MemoryPort(address_bits)),
                "begins": In(1),
                "reset": In(1),
                "read_latency": In(LATENCY_BITS),
                "pins": Out(SdramPins(memory.chip.address_pins, memory.slots)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.guard = guard = PortGuard(self._address_bits)
        m.submodules.controller = controller = SdramController(
            self._chip, self._clock_hz, self._slots
        )
        connect(m, flipped(self.port), guard.user)
        connect(m, controller.pins, flipped(self.pins))
        mine, port = guard.memory, controller.port
        m.d.comb += [
            guard.reset.eq(self.reset),
            port.command.valid.eq(mine.command.valid),
            mine.command.ready.eq(port.command.ready),
            # The chip may be larger.
            *(
                port.command.payload[name].eq(mine.command.payload[name])
                for name in ("address", "words", "write")
            ),
            controller.start.eq(self.begins & ~self.reset),
        ]
        m.d.sync += controller.latency.eq(
            Mux(self.read_latency == 0, self._latency, self.read_latency)
        )
        connect(m, mine.write, port.write)
        connect(m, port.read, mine.read)
        return m
