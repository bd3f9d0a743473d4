"""The boards: one row each, on the pins and tools that amaranth-boards knows."""

import importlib
from dataclasses import dataclass

from steelyard.config import ArrayConfig
from steelyard.errors import UserError
from steelyard.program import Program
from steelyard_hw.link_uart import divider_for

from .capacity import ECP5_12F, ECP5_25F, ECP5_45F, ECP5_85F, Device, check, demand
from .pll import choose_dividers

__all__ = ["BOARDS", "Board", "board"]

MHZ = 1_000_000
CLOCK_HZ = 62_500_000
"""Clock that routed designs meet (docs/notes/bitstreams.md); PLLs make it of 25, 50 and 100 MHz."""
SMALL = ArrayConfig(
    lanes=4,
    columns=6,
    requantizers=1,
    activation_words=6144,
    weight_words=5120,
    parameter_words=512,
    max_layers=16,
)
"""24 of 28 multipliers multiply weights: one requantizer is enough for four lanes."""
MIDDLE = ArrayConfig(
    lanes=8,
    columns=8,
    requantizers=2,
    activation_words=4096,
    weight_words=6144,
    max_layers=32,
)
"""64 of 72 multipliers multiply weights."""
LARGE = ArrayConfig(
    lanes=8,
    columns=8,
    requantizers=4,
    activation_words=8192,
    weight_words=8192,
)
"""Routes quickly; half of the multipliers and of the block RAM stay free."""


@dataclass(frozen=True)
class Board:
    """One board.

    Attributes
    ----------
    name : what the command line calls it
    title : what its maker calls it
    platform_path : ``module:class`` of the platform within `amaranth_boards`
    device : its FPGA
    oscillator_hz : its oscillator
    clock_hz : the design's clock, which the PLL makes
    baud : rate of the serial line
    default : configuration that fits and leaves room for the router
    toolchain : what places and routes it
    """

    name: str
    title: str
    platform_path: str
    device: Device
    oscillator_hz: int
    default: ArrayConfig
    clock_hz: int = CLOCK_HZ
    baud: int = 3_000_000
    toolchain: str = "nextpnr-ecp5"

    def platform(self):
        """Fresh Amaranth platform: each prepares one design only.

        Raises
        ------
        ModuleNotFoundError
            If amaranth-boards is not installed.
        """
        module, _, name = self.platform_path.partition(":")
        platform = getattr(importlib.import_module(f"amaranth_boards.{module}"), name)
        return platform(toolchain="Trellis")

    def check(self, config: ArrayConfig, program: Program | None = None) -> None:
        """Refuse what cannot fit, before anything is built.

        Raises
        ------
        UserError
            If the configuration needs more than the device has, with the amounts; if the program
            is one of another configuration; if the clock or the serial rate cannot be made.
        """
        choose_dividers(self.oscillator_hz, self.clock_hz)
        divider_for(self.clock_hz, self.baud)
        check(self.name, self.device, config, program)

    def row(self) -> dict[str, object]:
        """Facts of the board with its default configuration, as ``steelyard boards`` lists them."""
        config = self.default
        return {
            "board": self.name,
            "title": self.title,
            "device": self.device.name,
            "multipliers": self.device.multipliers,
            "multipliers_used": demand(config).multipliers,
            "macs_per_cycle": config.macs_per_cycle,
            "weight_bytes": config.weight_words * config.columns,
            "activation_bytes": config.activation_words * config.lanes,
            "block_ram_bytes": self.device.block_ram_bytes,
            "toolchain": self.toolchain,
            "clock_mhz": self.clock_hz / MHZ,
            "baud": self.baud,
        }


BOARDS = {
    each.name: each
    for each in (
        Board("ulx3s_12f", "Radiona ULX3S 12F", "ulx3s:ULX3S_12F_Platform", ECP5_12F,
              25 * MHZ, SMALL),
        Board("ulx3s_25f", "Radiona ULX3S 25F", "ulx3s:ULX3S_25F_Platform", ECP5_25F,
              25 * MHZ, SMALL),
        Board("ulx3s_45f", "Radiona ULX3S 45F", "ulx3s:ULX3S_45F_Platform", ECP5_45F,
              25 * MHZ, MIDDLE),
        Board("ulx3s_85f", "Radiona ULX3S 85F", "ulx3s:ULX3S_85F_Platform", ECP5_85F,
              25 * MHZ, LARGE),
        # Its serial adapter is a microcontroller, without a documented rate above this one.
        Board("icesugar_pro", "Muse Lab iCESugar-Pro", "icesugar_pro:ICESugarProPlatform",
              ECP5_25F, 25 * MHZ, SMALL, baud=115_200),
        Board("icepi_zero", "Icepi Zero 1.3", "icepi_zero:IcepiZero1_3Platform", ECP5_25F,
              50 * MHZ, SMALL),
        Board("ecpix5", "LambdaConcept ECPIX-5 85F", "ecpix5:ECPIX585Platform", ECP5_85F,
              100 * MHZ, LARGE),
        Board("versa_ecp5", "Lattice ECP5 Versa", "versa_ecp5:VersaECP5Platform", ECP5_45F,
              100 * MHZ, MIDDLE),
    )
}  # fmt: skip


def board(name: str) -> Board:
    """Board of a name.

    Raises
    ------
    UserError
        If there is no such board; the sentence lists the names.
    """
    try:
        return BOARDS[name]
    except KeyError:
        raise UserError(f"There is no board {name!r}; choose one of {', '.join(BOARDS)}.") from None
