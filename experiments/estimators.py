"""Cells that yosys and nextpnr make of configurations, and how near the capacity check comes.

    python experiments/estimators.py measure --draw second --count 40    # what the file lacks
    python experiments/estimators.py fit        # the laws of the ECP5's LUTs, from a part of it
    python experiments/estimators.py            # the estimates held against what was measured

Each line of experiments/estimators.json is a configuration, drawn by a seed, with its cells as
placement counts them: yosys' netlist packed by nextpnr, neither placed nor routed. LUTs are those
of each part of the gateware too. Lines that are held out are not used by the fit.
"""

import argparse
import json
import random
import re
import statistics
import tempfile
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import numpy as np
from loading import demo

from steelyard.contract import AcceleratorConfig
from steelyard_boards import board as find_board
from steelyard_boards.families.ecp5_luts import amounts
from steelyard_boards.flow import synthesize
from steelyard_cli.bench import networks as bench
from steelyard_explore import Point, evaluate, space_of
from steelyard_explore.evaluate import holds

DATA = Path(__file__).with_suffix(".json")
NETWORKS = {
    "resnet8": lambda: bench.resnet8(4),
    "demo": demo,
    "reference": lambda: bench.reference(4),
}
FIRST = ("ulx3s_25f", "ulx3s_45f", "ulx3s_25f", "ulx3s_25f", "ulx3s_45f", "ulx3s_85f")
SECOND = ("ulx3s_85f", "versa_ecp5", "ecpix5", "icepi_zero")
LARGEST_OF = 3
"""Configurations of which the second draw takes the one with the most multiplications."""
OPERATORS = ("tables", "slopes", "products", "additions", "lane_sums")
"""Of the second draw by chance, as they are no choice of an exploration."""
FIRST_SEED, SECOND_SEED, THIRD_SEED = 1, 2, 3
LUTS_OF = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}
"""TRELLIS_COMB that nextpnr makes of a cell."""
LUTS_OF_CHAIN = 4
"""More of them where a chain of carry cells begins and ends."""
PARTS = {
    "array": "columns", "array.scheduler": "control", "array.drain": "control",
    "loader": "loader", "loader.aligner": "aligner",
    "activations": "activations", "fetch": "weights", "weights": "weights",
    "parameters": "parameters", "descriptors": "parameters", "counters": "parameters",
    "vector": "vector", "tags": "vector", "lane_sum": "vector",
    "output": "outputs", "tables": "outputs", "residual": "outputs",
}  # fmt: skip
"""Parts of the laws by submodules of the accelerator; all else is control."""


def drawn_first(spaces):
    """What the first rounds measured: board, network and configuration, evenly drawn."""
    draw = random.Random(FIRST_SEED)
    while True:
        for board in map(find_board, FIRST):
            name = draw.choice(list(NETWORKS))
            yield board, name, one(draw, board, name, spaces)


def drawn_second(spaces):
    """Larger ones on other boards too, and operators that these networks do not need."""
    draw = random.Random(SECOND_SEED)
    while True:
        for board in map(find_board, SECOND):
            name = draw.choice(list(NETWORKS))
            several = [one(draw, board, name, spaces) for _ in range(LARGEST_OF)]
            config = max(several, key=lambda each: each.engine.macs_per_cycle)
            operators = {each: draw.random() < 0.5 for each in OPERATORS}
            config = config.with_(**operators, vector_bits=24)
            if holds(board, config) is None:
                yield board, name, config


def drawn_third(spaces):
    """Units that compare and add nothing, as networks with maxima but no averages get them."""
    draw = random.Random(THIRD_SEED)
    while True:
        for board in map(find_board, FIRST):
            config = one(draw, board, "reference", spaces)
            yield board, "reference", config.with_(vector_bits=8)


DRAWS = {"first": drawn_first, "second": drawn_second, "third": drawn_third}


def one(draw, board, name, spaces):
    """Configuration that runs a network on a board, with memories as large as it needs."""
    if (board.name, name) not in spaces:
        network = NETWORKS[name]()
        spaces[board.name, name] = network, space_of(board, network)
    network, space = spaces[board.name, name]
    while True:
        config = space.config(draw.randrange(len(space)))
        if holds(board, config) is None:
            point = evaluate(network, board, config)[-1]
            if isinstance(point, Point):
                return point.config


def known():
    """Rows of the file by board and configuration."""
    if not DATA.exists():
        return {}
    rows = [json.loads(line) for line in DATA.read_text().splitlines()]
    return {(row["board"], row["hash"]): row for row in rows}


