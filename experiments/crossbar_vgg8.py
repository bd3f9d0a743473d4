"""Cycles that the tile's RTL takes for a VGG8 of a 32x32 image, compared with the golden crossbar.

    OMP_NUM_THREADS=1 PYTHONPATH=sw:hw:sim python experiments/crossbar_vgg8.py \
        [--ou-parallel 1] [--cell-bits 4] [--method traditional] [--zeros 0.0] [--bound]

The tile has its default size, but for memories that hold the whole network: they change no cycle.
With --bound only the compiler's bound of the cycles is printed.
Random weights and image (seeds 0 and 1), as in experiments/crossbar_golden.py.
"""

import time
from dataclasses import replace

import click
import numpy as np
from crossbar_golden import vgg8

from steelyard import driver
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.engines.crossbar import MAPPINGS, CrossbarConfig, map_network
from steelyard.engines.crossbar import run as crossbar_run
from steelyard.network import Conv

CLOCK_HZ = 80e6


def thinned(network, zeros):
    """The network with a share of its weights set to zero at random (seed 2)."""
    rng = np.random.default_rng(2)
    layers = []
    for layer in network.layers:
        if isinstance(layer, Conv):
            kept = rng.random(layer.weight.shape) >= zeros
            layer = replace(layer, weight=(layer.weight * kept).astype(np.int8))
        layers.append(layer)
    return replace(network, layers=tuple(layers))


@click.command(help=__doc__.splitlines()[0], context_settings={"show_default": True})
@click.option("--ou-parallel", type=int, default=1)
@click.option("--cell-bits", type=int, default=4)
@click.option("--method", "mapping", type=click.Choice(list(MAPPINGS)), default="traditional")
@click.option("--zeros", type=float, default=0.0, help="Share of the weights.")
@click.option("--bound", is_flag=True, help="Without simulating.")
def main(ou_parallel, cell_bits, mapping, zeros, bound):
    """Run, compare, print."""
    network = thinned(vgg8(), zeros)
    config = configure(
        "crossbar",
        ou_parallel=ou_parallel,
        crossbar=CrossbarConfig(cell_bits=cell_bits),
        activation_words=32768,
        weight_words=1 << 21,
        parameter_words=4096,
        partial_sum_channels=1024,
    )
    program = compile(network, config, batch=1, mapping=mapping)
    most = sum(layer.predicted_cycles for layer in program.layers)
    print(f"the compiler's bound: {most:,} cycles, {most / CLOCK_HZ:.3f} s")
    if bound:
        return
    x = np.random.default_rng(1).normal(0, 40, (1, 3, 32, 32)).round().clip(-128, 127)
    x = x.astype(np.int8)
    begin = time.process_time()
    with driver.open("sim", config=config, log=print) as device:
        device.load(program)
        y = device.infer(x)
        cycles, counters = device.cycles, device.counters()
    print(f"simulated in {time.process_time() - begin:.0f} CPU-s")
    expected = crossbar_run(network, map_network(network, config.engine.crossbar, mapping), x)
    print("equal to the golden crossbar:", bool(np.array_equal(y, expected.output)))
    for name, work in expected.layers.items():
        units = next(each.units for each in counters if each.name == name)
        same = units.ou_steps == work.counts.ou_steps
        print(f"{name}: {units.ou_steps:,} OU steps, the golden crossbar's: {same}")
    print(f"{cycles:,} cycles, {cycles / CLOCK_HZ:.3f} s at {CLOCK_HZ / 1e6:g} MHz")


if __name__ == "__main__":
    main()
