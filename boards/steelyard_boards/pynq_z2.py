"""TUL PYNQ-Z2: a Zynq-7020 used as a plain FPGA, whose bitstream Vivado makes.

The board's own serial adapter belongs to the processors. The accelerator's serial line is on PMOD A
instead: pin 1 (Y18) receives, pin 2 (Y19) sends, pins 5 and 11 are ground; an adapter of 3.3 V goes
there. The clock is the 125 MHz that the Ethernet PHY gives to pin H16 from power-up on.
"""

from steelyard.contract import configure
from steelyard_hw.cells.multiplier_xilinx import XilinxPairs

from .board import MHZ, Board
from .families.xilinx7 import XC7Z020

__all__ = ["BOARDS"]

BOARDS = (
    Board(
        name="pynq_z2",
        title="TUL PYNQ-Z2",
        platform_path="steelyard_boards.pynq_z2_pins:PynqZ2Platform",
        device=XC7Z020,
        oscillator_hz=125 * MHZ,
        clock_hz=100 * MHZ,
        # Pairs: 128 of 220 multipliers serve 256 lanes, 24 requantize.
        default=configure(
            "array",
            lanes=16,
            columns=16,
            requantizers=8,
            multiplier_stages=XilinxPairs.STAGES,
            activation_words=4096,
            weight_words=8192,
        ),
        loader=("-b", "pynq_z2"),
        baud=2_000_000,
    ),
)
