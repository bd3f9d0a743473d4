"""Sizes what each operator of a configuration adds on an ECP5, with yosys alone.

    python experiments/operator_sizing.py                  # output stage of the ulx3s_85f, 1 column
    python experiments/operator_sizing.py --columns 16     # its whole array, none and all of them

Prints cells of the accelerator without operators, with each alone and with all.
"""

import argparse
import collections
import json
import pathlib
import sys

from accelerator_sizing import by_place, comb, synthesize

from steelyard_boards.configs import LARGE
from steelyard_hw.cells.target import Target

OPERATORS = ("tables", "slopes", "products")
COLUMNS = ("LUT4", "CCU2C", "TRELLIS_DPR16X4", "TRELLIS_FF", "DP16KD", "MULT18X18D")


def cells_of(config, folder):
    folder.mkdir(parents=True, exist_ok=True)
    synthesize(config, folder, collisions=False, target=Target.ECP5)
    places = by_place(json.loads((folder / "top.json").read_text()))
    places.pop("wrapper")
    return sum((collections.Counter(place) for place in places.values()), collections.Counter())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--columns", type=int, default=1)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path("build/operators"))
    arguments = parser.parse_args()
    none = LARGE.with_(columns=arguments.columns, **dict.fromkeys(OPERATORS, False))
    designs = {"none": none}
    if arguments.columns == 1:
        designs |= {name: none.with_(**{name: True}) for name in OPERATORS}
    designs["all"] = none.with_(**dict.fromkeys(OPERATORS, True))
    print(f"{'':10}" + "".join(f"{name:>16}" for name in (*COLUMNS, "COMB")))
    for name, config in designs.items():
        cells = cells_of(config, arguments.folder / f"{arguments.columns}-{name}")
        shown = [*(cells.get(column, 0) for column in COLUMNS), comb(cells)]
        print(f"{name:10}" + "".join(f"{number:16}" for number in shown), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
