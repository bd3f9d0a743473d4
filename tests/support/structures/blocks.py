"""Blocks that the structures are made of."""

import torch
from torch import Tensor, nn


def conv(
    inputs: int, outputs: int, kernel: int | tuple[int, int] = 3, stride: int = 1, *,
    groups: int = 1, act: type[nn.Module] | None = nn.ReLU,
) -> nn.Sequential:  # fmt: skip
    """Padded convolution, batch normalization and activation."""
    sides = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = (sides[0] // 2, sides[1] // 2)
    layers: list[nn.Module] = [
        nn.Conv2d(inputs, outputs, sides, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
    ]
    return nn.Sequential(*layers, *([act()] if act else []))


class Residual(nn.Module):
    """Input or a projection of it plus a path."""

    def __init__(self, path: nn.Module, skip: nn.Module | None = None, relu: bool = True) -> None:
        super().__init__()
        self.path, self.skip, self.relu = path, skip or nn.Identity(), relu

    def forward(self, x: Tensor) -> Tensor:
        total = self.path(x) + self.skip(x)
        return torch.relu(total) if self.relu else total


def basic(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    """Two convolutions around a skip."""
    path = nn.Sequential(conv(inputs, outputs, 3, stride), conv(outputs, outputs, act=None))
    same = inputs == outputs and stride == 1
    return Residual(path, None if same else conv(inputs, outputs, 1, stride, act=None))


def bottleneck(inputs: int, middle: int, outputs: int, stride: int = 1) -> nn.Module:
    """Pointwise, 3x3 and pointwise convolution around a skip."""
    path = nn.Sequential(
        conv(inputs, middle, 1), conv(middle, middle, 3, stride), conv(middle, outputs, 1, act=None)
    )
    same = inputs == outputs and stride == 1
    return Residual(path, None if same else conv(inputs, outputs, 1, stride, act=None))


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Module:
    """Depthwise and pointwise convolution."""
    return nn.Sequential(conv(inputs, inputs, 3, stride, groups=inputs), conv(inputs, outputs, 1))


def inverted(
    inputs: int, outputs: int, stride: int, expand: int, *,
    act: type[nn.Module] = nn.ReLU6, excite: bool = False, kernel: int = 3,
) -> nn.Module:  # fmt: skip
    """Inverted residual, with or without squeeze-and-excite."""
    hidden = inputs * expand
    layers = [conv(inputs, hidden, 1, act=act)] if expand > 1 else []
    layers.append(conv(hidden, hidden, kernel, stride, groups=hidden, act=act))
    if excite:
        layers.append(Excite(hidden))  # type: ignore[arg-type]
    layers.append(conv(hidden, outputs, 1, act=None))
    path = nn.Sequential(*layers)
    return Residual(path, relu=False) if inputs == outputs and stride == 1 else path


class Excite(nn.Module):
    """Squeeze-and-excite: channels scaled by what their means say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, max(channels // 4, 4), 1),
            nn.ReLU(),
            nn.Conv2d(max(channels // 4, 4), channels, 1),
            nn.Hardsigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale(x)


class Joined(nn.Module):
    """Paths side by side, their channels in turn."""

    def __init__(self, *paths: nn.Module) -> None:
        super().__init__()
        self.paths = nn.ModuleList(paths)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([path(x) for path in self.paths], 1)


class Fire(nn.Module):
    """Squeeze, then expand two ways."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Conv2d(inputs, squeeze, 1), nn.ReLU())
        self.expand = Joined(
            nn.Sequential(nn.Conv2d(squeeze, expand, 1), nn.ReLU()),
            nn.Sequential(nn.Conv2d(squeeze, expand, 3, padding=1), nn.ReLU()),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.expand(self.squeeze(x))


class Shuffled(nn.Module):
    """ShuffleNetV2's unit: half of the channels pass, then all are shuffled."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride, half = stride, channels // 2 if stride == 1 else channels
        self.branch = nn.Sequential(
            conv(half, half, 1), conv(half, half, 3, stride, groups=half, act=None),
            conv(half, half, 1),
        )  # fmt: skip
        self.other = (
            nn.Sequential(conv(half, half, 3, stride, groups=half, act=None), conv(half, half, 1))
            if stride > 1
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        a, b = x.chunk(2, 1) if self.stride == 1 else (x, x)
        y = torch.cat([self.other(a), self.branch(b)], 1)
        n, c, h, w = y.shape
        return y.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)


class Dense(nn.Module):
    """Layers that each read all before them."""

    def __init__(self, inputs: int, growth: int, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(n), nn.ReLU(), nn.Conv2d(n, growth, 3, padding=1))
            for n in range(inputs, inputs + count * growth, growth)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


def head(inputs: int, outputs: int = 10) -> nn.Module:
    """Mean of the map and a fully connected layer."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, outputs))


class PooledResidual(nn.Module):
    """Pooling, a residual and a fully connected layer, of 3x12x12 images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.body = nn.Conv2d(8, 8, 3, padding=1)
        self.mean = nn.AvgPool2d(3, 3)
        self.head = nn.Linear(8 * 4, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(torch.relu(self.stem(x)))
        x = self.mean(torch.relu(x + self.body(x)))
        return self.head(x.flatten(1))
