"""Muse Lab iCESugar-Pro: an ECP5-25F on a module, whose carrier holds the serial adapter."""

from .board import MHZ, Board
from .configs import SMALL, SMALL_EXTERNAL
from .families.ecp5 import LFE5_25F
from .sdram import ICESUGAR_PRO

__all__ = ["BOARDS"]

BOARDS = (
    Board(
        name="icesugar_pro",
        title="Muse Lab iCESugar-Pro",
        platform_path="amaranth_boards.icesugar_pro:ICESugarProPlatform",
        device=LFE5_25F,
        oscillator_hz=25 * MHZ,
        clock_hz=62_500_000,
        default=SMALL,
        loader=("-c", "cmsisdap"),
        memory=ICESUGAR_PRO,
        external=SMALL_EXTERNAL,
        # The serial adapter is a microcontroller, without a documented rate above this one.
        baud=115_200,
    ),
)
