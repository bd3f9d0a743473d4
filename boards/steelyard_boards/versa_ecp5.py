"""Lattice ECP5 Versa with the ECP5-45F."""

from dataclasses import replace

from .board import MHZ, Board
from .configs import MIDDLE
from .families.ecp5 import LFE5_45F

__all__ = ["BOARDS"]

BOARDS = (
    Board(
        name="versa_ecp5",
        title="Lattice ECP5 Versa",
        platform_path="amaranth_boards.versa_ecp5:VersaECP5Platform",
        device=replace(LFE5_45F, speed_grade=8),
        oscillator_hz=100 * MHZ,
        clock_hz=62_500_000,
        default=MIDDLE,
        loader=("-c", "ft2232"),
    ),
)
