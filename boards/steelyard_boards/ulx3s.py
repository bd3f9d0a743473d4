"""Radiona ULX3S, with four sizes of ECP5."""

from .board import MHZ, Board
from .configs import LARGE, LARGE_EXTERNAL, MIDDLE, MIDDLE_EXTERNAL, SMALL, SMALL_EXTERNAL
from .families.ecp5 import LFE5_12F, LFE5_25F, LFE5_45F, LFE5_85F
from .sdram import ULX3S

__all__ = ["BOARDS"]

PLATFORMS = "amaranth_boards.ulx3s"

BOARDS = tuple(
    Board(
        name=f"ulx3s_{size}".lower(),
        title=f"Radiona ULX3S {size}",
        platform_path=f"{PLATFORMS}:ULX3S_{size}_Platform",
        device=device,
        oscillator_hz=25 * MHZ,
        clock_hz=clock_hz,
        external_clock_hz=external_clock_hz,
        default=default,
        loader=("-b", "ulx3s"),
        memory=ULX3S,
        external=external,
    )
    for size, device, default, external, clock_hz, external_clock_hz in (
        ("12F", LFE5_12F, SMALL, SMALL_EXTERNAL, 80 * MHZ, None),
        ("25F", LFE5_25F, SMALL, SMALL_EXTERNAL, 62_500_000, None),
        ("45F", LFE5_45F, MIDDLE, MIDDLE_EXTERNAL, 62_500_000, None),
        ("85F", LFE5_85F, LARGE, LARGE_EXTERNAL, 75 * MHZ, 71_250_000),
    )
)
