"""Lattice iCE40HX-8K breakout board: no multipliers, so that products are made of logic."""

from steelyard.config import ArrayConfig

from .board import MHZ, Board
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
