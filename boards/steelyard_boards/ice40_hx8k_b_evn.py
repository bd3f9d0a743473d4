"""Lattice iCE40HX-8K breakout board: no multipliers, so that products are made of logic."""

from .board import MHZ, Board
from .configs import HX8K_COMPACT
from .families.ice40 import HX8K

__all__ = ["BOARDS"]

BOARDS = (
    Board(
        name="ice40_hx8k_b_evn",
        title="Lattice iCE40HX-8K breakout board",
        platform_path="amaranth_boards.ice40_hx8k_b_evn:ICE40HX8KBEVNPlatform",
        device=HX8K,
        oscillator_hz=12 * MHZ,
        clock_hz=30 * MHZ,
        default=HX8K_COMPACT,
        loader=("-b", "ice40_generic"),
    ),
)
