"""Places of the columns: where they are, what is left alone; places.py asks nextpnr for them."""

import re
from itertools import pairwise

import pytest

from steelyard_boards.flow.floorplan import GRIDS, floorplan

GRID = GRIDS["LFE5U-85F"]


def cells(columns, multipliers=8, rams=4, lanes=0, weights=0, descriptors=0, banks=0, halves=1):
    """An array's cells, its outputs' multipliers, its weights, and others of the same types."""
    array, output = "serial.accelerator.array", "serial.accelerator.output"
    kinds = {f"{output}.low.multiplier": "MULT18X18D", "other": "DP16KD"}
    for lane in range(lanes):
        kinds[f"serial.accelerator.residual.sum_{lane}.product_a.multiplier"] = "MULT18X18D"
        kinds[f"{output}.pair_{lane}.product.multiplier"] = "MULT18X18D"
        kinds[f"{output}.requantizer_{lane}.low_low.multiplier"] = "MULT18X18D"
    for ram in range(weights * columns):
        kinds[f"serial.accelerator.weights.word_{ram // 8}.0.{ram % 8}"] = "DP16KD"
    for ram in range(descriptors):
        kinds[f"serial.accelerator.descriptors.word_0.0.{ram}"] = "DP16KD"
    for bank in range(banks):
        for half in range(halves):
            kinds[f"serial.accelerator.activations.bank_{bank}.0.{half}"] = "DP16KD"
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
    ends = []
    for column in range(16):
        multipliers, rams = of_column(places, column)
        assert {y for _, y in rams} == {dict(GRID.rows)[y] for _, y in multipliers}
        # Within two blocks of nine tiles, or in two rows at the same end of them.
        across, rows = {x for x, _ in multipliers}, {y for _, y in multipliers}
        assert max(across) - min(across) <= 16
        assert len(rows) == 1 + (column == 9)
        assert all(min(across) <= x <= max(across) for x, _ in rams)
        ends.append(({min(across) // 9, max(across) // 9}, rows))
    assert [min(of_column(places, n)[0])[0] for n in (0, 2, 3, 15)] == [40, 4, 4, 4]
    for (across, rows), (next_across, next_rows) in pairwise(ends):
        # One step along the row, or one row up at its end.
        assert min(abs(x - other) for x in across for other in next_across) <= 1
        assert rows & next_rows or across == next_across


def test_weights_of_a_column_lie_beside_its_window():
    places = floorplan(GRID, cells(16, weights=3))
    assert len(places) == len(set(places.values())) == 16 * 15
    for column in range(16):
        _, rams = of_column(places, column)
        # Twelve bits of an item, of which each block RAM has four.
        numbers = range(3 * column, 3 * column + 3)
        names = [f"serial.accelerator.weights.word_{n // 8}.0.{n % 8}" for n in numbers]
        mine = [where(places[name]) for name in names]
        assert {y for _, y in mine} <= {y for _, y in rams}
        assert all(min(abs(x - other) for other, _ in rams) <= 2 for x, _ in mine)
    # Where a column's blocks have no room for them they are the placer's.
    assert len(floorplan(GRID, cells(16, weights=5))) == 16 * 12


def test_lanes_of_the_outputs_lie_together_beside_the_first_column():
    lanes = 4
    places = floorplan(GRID, cells(16, lanes=lanes))
    right = max(x for x, _ in of_column(places, 0)[0])
    before = right
    for lane in range(lanes):
        mine = [where(place) for name, place in places.items() if f"_{lane}." in name]
        mine = [(x, y) for x, y in mine if (x > right and y == GRID.rows[0][0])]
        assert len(mine) == 3
        assert before < min(mine)[0]
        assert max(mine)[0] - min(mine)[0] <= 9
        before = max(mine)[0]
    # Without room for all of them each is the placer's.
    assert len(floorplan(GRID, cells(16, lanes=10))) == 16 * 12


def test_descriptors_lie_beside_the_outputs():
    for columns, rams in ((12, 4), (16, 4), (16, 8)):
        places = floorplan(GRID, cells(columns, lanes=4, weights=3, descriptors=rams))
        assert len(places) == len(set(places.values())) == columns * 15 + 12 + rams
        outputs = [where(place)[0] for name, place in places.items() if "residual.sum_3" in name]
        mine = [where(place) for name, place in places.items() if "descriptors" in name]
        assert len(mine) == rams and {y for _, y in mine} == {GRID.rows[0][1]}
        assert all(abs(x - max(outputs)) <= 18 for x, _ in mine)


def test_banks_of_activations_lie_in_the_row_beside_the_outputs():
    places = floorplan(GRID, cells(16, lanes=4, weights=3, descriptors=4, banks=32))
    mine = {n: where(places[f"serial.accelerator.activations.bank_{n}.0.0"]) for n in range(32)}
    assert len(places) == len(set(places.values())) == 16 * 15 + 12 + 4 + 32
    assert {y for _, y in mine.values()} == {GRID.rams}
    # A lane of both words of a row side by side, and the next lane beside them.
    in_order = sorted(mine, key=mine.get)
    assert in_order == [n for lane in range(16) for n in (lane, lane + 16)]
    # Evenly along the outputs' side, with room in between.
    across = sorted(x for x, _ in mine.values())
    assert all(right - left <= 6 for left, right in pairwise(across))
    assert across[0] >= GRID.blocks[2] and across[-1] >= GRID.blocks[-1]


def test_more_banks_than_that_row_has_go_on_beside_the_first_column():
    places = floorplan(GRID, cells(16, lanes=4, weights=3, descriptors=8, banks=32, halves=2))
    mine = [where(place) for name, place in places.items() if "bank" in name]
    assert len(places) == len(set(places.values())) == 16 * 15 + 12 + 8 + 64
    beside = [x for x, y in mine if y == GRID.rows[0][1]]
    assert len(beside) == 12 and len(mine) - 12 == 4 * len(GRID.blocks)
    assert max(x for x, _ in of_column(places, 0)[0]) < min(beside)
    # More than there is room for are the placer's.
    assert not any("bank" in name for name in floorplan(GRID, cells(16, banks=81)))


@pytest.mark.parametrize(
    "few", [cells(0), cells(6), cells(20), cells(40)], ids=["none", "a row", "too many", "more"]
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
