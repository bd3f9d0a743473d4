"""Networks for 224 x 224 images on a ULX3S 85F with external memory: traffic, cycles, exactness.

    python experiments/large_networks.py resnet18 --rtl        # compiled RTL, minutes
    python experiments/large_networks.py resnet18 mobilenet_v1 vgg16

Weights are random, a quarter of each 16 is left where a layer has 16 input channels, and they are
quantized on random images; of VGG16 these are the convolutions and poolings. Prints what each layer
moves both ways, waits and takes, and what bounds it; with --rtl an image on compiled RTL of array,
controller and chip, of which every layer is compared with the golden model.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from steelyard import driver, quantize
from steelyard.check import assess
from steelyard.compile import compile
from steelyard.compile.external import Pace
from steelyard.importer import load
from steelyard.network.random import random_input
from steelyard.zoo import models
from steelyard_boards import board

KEPT, GROUP = 4, 16
SEPARABLE = (
    (32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2),
    *[(512, 512, 1)] * 5, (512, 1024, 2), (1024, 1024, 1),
)  # fmt: skip
"""Channels and strides of MobileNetV1's blocks (Howard et al. 2017, table 1)."""


def mobilenet_v1(size: int) -> nn.Module:
    """The network of the paper."""

    def conv(inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> list[nn.Module]:
        layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        return [layer, nn.BatchNorm2d(outputs), nn.ReLU()]

    layers = conv(3, 32, 3, 2, 1)
    for inputs, outputs, stride in SEPARABLE:
        layers += [*conv(inputs, inputs, 3, stride, inputs), *conv(inputs, outputs, 1, 1, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000))


class Bottleneck(nn.Module):
    """Three convolutions around a skip (He et al. 2015)."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.inner = nn.Sequential(
            *normed(inputs, width, 1), nn.ReLU(), *normed(width, width, 3, stride), nn.ReLU(),
            *normed(width, outputs, 1),
        )  # fmt: skip
        apart = stride > 1 or inputs != outputs
        self.skip = nn.Sequential(*normed(inputs, outputs, 1, stride)) if apart else nn.Identity()
        self.act = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(self.inner(x) + self.skip(x))


def normed(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[nn.Module]:
    """Convolution with batch norm."""
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


def resnet50(size: int) -> nn.Module:
    """The network of the paper, the stride in the 3x3 convolutions."""
    layers = [*normed(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    inputs = 64
    for width, count, stride in ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2)):
        for number in range(count):
            layers.append(Bottleneck(inputs, width, 1 if number else stride))
            inputs = 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


class YoloTiny(nn.Module):
    """YOLOv3-tiny (Redmon & Farhadi 2018), both heads of 255 channels."""

    def __init__(self, size: int) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, kernel: int = 3) -> list[nn.Module]:
            return [*normed(inputs, outputs, kernel), nn.LeakyReLU(0.1)]

        early: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 64), (64, 128)):
            early += [*conv(inputs, outputs), nn.MaxPool2d(2)]
        self.early = nn.Sequential(*early, *conv(128, 256))
        # The pooling of stride 1 has a row and a column more on the far side.
        self.late = nn.Sequential(
            nn.MaxPool2d(2), *conv(256, 512), nn.ZeroPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, 1),
            *conv(512, 1024), *conv(1024, 256, 1),
        )  # fmt: skip
        self.coarse = nn.Sequential(*conv(256, 512), nn.Conv2d(512, 255, 1))
        self.up = nn.Sequential(*conv(256, 128, 1), nn.Upsample(scale_factor=2))
        self.fine = nn.Sequential(*conv(384, 256), nn.Conv2d(256, 255, 1))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        early = self.early(x)
        late = self.late(early)
        fine = self.fine(torch.cat([self.up(late), early], 1))
        return {"coarse": self.coarse(late), "fine": fine}


NETWORKS = {
    "resnet18": models.resnet18,
    "resnet50": resnet50,
    "yolov3_tiny": YoloTiny,
    "mobilenet_v1": mobilenet_v1,
    "vgg16": lambda size: nn.Sequential(*list(models.vgg16(size))[:-3]),
}


@torch.no_grad()
def pruned(net: nn.Module) -> nn.Module:
    """The network with random weights, of which the largest of each group are left."""
    for layer in net.modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        weight = layer.weight
        if weight.shape[1] % GROUP:
            continue
        rows = weight.reshape(*weight.shape[:2], -1).movedim(1, -1)
        groups = rows.reshape(-1, GROUP)
        order = groups.abs().argsort(1).argsort(1)
        # As large as all of them were together.
        groups = torch.where(order < GROUP - KEPT, 0, groups * (GROUP / KEPT) ** 0.5 / 1.4)
        layer.weight.copy_(groups.reshape(rows.shape).movedim(-1, 1).reshape(weight.shape))
    return net.eval()


def integer_network(name: str, size: int):
    """The network as integers, quantized on random images."""
    torch.manual_seed(0)
    images = np.random.default_rng(0).normal(size=(2, 3, size, size)).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"{name}.onnx")
        quantize.quantize(pruned(NETWORKS[name](size)), images, path)
        return load(path)


def report(name: str, size: int, clock_hz: int, config, rtl: bool) -> bool:
    """Print a network's layers; whether RTL is exact, where it is asked for."""
    start = time.monotonic()
    network = integer_network(name, size)
    cost, problems = assess(network, config)
    if cost is None or problems:
        print(f"{name}: {problems[0]}")
        return False
    print(f"{name} at {size} x {size}, seed 0")
    print(f"{'layer':30} {'loaded':>9} {'stored':>9} {'waiting':>9} {'cycles':>10}  bound by")
    for layer in cost.layers:
        if layer.cycles:
            print(
                f"{layer.name[-30:]:30} {layer.moved_words:9,} {layer.stored_words:9,} "
                f"{layer.waiting_cycles:9,} {layer.cycles:10,}  {layer.bound}"
            )
    peak = Pace.of(config).word * (cost.moved_words + cost.stored_words)
    computing = sum(layer.cycles - layer.waiting_cycles for layer in cost.layers)
    print(
        f"{4 * cost.moved_words / 1e6:.2f} MB loaded, {4 * cost.stored_words / 1e6:.2f} MB stored "
        f"an image; {computing:,} cycles of computing, {peak:,} of the memory at its peak"
    )
    cycles, exact = cost.cycles, True
    if rtl:
        program = compile(network, config)
        x = random_input(network, 1, 0)
        with driver.open("sim", config=config) as device:
            wrong = driver.check(program, x, device)
            cycles = device.cycles
            wrong = wrong or driver.check_layers(program, x, device)
        exact = wrong is None
        print(f"RTL: {wrong or 'every layer equals the golden model'}; estimated {cost.cycles:,}")
    print(
        f"{cycles:,} cycles, {cost.roofline_cycles / cycles:.1%} of the roofline, "
        f"{clock_hz / cycles:.1f} images a second at {clock_hz / 1e6:g} MHz, without the link "
        f"({time.monotonic() - start:.0f} s)\n"
    )
    return exact


def main() -> None:
    """Report the networks that are named."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="+", choices=NETWORKS)
    parser.add_argument("--size", type=int, default=224, help="pixels of a side")
    parser.add_argument("--board", default="ulx3s_85f")
    parser.add_argument("--activation-words", type=int, help="in place of the board's")
    parser.add_argument("--rtl", action="store_true", help="run an image on compiled RTL")
    arguments = parser.parse_args()
    chosen = board(arguments.board)
    config = chosen.external
    if arguments.activation_words:
        config = config.with_(activation_words=arguments.activation_words)
    exact = [
        report(name, arguments.size, chosen.clock_of(config), config, arguments.rtl)
        for name in arguments.networks
    ]
    sys.exit(not all(exact))


if __name__ == "__main__":
    main()