def part_of(name):
    """Part of the gateware that a mapped cell belongs to, by the net or cell it is named after."""
    within = re.sub(r"^\$\w*\\?", "", name).split(".")[:-1]
    if within[:2] != ["serial", "accelerator"]:
        return "control"
    own = [re.sub(r"[_$]\d+$", "", each) for each in within[2:4]]
    return PARTS.get(".".join(own)) or PARTS.get(own[0] if own else "", "control")


def luts_of_parts(netlist):
    """LUTs of each part, as nextpnr will pack its cells."""
    luts, carries = Counter(), set()
    for cell in netlist["cells"].values():
        if cell["type"] == "CCU2C":
            carries.update(cell["connections"]["COUT"])
    for name, cell in netlist["cells"].items():
        luts[part_of(name)] += LUTS_OF.get(cell["type"], 0)
        if cell["type"] == "CCU2C" and not carries & set(cell["connections"]["CIN"]):
            luts[part_of(name)] += LUTS_OF_CHAIN
    return dict(luts)


def synthesized(board, name, config, draw, held_out):
    """Row of a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        made = synthesize(board, config, Path(folder))
    (text,) = (text for file, text in made.files.items() if file == "top.json")
    netlist = json.loads(text)["modules"]["top"]
    return {
        "board": board.name, "network": name, "draw": draw, "hash": config.hash().hex(),
        "lut": made.outcome.lut, "ff": made.outcome.ff,
        "multipliers": made.outcome.dsp, "block_rams": made.outcome.bram,
        "parts": luts_of_parts(netlist), "held_out": held_out,
        "config": config.values(),
    }  # fmt: skip


def measure(draw, count):
    """Synthesize the first configurations of a draw, as far as the file has them not.

    Every second one is held out.
    """
    have, drawn = known(), DRAWS[draw]({})
    for board, name, config in islice(drawn, count):
        if (board.name, config.hash().hex()) in have:
            continue
        begin = time.monotonic()
        row = synthesized(board, name, config, draw, len(have) % 2 == 1)
        with DATA.open("a") as file:
            file.write(json.dumps(row) + "\n")
        have[row["board"], row["hash"]] = row
        needs = board.device.family.demand(config)
        print(f"{board.name} {config.outline}: {row['lut']:,} LUTs, estimated {needs.luts:,}; "
              f"{time.monotonic() - begin:.0f} s", flush=True)  # fmt: skip


def fit():
    """LUTs of each amount of the laws, by least squares of each part alone."""
    rows = [row for row in known().values() if not row["held_out"]]
    made = [amounts(AcceleratorConfig.from_dict(row["config"])) for row in rows]
    laws = {}
    for part, own in made[0].items():
        counted = np.array([row["parts"].get(part, 0) for row in rows])
        table = np.array([[float(each[part][name]) for name in own] for each in made])
        luts, _, rank, _ = np.linalg.lstsq(table, counted, rcond=None)
        assert rank == len(own), f"{part} cannot be told apart by these configurations"
        laws[part] = {name: round(float(each), 2) for name, each in zip(own, luts, strict=True)}
    return laws


def compare():
    """Prints every line of the file beside its estimates, and how far these are off."""
    errors, exact = {True: [], False: []}, []
    for row in known().values():
        board, config = find_board(row["board"]), AcceleratorConfig.from_dict(row["config"])
        needs = board.device.family.demand(config)
        errors[row["held_out"]].append(needs.luts / row["lut"] - 1)
        more = needs.multipliers - row["multipliers"], needs.block_rams - row["block_rams"]
        exact.append(more)
        print(
            f"{board.name:10} {config.outline:22} {row['lut']:7,} LUTs, estimated {needs.luts:7,} "
            f"({errors[row['held_out']][-1]:+6.1%}{', held out' if row['held_out'] else ''}); "
            f"multipliers {more[0]:+d}, block RAMs {more[1]:+d}"
        )
    for held_out, own in errors.items():
        print(
            f"{len(own)} configurations that were {'held out' if held_out else 'fitted'}: LUTs "
            f"{min(own):+.1%} to {max(own):+.1%}, median {statistics.median(own):+.1%}, root of "
            f"the mean square {statistics.fmean(each**2 for each in own) ** 0.5:.1%}"
        )
    print(
        f"multipliers exact in {sum(not each for each, _ in exact)} of {len(exact)}, block RAMs "
        f"in {sum(not each for _, each in exact)}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("measure", "fit"))
    parser.add_argument("--draw", choices=DRAWS, default="second")
    parser.add_argument("--count", type=int, default=40, help="configurations of that draw")
    arguments = parser.parse_args()
    if arguments.what == "measure":
        measure(arguments.draw, arguments.count)
    if arguments.what == "fit":
        print(json.dumps(fit(), indent=4))
        return
    compare()


if __name__ == "__main__":
    main()
