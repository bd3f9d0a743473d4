"""The structures."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .blocks import (
    Dense,
    Fire,
    Joined,
    Shuffled,
    basic,
    bottleneck,
    conv,
    head,
    inverted,
    separable,
)


@dataclass(frozen=True)
class Structure:
    """A known network's structure.

    Members
    -------
    make : network with random weights
    shape : of an image
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, int, int]

    def model(self) -> nn.Module:
        """Network in inference mode, its batch normalizations with statistics of random images."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            model = self.make()
            with torch.no_grad():
                model.train()(torch.from_numpy(self.images(16)))
        return model.eval()

    def images(self, count: int) -> NDArray[np.float32]:
        """Random images, float32 (count, *shape)."""
        return np.random.default_rng(4).normal(size=(count, *self.shape)).astype(np.float32)


def lenet5() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
        nn.Linear(84, 10),
    )  # fmt: skip


def resnet8() -> nn.Module:
    return nn.Sequential(conv(3, 16), basic(16, 16), basic(16, 32, 2), basic(32, 64, 2), head(64))


def resnet18() -> nn.Module:
    widths = ((8, 8, 1), (8, 8, 1), (8, 16, 2), (16, 16, 1), (16, 24, 2), (24, 24, 1), (24, 32, 2))
    return nn.Sequential(
        conv(3, 8, 7, 2), nn.MaxPool2d(3, 2, 1), *(basic(*w) for w in widths), basic(32, 32),
        head(32),
    )  # fmt: skip


def resnet50() -> nn.Module:
    stages = [(8, 4, 16, 1), (16, 4, 16, 1), (16, 8, 32, 2), (32, 8, 32, 1), (32, 16, 64, 2)]
    return nn.Sequential(
        conv(3, 8, 7, 2), nn.MaxPool2d(3, 2, 1), *(bottleneck(*s) for s in stages), head(64)
    )


def vgg16() -> nn.Module:
    layers: list[nn.Module] = []
    inputs = 3
    for width, count in ((8, 2), (12, 2), (16, 3), (24, 3), (24, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()]
            inputs = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 10))


def mobilenet_v1() -> nn.Module:
    widths = ((8, 16, 1), (16, 24, 2), (24, 24, 1), (24, 32, 2), (32, 48, 2))
    return nn.Sequential(conv(3, 8, 3, 2), *(separable(*w) for w in widths), head(48))


def mobilenet_v2() -> nn.Module:
    blocks = ((8, 8, 1, 1), (8, 12, 2, 4), (12, 12, 1, 4), (12, 16, 2, 4), (16, 16, 1, 4))
    return nn.Sequential(
        conv(3, 8, 3, 2, act=nn.ReLU6), *(inverted(*b) for b in blocks),
        conv(16, 40, 1, act=nn.ReLU6),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(40, 10),
    )  # fmt: skip


def mobilenet_v3() -> nn.Module:
    return nn.Sequential(
        conv(3, 8, 3, 2, act=nn.Hardswish),
        inverted(8, 8, 2, 1, act=nn.ReLU, excite=True),
        inverted(8, 12, 2, 4, act=nn.ReLU),
        inverted(12, 16, 1, 4, act=nn.Hardswish, excite=True, kernel=5),
        conv(16, 40, 1, act=nn.Hardswish),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(40, 32), nn.Hardswish(),
        nn.Linear(32, 10),
    )  # fmt: skip


def squeezenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2),
        Fire(12, 4, 8), Fire(16, 4, 8), nn.MaxPool2d(3, 2), Fire(16, 6, 12),
        nn.Conv2d(24, 10, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip


def shufflenet_v2() -> nn.Module:
    return nn.Sequential(
        conv(3, 8, 3, 2), Shuffled(8, 2), Shuffled(16, 1), Shuffled(16, 1), Shuffled(16, 2),
        Shuffled(32, 1), conv(32, 40, 1), head(40),
    )  # fmt: skip


def efficientnet_lite() -> nn.Module:
    return nn.Sequential(
        conv(3, 8, 3, 2, act=nn.ReLU6), inverted(8, 8, 1, 1), inverted(8, 12, 2, 6),
        inverted(12, 12, 1, 6), inverted(12, 16, 2, 6, kernel=5), conv(16, 40, 1, act=nn.ReLU6),
        head(40),
    )  # fmt: skip


def densenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), Dense(8, 4, 3), nn.BatchNorm2d(20), nn.ReLU(),
        nn.Conv2d(20, 10, 1), nn.AvgPool2d(2), Dense(10, 4, 3), nn.BatchNorm2d(22), nn.ReLU(),
        head(22),
    )  # fmt: skip


def inception() -> nn.Module:
    def block(inputs: int) -> nn.Module:
        return Joined(
            conv(inputs, 8, 1),
            nn.Sequential(conv(inputs, 6, 1), conv(6, 8)),
            nn.Sequential(conv(inputs, 4, 1), conv(4, 6, (1, 7)), conv(6, 6, (7, 1))),
            nn.Sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False), conv(inputs, 4, 1)),
        )

    return nn.Sequential(conv(3, 12, 3, 2), block(12), nn.MaxPool2d(2), block(26), head(26))


class UNet(nn.Module):
    """Encoder and decoder with a skip at each size."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.first, self.second, self.third = conv(1, 8), conv(8, 12), conv(12, 16)
        self.pool = nn.MaxPool2d(2)
        self.up2 = self._up(16, how)
        self.up1 = self._up(12, how)
        self.back2, self.back1 = conv(28, 12), conv(20, 8)
        self.scores = nn.Conv2d(8, 3, 1)

    @staticmethod
    def _up(channels: int, how: str) -> nn.Module:
        if how == "transposed":
            return nn.ConvTranspose2d(channels, channels, 2, 2)
        return nn.Upsample(scale_factor=2, mode=how)

    def forward(self, x: Tensor) -> Tensor:
        a = self.first(x)
        b = self.second(self.pool(a))
        c = self.third(self.pool(b))
        b = self.back2(torch.cat([self.up2(c), b], 1))
        return self.scores(self.back1(torch.cat([self.up1(b), a], 1)))


