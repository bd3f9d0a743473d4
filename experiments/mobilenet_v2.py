"""MobileNetV2 in its full width on 96x96 images: cycles by kind of layer, and exactness on RTL.

Weights are random and dense, memories as large as it needs; docs/notes/moves.md has the figures.
"""

import sys
import warnings
from collections import Counter
from pathlib import Path

import click
from torch import nn

from steelyard import driver, quantize
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.importer import load
from steelyard.network import Conv
from steelyard.network.random import random_input

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from structures import Structure
from structures.blocks import conv, inverted

BLOCKS = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
"""Expansion, channels, repetitions and stride of each stage (Sandler et al. 2018, table 2)."""


def mobilenet_v2() -> nn.Module:
    """The network of the paper."""
    layers, inputs = [conv(3, 32, 3, 2, act=nn.ReLU6)], 32
    for expand, channels, count, stride in BLOCKS:
        for number in range(count):
            layers.append(inverted(inputs, channels, 1 if number else stride, expand))
            inputs = channels
    layers += [conv(320, 1280, 1, act=nn.ReLU6), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(1280, 1000))


@click.command(help=__doc__)
@click.option("--rtl", is_flag=True, help="Run an image on compiled RTL, layer by layer.")
def main(rtl: bool) -> None:
    """Print cycles, and whether RTL is exact."""
    warnings.simplefilter("ignore")
    structure = Structure(mobilenet_v2, (3, 96, 96))
    network = load(quantize.quantize(structure.model(), structure.images(8)))
    config = configure(
        "array", weight_words=1 << 18, activation_words=1 << 15, parameter_words=1 << 15,
        max_layers=512,
    )  # fmt: skip
    program = compile(network, config)
    cycles, macs, descriptors = Counter[str](), Counter[str](), Counter[str]()
    for layer, entry in zip(program.network.layers, program.layers, strict=True):
        kind = "depthwise" if isinstance(layer, Conv) and layer.groups > 1 else entry.kind
        cycles[kind] += entry.predicted_cycles
        macs[kind] += program.network.macs(layer)
        descriptors[kind] += entry.count
    for kind, count in cycles.most_common():
        rate = macs[kind] / count
        click.echo(
            f"{kind:10} {count:8,} cycles  {count / cycles.total():6.1%}  {rate:6.1f} MAC a cycle  "
            f"{descriptors[kind]:4} descriptors"
        )
    click.echo(f"total      {cycles.total():8,} cycles, {macs.total():,} MAC")
    if not rtl:
        return
    x = random_input(program.network, 1, 1)
    with driver.open("sim", config=config) as device:
        difference = driver.check_layers(program, x, device)
        device.infer(x)
        counted = [counters.cycles for counters in device.counters()]
        total = device.cycles
    exact = counted == [entry.predicted_cycles for entry in program.layers]
    click.echo(f"RTL: {difference or 'every layer equal to the golden model'}, {total:,} cycles")
    click.echo(f"cycles of every layer as predicted: {'yes' if exact else 'no'}")
    sys.exit(difference is not None or not exact)


if __name__ == "__main__":
    main()
