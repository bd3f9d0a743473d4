"""Boards: which FPGA each has, what fits it, and the flow from a configuration to a bitstream.

A board is one file; what its FPGA's family needs lies in `families`, what builds it in `flow`.
"""

from .board import Board
from .catalogue import BOARDS, board
from .families import Demand, Device

__all__ = ["BOARDS", "Board", "Demand", "Device", "board"]