class Yolo(nn.Module):
    """Detector of two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv(3, 8, 3, 2, act=nn.SiLU), conv(8, 16, 3, 2, act=nn.SiLU))
        self.deep = nn.Sequential(
            conv(16, 24, 3, 2, act=nn.LeakyReLU), conv(24, 24, act=nn.LeakyReLU)
        )
        self.up = nn.Sequential(conv(24, 12, 1, act=nn.SiLU), nn.Upsample(scale_factor=2))
        self.coarse, self.fine = nn.Conv2d(24, 18, 1), nn.Conv2d(28, 18, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a = self.stem(x)
        b = self.deep(a)
        return self.coarse(b), self.fine(torch.cat([self.up(b), a], 1))


def super_resolution() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=2), nn.LeakyReLU(0.1), nn.Conv2d(16, 12, 3, padding=1),
        nn.LeakyReLU(0.1), nn.ConvTranspose2d(12, 1, 4, 2, 1),
    )  # fmt: skip


def ds_cnn() -> nn.Module:
    return nn.Sequential(
        nn.ZeroPad2d((1, 1, 4, 5)), nn.Conv2d(1, 16, (10, 4), 2), nn.ReLU(),
        *(separable(16, 16) for _ in range(3)), head(16, 12),
    )  # fmt: skip


STRUCTURES = {
    "lenet5": Structure(lenet5, (1, 24, 24)),
    "resnet8": Structure(resnet8, (3, 16, 16)),
    "resnet18": Structure(resnet18, (3, 32, 32)),
    "resnet50": Structure(resnet50, (3, 32, 32)),
    "vgg16": Structure(vgg16, (3, 32, 32)),
    "mobilenet_v1": Structure(mobilenet_v1, (3, 32, 32)),
    "mobilenet_v2": Structure(mobilenet_v2, (3, 32, 32)),
    "mobilenet_v3": Structure(mobilenet_v3, (3, 32, 32)),
    "squeezenet": Structure(squeezenet, (3, 32, 32)),
    "shufflenet_v2": Structure(shufflenet_v2, (3, 32, 32)),
    "efficientnet_lite": Structure(efficientnet_lite, (3, 32, 32)),
    "densenet": Structure(densenet, (3, 16, 16)),
    "inception": Structure(inception, (3, 20, 20)),
    "unet_nearest": Structure(lambda: UNet("nearest"), (1, 16, 16)),
    "unet_bilinear": Structure(lambda: UNet("bilinear"), (1, 16, 16)),
    "unet_transposed": Structure(lambda: UNet("transposed"), (1, 16, 16)),
    "yolo": Structure(Yolo, (3, 32, 32)),
    "super_resolution": Structure(super_resolution, (1, 12, 12)),
    "ds_cnn": Structure(ds_cnn, (1, 25, 10)),
}
"""By name; widths and maps are small, so that all of them run on RTL in tests."""
