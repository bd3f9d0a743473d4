"""A board of your own: pins, clock and configuration; what fits it, and the files for its tools.

    python own_board.py

It writes the design and the constraints; with the extra `boards` installed,
``steelyard_boards.flow.build(BOARD, config, folder)`` goes on to the bitstream, in minutes. To have
the board in every command, its description becomes a file of `boards/steelyard_boards`
(CONTRIBUTING.md). Needs steelyard[hw].
"""

from pathlib import Path
from typing import ClassVar

from amaranth.build import Attrs, Clock, Pins, Resource, Subsignal
from amaranth.vendor import LatticeECP5Platform

from steelyard import UserError
from steelyard.contract import configure
from steelyard_boards import Board
from steelyard_boards.families.ecp5 import LFE5_25F
from steelyard_boards.flow import prepare


class MyPlatform(LatticeECP5Platform):
    """Where the oscillator and the serial adapter are connected."""

    device = "LFE5U-25F"
    package = "BG256"
    speed = "6"
    default_clk = "clk25"
    resources: ClassVar = [
        Resource("clk25", 0, Pins("P6", dir="i"), Clock(25e6), Attrs(IO_TYPE="LVCMOS33")),
        Resource(
            "uart",
            0,
            Subsignal("rx", Pins("F4", dir="i")),
            Subsignal("tx", Pins("E4", dir="o")),
            Attrs(IO_TYPE="LVCMOS33"),
        ),
    ]
    connectors: ClassVar = []


BOARD = Board(
    name="my_board",
    title="My board, ECP5-25F",
    platform_path=f"{__name__}:MyPlatform",
    device=LFE5_25F,
    oscillator_hz=25_000_000,
    clock_hz=50_000_000,
    default=configure(
        "array", lanes=4, columns=6, requantizers=1,
        activation_words=4096, weight_words=4096, parameter_words=512, max_layers=16,
        fused_additions=False,  # Multipliers: 24 of 28 for weights, 3 and 1 for the requantizer.
    ),
    loader=("-c", "ft232"),
    baud=2_000_000,
)  # fmt: skip

demand = BOARD.device.family.demand(BOARD.default)
print(f"{BOARD.title}: {demand.luts:,} of {BOARD.device.luts:,} LUTs,", end=" ")
print(f"{demand.multipliers} of {BOARD.device.multipliers} multipliers,", end=" ")
print(f"{demand.block_rams} of {BOARD.device.block_rams} block RAMs")

# A configuration that cannot fit is refused before any tool runs, with the amounts.
BOARD.check(BOARD.default)
try:
    BOARD.check(BOARD.default.with_(columns=64))
except UserError as error:
    print(f"64 columns: {error}")

folder = Path("my_board")
folder.mkdir(exist_ok=True)
for name, content in prepare(BOARD, BOARD.default).items():
    (folder / name).write_text(content)
    print(f"{folder / name}: {len(content):,} bytes")
