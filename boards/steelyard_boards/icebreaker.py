"""1BitSquared iCEBreaker: an iCE40UP5K, whose oscillator is on the PLL's own pad."""

from .board import MHZ, Board
from .configs import UP5K_COMPACT
from .families.ice40 import UP5K

__all__ = ["BOARDS"]

BOARDS = (
    Board(
        name="icebreaker",
        title="1BitSquared iCEBreaker",
        platform_path="amaranth_boards.icebreaker:ICEBreakerPlatform",
        device=UP5K,
        oscillator_hz=12 * MHZ,
        clock_hz=24 * MHZ,
        default=UP5K_COMPACT,
        loader=("-b", "ice40_generic"),
    ),
)
