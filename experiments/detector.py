"""A detector after YOLOv5 on 128x128 images: cycles by kind of layer, and exactness on RTL.

SiLU and LeakyReLU, two outputs for boxes of two sizes; weights are random and dense.
docs/notes/outputs.md has the figures.
"""

import sys
from pathlib import Path

import click
import torch
from torch import Tensor, nn

from steelyard.contract import configure

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
from whole_network import measured

from structures import Structure
from structures.blocks import Residual, conv

SIZE = 128
ANCHORS, CLASSES = 3, 20


class Stage(nn.Module):
    """Convolutions around a skip, beside a path past them (C3 with one bottleneck)."""

    def __init__(self, inputs: int, outputs: int, act: type[nn.Module]) -> None:
        super().__init__()
        half = outputs // 2
        inner = nn.Sequential(conv(half, half, 1, act=act), conv(half, half, act=act))
        self.long = nn.Sequential(conv(inputs, half, 1, act=act), Residual(inner, relu=False))
        self.short = conv(inputs, half, 1, act=act)
        self.last = conv(outputs, outputs, 1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([self.long(x), self.short(x)], 1))


class Detector(nn.Module):
    """Four halvings, a pyramid of pooled maps, and two heads."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 16, 3, 2, act=nn.SiLU)
        self.early = nn.Sequential(conv(16, 32, 3, 2, act=nn.SiLU), Stage(32, 32, nn.SiLU))
        self.middle = nn.Sequential(conv(32, 64, 3, 2, act=nn.SiLU), Stage(64, 64, nn.SiLU))
        self.deep = nn.Sequential(
            conv(64, 128, 3, 2, act=nn.LeakyReLU), Stage(128, 128, nn.LeakyReLU)
        )
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.squeeze = conv(128, 64, 1, act=nn.SiLU)
        self.spread = conv(256, 128, 1, act=nn.SiLU)
        self.up = nn.Sequential(conv(128, 64, 1, act=nn.SiLU), nn.Upsample(scale_factor=2))
        self.join = Stage(128, 64, nn.SiLU)
        outputs = ANCHORS * (5 + CLASSES)
        self.fine, self.coarse = nn.Conv2d(64, outputs, 1), nn.Conv2d(128, outputs, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        middle = self.middle(self.early(self.stem(x)))
        pooled = [self.squeeze(self.deep(middle))]
        for _ in range(3):
            pooled.append(self.pool(pooled[-1]))
        deep = self.spread(torch.cat(pooled, 1))
        fine = self.join(torch.cat([self.up(deep), middle], 1))
        return {"fine": self.fine(fine), "coarse": self.coarse(deep)}


@click.command(help=__doc__)
@click.option("--rtl", is_flag=True, help="Run an image on compiled RTL, layer by layer.")
def main(rtl: bool) -> None:
    """Print cycles, and whether RTL is exact."""
    structure = Structure(Detector, (3, SIZE, SIZE))
    config = configure(
        "array", weight_words=1 << 15, activation_words=1 << 15, parameter_words=1 << 13,
        max_layers=512,
    )  # fmt: skip
    sys.exit(not measured(structure, config, rtl))


if __name__ == "__main__":
    main()
