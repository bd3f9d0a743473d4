"""Cells that yosys and nextpnr make of configurations, and how near the capacity check comes.

    python experiments/estimators.py measure    # what is missing in experiments/estimators.json
    python experiments/estimators.py            # the estimates held against what was measured

Each line of the file is a configuration of an exploration, drawn by a seed, with its cells as
placement counts them: yosys' netlist packed by nextpnr, neither placed nor routed.
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path

from loading import demo

from steelyard.contract import AcceleratorConfig
from steelyard_boards import board as find_board
from steelyard_boards.flow import synthesize, tool_versions
from steelyard_cli.bench import networks as bench
from steelyard_explore import Point, evaluate, space_of
from steelyard_explore.evaluate import holds

DATA = Path(__file__).with_suffix(".json")
NETWORKS = {
    "resnet8": lambda: bench.resnet8(4),
    "demo": demo,
    "reference": lambda: bench.reference(4),
}
ROUND = ("ulx3s_25f", "ulx3s_45f", "ulx3s_25f", "ulx3s_25f", "ulx3s_45f", "ulx3s_85f")
ROUNDS, SEED = 6, 1


def wanted():
    """Board, network and configuration of each measurement, drawn evenly from the spaces."""
    draw = random.Random(SEED)
    made = {name: make() for name, make in NETWORKS.items()}
    spaces = {}
    for number in range(ROUNDS * len(ROUND)):
        board = find_board(ROUND[number % len(ROUND)])
        name = draw.choice(list(NETWORKS))
        space = spaces.setdefault((board.name, name), space_of(board, made[name]))
        while True:
            drawn = draw.randrange(len(space))
            if holds(board, space.config(drawn)) is not None:
                continue
            point = evaluate(made[name], board, space.config(drawn))[-1]
            if isinstance(point, Point):
                break
        yield board, name, point.config


def known():
    """Lines of the file by board and configuration."""
    if not DATA.exists():
        return {}
    rows = [json.loads(line) for line in DATA.read_text().splitlines()]
    return {(row["board"], row["hash"]): row for row in rows}


def measure():
    have = known()
    for board, name, config in wanted():
        key = board.name, config.hash().hex()
        if key in have:
            continue
        begin = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            made = synthesize(board, config, Path(folder)).outcome
        row = {
            "board": board.name, "network": name, "hash": key[1],
            "lut": made.lut, "ff": made.ff, "multipliers": made.dsp, "block_rams": made.bram,
            "tools": tool_versions(board), "config": config.values(),
        }  # fmt: skip
        with DATA.open("a") as file:
            file.write(json.dumps(row) + "\n")
        needs = board.device.family.demand(config)
        print(f"{board.name} {config.outline}: {made.lut:,} LUTs, estimated {needs.luts:,}; "
              f"{time.monotonic() - begin:.0f} s", flush=True)  # fmt: skip


def compare():
    errors, exact = [], []
    for row in known().values():
        board, config = find_board(row["board"]), AcceleratorConfig.from_dict(row["config"])
        needs = board.device.family.demand(config)
        errors.append(needs.luts / row["lut"] - 1)
        more = needs.multipliers - row["multipliers"], needs.block_rams - row["block_rams"]
        exact.append(more)
        print(
            f"{board.name:10} {config.outline:22} {row['lut']:7,} LUTs, estimated {needs.luts:7,} "
            f"({errors[-1]:+6.1%}); multipliers {more[0]:+d}, block RAMs {more[1]:+d}"
        )
    print(
        f"{len(errors)} configurations: LUTs {min(errors):+.1%} to {max(errors):+.1%}, median "
        f"{statistics.median(errors):+.1%}; multipliers exact in "
        f"{sum(not each for each, _ in exact)}, block RAMs in {sum(not each for _, each in exact)}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("measure",))
    if parser.parse_args().what:
        measure()
    compare()


if __name__ == "__main__":
    main()
