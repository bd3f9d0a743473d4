"""TUL PYNQ-Z2: a Zynq-7020 used as a plain FPGA, whose bitstream Vivado makes.

The board's own serial adapter belongs to the processors. The accelerator's serial line is on PMOD A
instead: pin 1 (Y18) receives, pin 2 (Y19) sends, pins 5 and 11 are ground; an adapter of 3.3 V goes
there. The clock is the 125 MHz that the Ethernet PHY gives to pin H16 from power-up on.
"""

from amaranth.build import Attrs, Clock, Connector, Pins, Resource
from amaranth.vendor import XilinxPlatform
from amaranth_boards.resources import UARTResource

from .board import MHZ, Board
from .configs import WIDE
from .families.xilinx7 import XC7Z020

__all__ = ["BOARDS", "PynqZ2Platform"]


class PynqZ2Platform(XilinxPlatform):
    """Clock, serial line and PMODs of the PYNQ-Z2 (TUL's master constraints, revision 1.0)."""

    device = "xc7z020"
    package = "clg400"
    speed = "1"
    default_clk = "clk125"
    resources = [  # noqa: RUF012 - Amaranth's platforms declare their pins so
        Resource("clk125", 0, Pins("H16", dir="i"), Clock(125e6), Attrs(IOSTANDARD="LVCMOS33")),
        UARTResource(
            0, rx="1", tx="2", conn=("pmod", 0), attrs=Attrs(IOSTANDARD="LVCMOS33", PULLUP="TRUE")
        ),
    ]
    connectors = [  # noqa: RUF012
        Connector("pmod", 0, "Y18 Y19 Y16 Y17 - - U18 U19 W18 W19 - -"),  # PMODA
        Connector("pmod", 1, "W14 Y14 T11 T10 - - V16 W16 V12 W13 - -"),  # PMODB
    ]


BOARDS = (
    Board(
        name="pynq_z2",
        title="TUL PYNQ-Z2",
        platform_path="steelyard_boards.pynq_z2:PynqZ2Platform",
        device=XC7Z020,
        oscillator_hz=125 * MHZ,
        clock_hz=100 * MHZ,
        default=WIDE,
        baud=2_000_000,
    ),
)
