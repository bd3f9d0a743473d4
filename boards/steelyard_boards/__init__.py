"""Boards: which FPGA each has, what fits it, and the flow from a configuration to a bitstream.

A board is one row of a table; pins come from amaranth-boards, the tools from PyPI or the system.
"""

from .board import BOARDS, Board, board
from .capacity import Demand, Device, demand

__all__ = ["BOARDS", "Board", "Demand", "Device", "board", "demand"]
