"""MobileNetV2 in its full width on 96x96 images: cycles by kind of layer, and exactness on RTL.

Weights are random and dense, memories as large as it needs; docs/notes/moves.md has the figures.
"""

import sys
from pathlib import Path

import click
from torch import nn

from steelyard.contract import configure

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from whole_network import measured

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
    structure = Structure(mobilenet_v2, (3, 96, 96))
    config = configure(
        "array", weight_words=1 << 18, activation_words=1 << 15, parameter_words=1 << 15,
        max_layers=512,
    )  # fmt: skip
    sys.exit(not measured(structure, config, rtl))


if __name__ == "__main__":
    main()
