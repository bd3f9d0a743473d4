"""LambdaConcept ECPIX-5 with the ECP5-85F."""

from dataclasses import replace

from .board import MHZ, Board
from .configs import LARGE
from .families.ecp5 import LFE5_85F

__all__ = ["BOARDS"]

BOARDS = (
    Board(
        name="ecpix5",
        title="LambdaConcept ECPIX-5 85F",
        platform_path="amaranth_boards.ecpix5:ECPIX585Platform",
        device=replace(LFE5_85F, speed_grade=8),
        oscillator_hz=100 * MHZ,
        clock_hz=80 * MHZ,
        default=LARGE,
        loader=("-b", "ecpix5"),
    ),
)
