"""1BitSquared iCEBreaker: an iCE40UP5K, whose oscillator is on the PLL's own pad."""

from steelyard.config import ArrayConfig

from .board import MHZ, Board
from .families.ice40 import UP5K

__all__ = ["BOARDS"]

BOARDS = (
    Board(
        name="icebreaker",
        title="1BitSquared iCEBreaker",
        platform_path="amaranth_boards.icebreaker:ICEBreakerPlatform",
        device=UP5K,
        oscillator_hz=12 * MHZ,
        clock_hz=18 * MHZ,
        default=ArrayConfig(
            lanes=4,
            columns=1,
            requantizers=1,
            requantizer_cycles=32,
            window_groups=16,
            activation_words=1024,
            weight_words=512,
            parameter_words=256,
            partial_sum_channels=64,
            max_layers=8,
            accumulator_bits=20,
            max_side=63,
            padded_kernel=3,
            vector_bits=16,
            link_words=128,
        ),
        loader=("-b", "ice40_generic"),
    ),
)
