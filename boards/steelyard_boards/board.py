"""A board: what one file of this package says of it."""

import importlib
from dataclasses import dataclass, replace
from typing import Any

from steelyard.contract import AcceleratorConfig
from steelyard.errors import DoesNotFit, UserError
from steelyard.program import Program
from steelyard_hw.link.uart import divider_for
from steelyard_hw.memory.external import ExternalMemory
from steelyard_hw.memory.timing import SdramTiming

from .capacity import check
from .families import Device
from .sdram import SLOTS_DELAY

__all__ = ["MHZ", "Board"]

MHZ = 1_000_000


@dataclass(frozen=True)
class Board:
    """One board.

    Attributes
    ----------
    name : what the command line calls it
    title : what its maker calls it
    platform_path : ``module:class`` of the platform, which has the pins
    device : its FPGA
    oscillator_hz : its oscillator
    clock_hz : the design's clock, which a PLL makes
    baud : rate of the serial line
    memory : its SDRAM with 16 data pins, for configurations with external memory
    external : configuration with external memory that fits
    external_clock_hz : the clock of configurations with external memory, where that is another
    default : configuration that fits and leaves room for the router
    loader : openFPGALoader's options that name the board, or its cable
    """

    name: str
    title: str
    platform_path: str
    device: Device
    oscillator_hz: int
    clock_hz: int
    default: AcceleratorConfig
    loader: tuple[str, ...]
    baud: int = 3_000_000
    memory: ExternalMemory | None = None
    external: AcceleratorConfig | None = None
    external_clock_hz: int | None = None

    def platform(self):
        """Fresh Amaranth platform: each prepares one design only.

        Raises
        ------
        ModuleNotFoundError
            If amaranth-boards is not installed.
        """
        module, _, name = self.platform_path.partition(":")
        return getattr(importlib.import_module(module), name)()

    def check(self, config: AcceleratorConfig, program: Program | None = None) -> None:
        """Refuse what cannot fit, before anything is built.

        Raises
        ------
        UserError
            If the configuration needs more than the device has, with the amounts; if the program
            is one of another configuration; if the clock or the serial rate cannot be made.
        """
        clocked = self.clocked(config)
        clocked.check_clock()
        if config.memory.external_words:
            clocked._check_memory(config)
        check(self.name, self.device, config, program)

    def clock_of(self, config: AcceleratorConfig) -> int:
        """The design's clock with a configuration, in hertz."""
        external = self.external_clock_hz if config.memory.external_words else None
        return self.clock_hz if external is None else external

    def clocked(self, config: AcceleratorConfig) -> "Board":
        """The board with a configuration's clock for whatever it is asked for."""
        return replace(self, clock_hz=self.clock_of(config), external_clock_hz=None)

    def memory_of(self, config: AcceleratorConfig) -> ExternalMemory | None:
        """Its external memory as the gateware of a configuration has it, or None."""
        slots = config.memory.external_slots
        if self.memory is None or slots == 1:
            return self.memory
        return replace(self.memory, slots=slots, delay=SLOTS_DELAY)

    def check_clock(self) -> None:
        """Refuse a clock or a serial rate that cannot be made.

        Raises
        ------
        UserError
            If that is so.
        """
        self.device.family.clock.check(self.oscillator_hz, self.clock_hz)
        divider_for(self.clock_hz, self.baud)

    def _check_memory(self, config: AcceleratorConfig) -> None:
        """Refuse a configuration with external memory that the board, or its clock, has not."""
        words = config.memory.external_words
        if self.memory is None:
            raise DoesNotFit(
                f"Board {self.name!r} has no external memory that Steelyard drives, and the "
                f"configuration has {words} external_words",
                "set external_words to 0; what has some runs on the device 'sim'.",
            )
        if words > self.memory.words:
            raise DoesNotFit(
                f"Board {self.name!r} has {self.memory.words} words of external memory, and the "
                f"configuration {words} external_words",
                f"set external_words to {self.memory.words} or less.",
            )
        slots = config.memory.external_slots
        self.device.family.clock.check_memory(self.oscillator_hz, self.clock_hz, slots)
        try:
            SdramTiming.of(self.memory.chip, slots * self.clock_hz)
        except ValueError as error:
            raise UserError(
                f"The SDRAM of board {self.name!r} cannot work at {slots} x the board's clock "
                f"({error}); choose another clock, or set external_words to 0."
            ) from None

    def row(self) -> dict[str, Any]:
        """Facts of the board with its default configuration, as ``steelyard boards`` lists them."""
        config = self.default
        return {
            "board": self.name,
            "title": self.title,
            "device": self.device.name,
            "multipliers": self.device.multipliers,
            "multipliers_used": self.device.family.demand(config).multipliers,
            "macs_per_cycle": config.engine.macs_per_cycle,
            "weight_bytes": config.memory.weight_words * config.engine.width,
            "activation_bytes": config.memory.activation_words * config.engine.lanes,
            "block_ram_bytes": self.device.block_ram_bytes,
            "toolchain": self.device.family.toolchain,
            "clock_mhz": self.clock_hz / MHZ,
            "baud": self.baud,
        }
