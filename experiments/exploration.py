"""Seconds of exploring a board for a network, and how much better than its own configuration.

    python experiments/exploration.py resnet8 --count 10000    # or demo, vgg-small
    python experiments/exploration.py resnet8                  # all configurations
    python experiments/exploration.py resnet8 --rtl            # the best one on compiled RTL
    python experiments/exploration.py resnet8 --route          # the same, placed and routed
    python experiments/exploration.py resnet8 --others         # shapes outside the space
    python experiments/exploration.py nothing --jobs 10000     # jobs of later stages, of nothing

The weights are random, 4 of each 16 kept, of VGG-small 2.
"""

import argparse
import os
import tempfile
import time
from itertools import product
from pathlib import Path

from loading import Random, demo

from steelyard import driver
from steelyard.compile import compile
from steelyard.network.random import random_input
from steelyard_boards import board as find_board
from steelyard_boards.flow import route, synthesize
from steelyard_cli.bench import networks as bench
from steelyard_explore import (
    Cluster,
    Jobs,
    Point,
    Record,
    Variant,
    conclude,
    evaluate,
    explore,
    space_of,
)
from steelyard_explore.evaluate import holds
from steelyard_explore.jobs import Job, Result


def vgg_small(k=2):
    """The shape of the zoo's VGG-small, 1x28x28; with K = 2 its weights fit the largest board."""
    net = Random("vgg-small", (1, 28, 28))
    last = "input"
    for width in (64, 128, 256):
        for _ in range(2):
            last = net.layer(last, width, 3, k=None if last == "input" else k)
        last = net.max_pool(2, last, stride=2)
    weight = bench.balanced_weight(net._rng, (10, 256, 3, 3), k)
    net.fully_connected(weight, last, multiplier=1 << 20, shift=31)
    return net.network()


def others(network, board):
    """Fastest of the shapes near the limit of the multipliers, in the space or not."""
    template, planned, found = space_of(board, network).template, 0, []
    shapes = product((8, 16, 32), (2, 4, 8), range(1, 65), (4, 16, 32), (8, 16, 32, 64, 128))
    for lanes, requantizers, columns, group, window in shapes:
        if not 180 <= lanes * columns <= 300:
            continue
        config = template.with_(
            lanes=lanes, requantizers=requantizers, columns=columns, partial_sum_channels=columns,
            group=group, window_groups=window, wide_reads=True, shared_taps=True,
            fused_additions=True,
            multiplier_stages=board.default.engine.multiplier_stages,
        )  # fmt: skip
        if holds(board, config) is None:
            results = evaluate(network, board, config)
            planned += len(results)
            found += [each for each in results if isinstance(each, Point)]
    if not found:
        print(f"  {planned} others planned, none of which runs it on {board.name}")
        return
    best = min(found, key=lambda each: each.cycles)
    print(f"  {planned} others planned; best {best.cycles:,} cycles on {best.config.outline}")


def routed(board, config, seed):
    """Cells of a configuration and the clock that one placement reaches."""
    with tempfile.TemporaryDirectory() as folder:
        made = synthesize(board, config, Path(folder))
        (clock,) = route(board, made.files, Path(folder), seeds=(seed,))
    cells, estimate = made.outcome, board.device.fmax_of(config)
    estimated = "" if estimate is None else f", estimated {estimate:.1f}"
    print(f"  built: {cells.lut:,} LUTs, {cells.ff:,} registers, {cells.dsp} multipliers, "
          f"{cells.bram} block RAMs; routed with seed {seed}: {clock:.1f} MHz"
          f"{estimated}; the board has {board.clock_hz / 1e6:g} MHz")  # fmt: skip


def nothing(count, workers):
    """Milliseconds of a job that does nothing, with its record on a disk."""
    jobs = [Job({"number": number}, Result, ("done",)) for number in range(count)]
    with tempfile.TemporaryDirectory() as folder, Cluster(workers=workers) as cluster:
        with Record(Path(folder) / "record.sqlite") as record:
            Jobs(cluster, record).carry_out([Job({"first": 0}, Result, ("done",))])
            begin, before = time.monotonic(), os.times()
            Jobs(cluster, record).carry_out(jobs)
            seconds, after = time.monotonic() - begin, os.times()
    busy = after.user + after.system - before.user - before.system
    print(f"{count:,} jobs: {seconds / count * 1e3:.2f} ms each, {busy / count * 1e3:.2f} of CPU")


NETWORKS = {"resnet8": lambda: bench.resnet8(4), "demo": demo, "vgg-small": vgg_small}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=[*NETWORKS, "nothing"])
    parser.add_argument("--board", default="ulx3s_85f")
    parser.add_argument("--count", type=int)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rtl", action="store_true")
    parser.add_argument("--route", action="store_true")
    parser.add_argument("--seed", type=int, default=1, help="of the placement")
    parser.add_argument("--others", action="store_true")
    parser.add_argument("--jobs", type=int, default=10000)
    arguments = parser.parse_args()
    if arguments.network == "nothing":
        nothing(arguments.jobs, arguments.workers)
        return
    network, board = NETWORKS[arguments.network](), find_board(arguments.board)
    if arguments.others:
        others(network, board)
        return
    begin, before = time.monotonic(), os.times()
    done = explore(
        [Variant(network=network)],
        board,
        batches=(arguments.batch,),
        count=arguments.count,
        workers=arguments.workers,
    )
    seconds, after = time.monotonic() - begin, os.times()
    busy = sum(after[:4]) - sum(before[:4])
    refused = {reason: count for reason, (count, _) in done.refused.items()}
    print(f"{arguments.network} on {board.name}, batch {arguments.batch}:")
    print(f"  space of {len(done.space):,}, {done.evaluated:,} planned, {len(done.found):,} run it")
    print(f"  refused: {refused}")
    print(f"  {seconds:.1f} s with {arguments.workers} processes, {busy:.1f} s of CPU")
    found = conclude(network, [done])
    default = found.defaults[board.name, arguments.batch]
    if found.best is None or default.cycles is None:
        print(f"  nothing to compare; the board's own configuration: {default}")
        return
    point = found.best.point
    fields = done.space.fields(point.number)
    print(f"  board's own: {default.cycles:,} cycles, {default.luts:,} LUTs, fits: {default.fits}")
    print(f"  best: {point.cycles:,} cycles, {point.demand}: {default.cycles / point.cycles:.3f} x")
    print(f"  {fields}")
    smaller = [each for each in found.front if each.point.cycles <= default.cycles]
    if smaller:
        last = smaller[-1].point
        print(f"  smallest as fast as the board's own: {last.cycles:,} cycles, {last.demand}")
    if arguments.route:
        routed(board, point.config, arguments.seed)
    if arguments.rtl:
        program = compile(network, point.config, batch=arguments.batch)
        with driver.open("sim", config=point.config) as device:
            device.load(program)
            device.infer(random_input(network, arguments.batch, 1))
            print(f"  on compiled RTL: {device.cycles:,} cycles")


if __name__ == "__main__":
    main()
