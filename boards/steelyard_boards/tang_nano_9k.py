"""Sipeed Tang Nano 9K: a Gowin GW1NR-9C."""

from .board import MHZ, Board
from .configs import GW1NR_COMPACT
from .families.gowin import GW1NR_9C

__all__ = ["BOARDS"]

BOARDS = (
    Board(
        name="tang_nano_9k",
        title="Sipeed Tang Nano 9K",
        platform_path="amaranth_boards.tang_nano_9k:TangNano9kPlatform",
        device=GW1NR_9C,
        oscillator_hz=27 * MHZ,
        clock_hz=27 * MHZ,
        default=GW1NR_COMPACT,
        loader=("-b", "tangnano9k"),
    ),
)
