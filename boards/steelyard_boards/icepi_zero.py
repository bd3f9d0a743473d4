"""Icepi Zero 1.3: an ECP5-25F in the outline of a Raspberry Pi Zero."""

from .board import MHZ, Board
from .configs import SMALL, SMALL_EXTERNAL
from .families.ecp5 import LFE5_25F
from .sdram import ICEPI_ZERO

__all__ = ["BOARDS"]

BOARDS = (
    Board(
        name="icepi_zero",
        title="Icepi Zero 1.3",
        platform_path="amaranth_boards.icepi_zero:IcepiZero1_3Platform",
        device=LFE5_25F,
        oscillator_hz=50 * MHZ,
        clock_hz=62_500_000,
        default=SMALL,
        loader=("-b", "icepi-zero"),
        memory=ICEPI_ZERO,
        external=SMALL_EXTERNAL,
    ),
)
