"""Clocks that configurations of estimators.json reach, placed and routed, and what tells them.

    python experiments/clocks.py route --luts 12000 --seeds 1    # what the file lacks
    python experiments/clocks.py fit        # the law of the ECP5's clock, from a part of it
    python experiments/clocks.py            # the estimates held against what was routed

Each line of experiments/clocks.json is one placement of a configuration of experiments/
estimators.json, which says whether it is held out of the fit: the clock that nextpnr found, and of
its slowest path how long logic and wires take. `gateware` is a hash of the RTLIL of that
configuration's accelerator.
"""

import argparse
import hashlib
import json
import math
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from estimators import known
from gateware_fingerprint import text as rtlil_of

from steelyard.contract import AcceleratorConfig
from steelyard.files import replacing
from steelyard_boards import board as find_board
from steelyard_boards.families.ecp5_clock import SPEED, terms
from steelyard_boards.flow import route, synthesize

DATA = Path(__file__).with_suffix(".json")
NOTED = {"ulx3s_12f": (87.1, 85.3, 84.9), "ulx3s_85f": (80.6,)}
"""Clocks of boards' own configurations, by seeds, of docs/notes/bitstreams.md; not fitted."""
NETLISTS = Path("build/clocks")
"""Syntheses that another seed begins with."""


def routed():
    """Lines of the file by board, configuration and seed."""
    if not DATA.exists():
        return {}
    lines = [json.loads(line) for line in DATA.read_text().splitlines()]
    return {(line["board"], line["hash"], line["seed"]): line for line in lines}


def pairs():
    """Rows of estimators.json by their LUTs: each held-out one behind the fitted one next to it.

    So both kinds have the same sizes, however many of them are routed.
    """
    rows = sorted(known().values(), key=lambda row: row["lut"])
    fitted = [row for row in rows if not row["held_out"]]
    for row in rows:
        if row["held_out"]:
            other = min(fitted, key=lambda each: abs(each["lut"] - row["lut"]))
            fitted.remove(other)
            yield other
            yield row


