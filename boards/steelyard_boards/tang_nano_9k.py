"""Sipeed Tang Nano 9K: a Gowin GW1NR-9C."""

from steelyard.config import ArrayConfig

from .board import MHZ, Board
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
        loader=("-b", "tangnano9k"),
    ),
)
