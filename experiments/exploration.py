"""Seconds of exploring a board for a network, and how much better than its own configuration.

    python experiments/exploration.py resnet8 --count 10000    # or demo, vgg-small
    python experiments/exploration.py resnet8                  # all configurations
    python experiments/exploration.py resnet8 --rtl            # the best one on compiled RTL

The weights are random, 4 of each 16 kept, of VGG-small 2.
"""

import argparse
import os
import time

from loading import Random, demo

from steelyard import driver
from steelyard.compile import compile
from steelyard.network.random import random_input
from steelyard_boards import board as find_board
from steelyard_cli.bench import networks as bench
from steelyard_explore import Variant, conclude, explore


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


NETWORKS = {"resnet8": lambda: bench.resnet8(4), "demo": demo, "vgg-small": vgg_small}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--board", default="ulx3s_85f")
    parser.add_argument("--count", type=int)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rtl", action="store_true")
    arguments = parser.parse_args()
    network, board = NETWORKS[arguments.network](), find_board(arguments.board)
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
    print(
        f"  fastest like the board's own: {smaller[-1].point.cycles:,} cycles, "
        f"{smaller[-1].point.demand}"
    ) if smaller else None
    if arguments.rtl:
        program = compile(network, point.config, batch=arguments.batch)
        with driver.open("sim", config=point.config) as device:
            device.load(program)
            device.infer(random_input(network, arguments.batch, 1))
            print(f"  on compiled RTL: {device.cycles:,} cycles")


if __name__ == "__main__":
    main()
