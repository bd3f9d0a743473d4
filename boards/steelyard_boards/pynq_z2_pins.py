"""Pins of the PYNQ-Z2, which amaranth-boards does not have (TUL's master constraints 1.0)."""

from typing import ClassVar

from amaranth.build import Attrs, Clock, Connector, Pins, Resource
from amaranth.vendor import XilinxPlatform
from amaranth_boards.resources import UARTResource

__all__ = ["PynqZ2Platform"]


class PynqZ2Platform(XilinxPlatform):
    """Clock, serial line and PMODs, without what belongs to the processors."""

    device = "xc7z020"
    package = "clg400"
    speed = "1"
    default_clk = "clk125"
    resources: ClassVar = [
        Resource("clk125", 0, Pins("H16", dir="i"), Clock(125e6), Attrs(IOSTANDARD="LVCMOS33")),
        UARTResource(
            0, rx="1", tx="2", conn=("pmod", 0), attrs=Attrs(IOSTANDARD="LVCMOS33", PULLUP="TRUE")
        ),
    ]
    connectors: ClassVar = [
        Connector("pmod", 0, "Y18 Y19 Y16 Y17 - - U18 U19 W18 W19 - -"),  # A
        Connector("pmod", 1, "W14 Y14 T11 T10 - - V16 W16 V12 W13 - -"),  # B
    ]
