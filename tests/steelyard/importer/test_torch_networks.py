"""Networks from torch, quantized and imported, against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from qdq_graphs import assert_agrees, images
from steelyard import importer, quantize
from steelyard.importer.obstacles import obstacles
from steelyard.network import (
    Add,
    AvgPool,
    Concat,
    Conv,
    Interleave,
    MaxPool,
    Pad,
    Repeat,
    Shuffle,
    Slice,
)


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 24, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, padding=1),
        )
        self.head = nn.Sequential(nn.Linear(24 * 4 * 3, 20), nn.ReLU(), nn.Linear(20, 10))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.body(x)
        return self.head(y.view(y.size(0), -1))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.a = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU())
        self.b = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16))
        self.c = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.short = nn.Conv2d(16, 32, 1, stride=2)
        self.fc = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = F.relu(x + self.b(self.a(x)))
        x = self.c(x) + self.short(x)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))


class Mobile(nn.Module):
    """ReLU6, stride 2 behind an asymmetric pad, average pooling and a mean over the map."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 16, 3, stride=2)
        self.b = nn.Conv2d(16, 16, 3, padding=1)
        self.fc = nn.Linear(16, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu6(self.a(F.pad(x, (0, 1, 0, 1))))
        x = F.avg_pool2d(F.relu6(self.b(x)), 3, 2, padding=1)
        return self.fc(x.mean((2, 3)))


class Separable(nn.Module):
    """Depthwise and grouped convolutions with batch norms between."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1, groups=3),
            nn.ReLU6(),
            nn.Conv2d(12, 12, 3, stride=2, padding=1, groups=12, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU6(),
            nn.Conv2d(12, 16, 1),
            nn.Conv2d(16, 8, 3, groups=4),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


class Dense(nn.Module):
    """Branches that are joined, directly and behind each other."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.a = nn.Conv2d(8, 6, 3, padding=1)
        self.b = nn.Conv2d(14, 6, 1)
        self.fc = nn.Linear(20, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        x = torch.cat([x, F.relu(self.a(x))], 1)
        x = torch.cat([x, self.b(x)], 1)
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(F.relu(x), 1), 1))


class Parts(nn.Module):
    """Channels and rows that part and meet again."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 9, 3, padding=1)
        self.a = nn.Conv2d(3, 4, 3)
        self.b = nn.Conv2d(4, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b, c = torch.split(F.relu(self.stem(x)), [3, 4, 2], 1)
        return torch.cat([self.b(b), c[:, :, 1:-1, 2:], self.a(a)[:, 1:3]], 1)


class Enlarged(nn.Module):
    """Both upsamplings of pixels, and a channel shuffle between grouped convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 3, padding=1)
        self.a = nn.Conv2d(12, 12, 3, groups=3)
        self.pixels = nn.PixelShuffle(2)
        self.b = nn.Conv2d(3, 4, 3)
        self.up = nn.Upsample(scale_factor=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.stem(x))
        groups = x.view(-1, 3, 4, *x.shape[2:])
        x = self.a(groups.transpose(1, 2).reshape(x.shape))
        return self.up(F.relu(self.b(self.pixels(x))))


class Hourglass(nn.Module):
    """Down, and up again by transposed convolutions with a batch norm between."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.last = nn.ConvTranspose2d(6, 4, 3, stride=3, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(F.relu(self.norm(self.up(F.relu(self.down(x))))))


class Perceptron(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Linear(40, 24), nn.ReLU(), nn.Linear(24, 5))


PARTS = [Conv, *[Slice] * 3, Pad, Conv, Conv, Slice, Pad, *[AvgPool] * 3, Concat]
ENLARGED = [Conv, Shuffle, Conv, Interleave, Interleave, Conv, Repeat, Repeat]
HOURGLASS = [Conv, Conv, Interleave, Interleave, Pad, Conv, Interleave, Interleave]
TRAINED_LIKE: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], float, list[type]]] = {
    "plain": (Plain, (3, 16, 12), 1, [Conv, MaxPool, Conv, MaxPool, Conv, Conv]),
    "residual": (Residual, (3, 12, 12), 1, [Conv, Conv, Conv, Add, Conv, Conv, Add, AvgPool, Conv]),
    "relu6": (Mobile, (3, 16, 16), 9, [Conv, Conv, AvgPool, AvgPool, Conv]),
    "separable": (Separable, (3, 16, 12), 3, [Conv, Conv, Conv, Conv]),
    "dense": (Dense, (3, 10, 8), 2, [Conv, *[Conv, AvgPool, Concat] * 2, AvgPool, Conv]),
    "parts": (Parts, (3, 10, 8), 2, PARTS),
    "enlarged": (Enlarged, (3, 10, 8), 2, ENLARGED),
    "hourglass": (Hourglass, (3, 10, 8), 2, HOURGLASS),
    "perceptron": (Perceptron, (40,), 1, [Conv, Conv]),
}


@pytest.mark.parametrize("case", TRAINED_LIKE)
def test_network_from_torch_agrees_with_onnxruntime(case: str) -> None:
    build, shape, spread, kinds = TRAINED_LIKE[case]
    torch.manual_seed(7)
    model = build()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    content = quantize.quantize(model, np.float32(spread) * images(shape, 64, seed=1))
    network = importer.load(content)
    assert [type(layer) for layer in network.layers] == kinds
    assert network.input == "input"
    assert network.output == "output"
    x = np.float32(spread) * images(shape, 96, seed=2)
    assert_agrees(onnx.load_model_from_string(content), network, x)


def test_flattened_map_gives_a_weight_over_the_whole_map() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(4 * 3 * 5, 6))
    network = importer.load(quantize.quantize(model, images((2, 5, 7), 8, seed=0)))
    last = network.layers[-1]
    assert isinstance(last, Conv)
    assert last.fully_connected
    assert last.weight.shape == (6, 4, 3, 5)
    assert last.k is None
    assert network.tensor(last.inputs[0]).shape == (4, 3, 5)


def test_sum_of_three_in_a_float_network_becomes_additions(tmp_path: Any) -> None:
    text = (
        '<ir_version: 8, opset_import: ["" : 17]> sums (float[n,3,6,6] x) => (float[n,3,6,6] y)'
        " { a = Relu(x) b = MaxPool<kernel_shape=[3,3], pads=[1,1,1,1]>(x) y = Sum(a, x, b) }"
    )
    model = onnx.parser.parse_model(text)
    assert obstacles(model) == []
    onnx.save(model, tmp_path / "sums.onnx")
    content = quantize.quantize(tmp_path / "sums.onnx", images((3, 6, 6), 16, seed=1))
    network = importer.load(content)
    assert [type(layer) for layer in network.layers][-2:] == [Add, Add]
    assert_agrees(onnx.load_model_from_string(content), network, images((3, 6, 6), 60, seed=2))
