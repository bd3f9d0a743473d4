"""Digilent Arty A7-35T: an Artix-7, whose bitstream Vivado makes."""

from steelyard.contract import configure
from steelyard_hw.cells.multiplier_xilinx import XilinxPairs

from .board import MHZ, Board
from .families.xilinx7 import XC7A35T

__all__ = ["BOARDS"]

BOARDS = (
    Board(
        name="arty_a7",
        title="Digilent Arty A7-35T",
        platform_path="amaranth_boards.arty_a7:ArtyA7_35Platform",
        device=XC7A35T,
        oscillator_hz=100 * MHZ,
        clock_hz=100 * MHZ,
        # Pairs: 64 of 90 multipliers serve 128 lanes, 12 requantize, 4 multiply activations.
        # Fused additions would leave the router too little room.
        default=configure(
            "array",
            lanes=8,
            columns=16,
            requantizers=4,
            multiplier_stages=XilinxPairs.STAGES,
            activation_words=4096,
            weight_words=2560,
            parameter_words=512,
            max_layers=32,
            shared_taps=False,
            fused_additions=False,
        ),
        loader=("-b", "arty_a7_35t"),
        baud=2_000_000,
    ),
)
