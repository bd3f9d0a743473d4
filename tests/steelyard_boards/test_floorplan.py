"""Places of the columns: where they are, what is left alone; places.py asks nextpnr for them."""

import re
from itertools import pairwise

import pytest

from steelyard_boards.flow.floorplan import GRIDS, floorplan

GRID = GRIDS["LFE5U-85F"]


def cells(columns, multipliers=8, rams=4):
    """An array's cells, and others of the same types."""
    array = "serial.accelerator.array"
    kinds = {"serial.accelerator.output.low.multiplier": "MULT18X18D", "other": "DP16KD"}
    for column in range(columns):
        for lane in range(multipliers):
            kinds[f"{array}.column_{column}.multipliers.multiplier_{2 * lane}.multiplier"] = (
                "MULT18X18D"
            )
        for ram in range(rams):
            kinds[f"{array}.column_{column}.window.0.{ram}"] = "DP16KD"
            kinds[f"{array}.column_{column}.window_{ram}"] = "TRELLIS_FF"
    return {name: {"type": kind} for name, kind in kinds.items()}


def where(place):
    x, y = re.match(r"X(\d+)/Y(\d+)/", place).groups()
    return int(x), int(y)


def of_column(places, column):
    mine = {name: place for name, place in places.items() if f".column_{column}." in name}
    multipliers = [where(place) for name, place in mine.items() if ".multipliers." in name]
    return multipliers, [where(place) for name, place in mine.items() if ".window." in name]


def test_a_column_lies_together_and_beside_the_next_one():
    places = floorplan(GRID, cells(16))
    assert len(places) == len(set(places.values())) == 16 * 12
    middles = []
    for column in range(16):
        multipliers, rams = of_column(places, column)
        (y,) = {y for _, y in multipliers}
        assert {y for _, y in rams} == {dict(GRID.rows)[y]}
        # Lanes from left to right, all of them within two blocks of nine tiles.
        assert multipliers == sorted(multipliers)
        assert multipliers[-1][0] - multipliers[0][0] <= 16
        assert rams == sorted(rams)
        assert all(multipliers[0][0] <= x <= multipliers[-1][0] for x, _ in rams)
        middles.append((multipliers[0][0], y))
    assert [middles[0], middles[3], middles[15]] == [(58, 58), (4, 58), (4, 10)]
    for (x, y), (next_x, next_y) in pairwise(middles):
        # One step along the row, the wider one over the middle, or one row up at its end.
        assert (abs(x - next_x), y - next_y) in {(18, 0), (20, 0), (0, 24)}


@pytest.mark.parametrize(
    "few", [cells(0), cells(6), cells(19), cells(40)], ids=["none", "a row", "too many", "more"]
)
def test_what_does_not_take_several_rows_or_finds_no_room_is_left_to_the_placer(few):
    assert floorplan(GRID, few) == {}


def test_windows_of_more_block_rams_than_their_blocks_have_are_left_to_the_placer():
    places = floorplan(GRID, cells(8, rams=9))
    assert len(places) == 8 * 8
    assert len(set(floorplan(GRID, cells(8, rams=8)).values())) == 8 * 16


def test_each_lane_with_a_multiplier_of_its_own_takes_as_many_blocks():
    multipliers, _ = of_column(floorplan(GRID, cells(12, multipliers=12)), 5)
    assert len(multipliers) == 12
