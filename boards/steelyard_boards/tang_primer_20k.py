"""Sipeed Tang Primer 20K: a Gowin GW2A-18C."""

from .board import MHZ, Board
from .configs import SMALL
from .families.gowin import GW2A_18C

__all__ = ["BOARDS"]

BOARDS = (
    Board(
        name="tang_primer_20k",
        title="Sipeed Tang Primer 20K",
        platform_path="amaranth_boards.tang_primer_20k:TangPrimer20kPlatform",
        device=GW2A_18C,
        oscillator_hz=27 * MHZ,
        clock_hz=27 * MHZ,
        default=SMALL.with_(
            columns=4,
            weight_words=7168,
            partial_sum_channels=128,
        ),
        loader=("-b", "tangprimer20k"),
    ),
)
