"""Sizes what each operator of a configuration adds on an ECP5, with yosys alone.

    python experiments/operator_sizing.py                  # output stage of the ulx3s_85f, 1 column
    python experiments/operator_sizing.py --columns 16     # its whole array, none and all of them

Prints cells of the accelerator without operators, with each alone and with all, and roughly the
longest path, in all and to the output stage.
"""

import argparse
import collections
import json
import pathlib
import sys

from accelerator_sizing import by_place, comb, synthesize

from steelyard_boards.configs import LARGE
from steelyard_hw.cells.target import Target

OPERATORS = ("additions", "tables", "slopes", "products", "lane_sums", "fused_additions")
COLUMNS = ("LUT4", "CCU2C", "TRELLIS_DPR16X4", "TRELLIS_FF", "DP16KD", "MULT18X18D")


STARTS = {"TRELLIS_FF": 0.5, "DP16KD": 5.7, "MULT18X18D": 3.9, "TRELLIS_DPR16X4": 0.5}
"""Nanoseconds from the clock to a cell's outputs (docs/notes/bitstreams.md has the large ones)."""
STEPS = {"LUT4": 0.24, "PFUMX": 0.17, "L6MUX21": 0.17, "CCU2C": 0.45}
WIRE = 0.8
LAST = (".output.", ".tables.", ".residual.")
"""Output stage and what lies behind it, in names of cells."""
CARRY = 0.07


def longest(netlist):
    """Rough length of the longest path, ns: cells and a short wire between any two of them."""
    cells = netlist["modules"]["top"]["cells"]
    driver, arrival = {}, {}
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "output":
                for bit in bits:
                    driver[bit] = (name, port)
                    if cell["type"] in STARTS:
                        arrival[bit] = STARTS[cell["type"]]
    sys.setrecursionlimit(100_000)

    def at(bit):
        if bit in arrival or bit not in driver:
            return arrival.get(bit, 0.0)
        cell = cells[driver[bit][0]]
        arrival[bit] = 0.0
        worst = 0.0
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                carry = cell["type"] == "CCU2C" and port == "CIN"
                step = CARRY if carry else WIRE + STEPS.get(cell["type"], 0.0)
                worst = max([worst, *(at(each) + step for each in bits)])
        arrival[bit] = worst
        return worst

    ends = {}
    for name, cell in cells.items():
        if cell["type"] in STARTS:
            for port, bits in cell["connections"].items():
                if cell["port_directions"][port] == "input":
                    ends[name] = max([ends.get(name, 0.0), *(at(bit) + WIRE for bit in bits)])
    within = [time for name, time in ends.items() if any(each in name for each in LAST)]
    return max(ends.values()), max(within)


def cells_of(config, folder):
    folder.mkdir(parents=True, exist_ok=True)
    synthesize(config, folder, collisions=False, target=Target.ECP5)
    netlist = json.loads((folder / "top.json").read_text())
    places = by_place(netlist)
    places.pop("wrapper")
    paths = longest(netlist)
    return paths, sum(
        (collections.Counter(place) for place in places.values()), collections.Counter()
    )


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
    print(
        f"{'':16}"
        + "".join(f"{name:>16}" for name in (*COLUMNS, "COMB", "longest ns", "at output ns"))
    )
    for name, config in designs.items():
        paths, cells = cells_of(config, arguments.folder / f"{arguments.columns}-{name}")
        shown = [*(cells.get(column, 0) for column in COLUMNS), comb(cells)]
        print(f"{name:16}" + "".join(f"{number:16}" for number in shown), end="")
        print("".join(f"{time:16.1f}" for time in paths), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