def netlist(row, config, gateware):
    """Files that place and route begins with, kept for other seeds."""
    kept = NETLISTS / f"{row['board']}-{row['hash'][:12]}-{gateware[:12]}.json"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            files = synthesize(find_board(row["board"]), config, Path(folder)).files
        with replacing(kept, "Netlist") as temporary:
            temporary.write_text(json.dumps(files), encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


def slowest(report):
    """Nanoseconds of logic and of wires in the slowest path between registers of one clock, and
    the cells at its ends."""
    inside = [path for path in report["critical_paths"] if path["from"] == path["to"]]
    path = max(inside, key=lambda path: sum(step["delay"] for step in path["path"]))["path"]
    wires = sum(step["delay"] for step in path if step["type"] == "routing")
    return {
        "logic_ns": round(sum(step["delay"] for step in path) - wires, 2),
        "wires_ns": round(wires, 2),
        "from": path[0]["from"]["cell"], "to": path[-1]["to"]["cell"],
    }  # fmt: skip


def place(row, seed):
    """Line of a placement."""
    board, config = find_board(row["board"]), AcceleratorConfig.from_dict(row["config"])
    gateware = hashlib.sha256(rtlil_of(config, without_hash=False).encode()).hexdigest()
    files = netlist(row, config, gateware)
    with tempfile.TemporaryDirectory() as folder:
        (clock,) = route(board, files, Path(folder), seeds=(seed,))
        path = Path(folder, f"seed{seed}.json")
        found = slowest(json.loads(path.read_text())) if path.exists() else {}
    return {
        "board": row["board"], "hash": row["hash"], "seed": seed, "lut": row["lut"],
        "fmax_mhz": round(clock, 2), **found, "gateware": gateware[:16],
    }  # fmt: skip


def measure(least, most, seeds, only, minutes):
    """Place and route what the file has not; fitted and held-out ones in turn, seed by seed.

    Says nothing of the held-out ones, so that a law can be chosen meanwhile without them.
    """
    have, end = routed(), time.monotonic() + 60 * minutes
    for seed in seeds:
        for row in pairs():
            if (row["board"], row["hash"], seed) in have or time.monotonic() > end:
                continue
            kind = "held-out" if row["held_out"] else "fitted"
            if only not in (None, kind) or not least <= row["lut"] < most:
                continue
            begin = time.monotonic()
            line = place(row, seed)
            with DATA.open("a") as file:
                file.write(json.dumps(line) + "\n")
            said = "held out" if row["held_out"] else f"{line['fmax_mhz']} MHz, {line}"
            print(f"{row['board']} {row['lut']:,} LUTs, seed {seed}: {said}; "
                  f"{time.monotonic() - begin:.0f} s", flush=True)  # fmt: skip


def samples(held_out):
    """Of each configuration that was routed: its board, estimated LUTs, and clocks by seed."""
    rows, made = known(), {}
    for (name, digest, seed), line in sorted(routed().items()):
        row = rows[name, digest]
        # What the router finds no way for has no clock.
        if row["held_out"] == held_out and line["fmax_mhz"]:
            config = AcceleratorConfig.from_dict(row["config"])
            made.setdefault((name, digest), (find_board(name), config, {}))[2][seed] = line[
                "fmax_mhz"
            ]
    return list(made.values())


def positive(table):
    """Factors of the columns, none below 0, whose sums come nearest to 1, and squares missed."""
    found, kept = np.zeros(table.shape[1]), [*range(table.shape[1])]
    while True:
        own, _, rank, _ = np.linalg.lstsq(table[:, kept], np.ones(len(table)), rcond=None)
        assert rank == len(kept), "these configurations do not tell the terms apart"
        if own.min() >= 0:
            found[kept] = own
            return found, float(((table @ found - 1) ** 2).sum())
        del kept[int(own.argmin())]


def fit(made):
    """Nanoseconds of the law and the share of each speed grade, by least squares of relative
    errors, none of them below 0; of a configuration with several seeds their median clock."""
    grades = np.array([board.device.speed_grade for board, _, _ in made])
    every = [terms(config, board.device.family.demand(config).luts) for board, config, _ in made]
    amounts = np.array([[*own.values()] for own in every])
    periods = np.array([1e3 / statistics.median(clocks.values()) for _, _, clocks in made])
    best = None
    for share in np.arange(0.6, 1.2, 0.005):
        factors = np.where(grades == min(SPEED), 1.0, share)
        table = (factors / periods)[:, None] * amounts
        found, missed = positive(table)
        if best is None or missed < best[0]:
            best = missed, found, share
    _, found, share = best
    ns = {what: round(float(each), 4) for what, each in zip(every[0], found, strict=True)}
    return ns, {min(SPEED): 1.0, max(SPEED): round(float(share), 3)}


def errors_of(made, estimate):
    """How far estimates are off as shares, of each configuration and seed."""
    return [
        estimate(board, config) / clock - 1
        for board, config, clocks in made
        for clock in clocks.values()
    ]


def constants(made):
    """An estimate that knows the speed grade alone: the median clock of each."""
    grades = {board.device.speed_grade for board, _, _ in made}
    medians = {
        grade: statistics.median(
            statistics.median(clocks.values())
            for board, _, clocks in made
            if board.device.speed_grade == grade
        )
        for grade in grades
    }
    return lambda board, _: medians[board.device.speed_grade]


def summary(errors):
    """Median, share within which nine of ten are and worst of errors without their signs, and the
    mean with it."""
    sizes = sorted(abs(each) for each in errors)
    nine = sizes[math.ceil(0.9 * len(sizes)) - 1]
    return (
        f"median {statistics.median(sizes):.1%}, nine of ten within {nine:.1%}, worst "
        f"{sizes[-1]:.1%}, mean {statistics.fmean(errors):+.1%}"
    )


def compare():
    """Prints clocks beside their estimates, how far these are off, and what seeds differ by."""
    fitted, held_out = samples(held_out=False), samples(held_out=True)
    constant = constants(fitted)
    for what, made in (("fitted", fitted), ("held out", held_out)):
        for board, config, clocks in made:
            estimate, needs = board.device.fmax_of(config), board.device.family.demand(config)
            off = ", ".join(
                f"{clock:.1f} ({estimate / clock - 1:+.1%})" for clock in clocks.values()
            )
            print(f"{board.name:10} {config.outline:22} {needs.luts:7,} LUTs, "
                  f"-{board.device.speed_grade}: estimated {estimate:.1f} MHz, "
                  f"routed {off}; {what}")  # fmt: skip
    for what, made in (("fitted", fitted), ("held out", held_out)):
        law = errors_of(made, lambda board, config: board.device.fmax_of(config))
        print(f"{len(made)} configurations that were {what}, {len(law)} placements: "
              f"{summary(law)}; with one clock for each speed grade: "
              f"{summary(errors_of(made, constant))}")  # fmt: skip
    for name, clocks in NOTED.items():
        board = find_board(name)
        print(f"{name}, its own configuration: estimated "
              f"{board.device.fmax_of(board.default):.1f} MHz, routed "
              f"{', '.join(map(str, clocks))}")  # fmt: skip
    spreads = [
        max(clocks.values()) / min(clocks.values()) - 1
        for *_, clocks in fitted + held_out
        if len(clocks) > 1
    ]
    if spreads:
        print(f"seeds of one configuration, the best over the worst, {len(spreads)} of them: "
              f"median {statistics.median(spreads):.1%}, worst {max(spreads):.1%}")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=("route", "fit"))
    parser.add_argument("--least", type=int, default=0, help="LUTs of the smallest")
    parser.add_argument("--luts", type=int, default=12_000, help="LUTs that all stay below")
    parser.add_argument("--seeds", default="1", help="of placement, with commas")
    parser.add_argument("--only", choices=("fitted", "held-out"))
    parser.add_argument("--minutes", type=float, default=60, help="after which none is begun")
    arguments = parser.parse_args()
    if arguments.what == "route":
        seeds = [int(seed) for seed in arguments.seeds.split(",")]
        measure(arguments.least, arguments.luts, seeds, arguments.only, arguments.minutes)
    elif arguments.what == "fit":
        ns, speed = fit(samples(held_out=False))
        print(f"NS = {ns}\nSPEED = {speed}")
    else:
        compare()


if __name__ == "__main__":
    main()
