"""Network shapes of the zoo, as plain torch modules that any exporter understands."""

from __future__ import annotations

import torch
from torch import nn


def _conv(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions around an identity or projected shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = _conv(outputs, outputs)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.relu2 = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                _conv(inputs, outputs, stride, kernel=1), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.relu1(self.bn1(self.conv1(x)))
        return self.relu2(self.bn2(self.conv2(y)) + self.shortcut(x))


def _conv_bn_relu(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    return [_conv(inputs, outputs, stride), nn.BatchNorm2d(outputs), nn.ReLU()]


def fashion() -> nn.Module:
    """The demo network for 1x28x28 inputs and 10 classes: 116 k weights, 9.1 MMAC.

    All widths behind the first layer are multiples of 16, and three quarters of the work lies
    in layers of equal inputs and outputs, so that a sparse array is filled by every layer but
    the first.
    """
    return nn.Sequential(
        *_conv_bn_relu(1, 16),
        nn.MaxPool2d(2),
        *_conv_bn_relu(16, 32),
        ResidualBlock(32, 32),
        *_conv_bn_relu(32, 64, stride=2),
        ResidualBlock(64, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def vgg_small() -> nn.Module:
    """A VGG-class network for 1x28x28 inputs and 10 classes: 1.17 M weights, 116 MMAC."""
    layers: list[nn.Module] = []
    channels = 1
    for width in (64, 128, 256):
        for _ in range(2):
            layers += _conv_bn_relu(channels, width)
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * 3 * 3, 10))


def vgg16(size: int = 224, classes: int = 1000) -> nn.Module:
    """VGG16 with batch normalization for 3 x size x size inputs.

    The convolutions are those of the published network; a global average and one fully
    connected layer replace its three fully connected layers, as is usual for small inputs.
    """
    layers: list[nn.Module] = []
    channels = 3
    for repeat, width in ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)):
        for _ in range(repeat):
            layers += _conv_bn_relu(channels, width)
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    )


def resnet18(size: int = 224, classes: int = 1000) -> nn.Module:
    """ResNet-18 for 3 x size x size inputs; below 64 pixels the stem is a 3x3 convolution."""
    if size >= 64:
        stem: list[nn.Module] = [
            _conv(3, 64, 2, kernel=7),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, 2, padding=1),
        ]
    else:
        stem = _conv_bn_relu(3, 64)
    blocks: list[nn.Module] = []
    channels = 64
    for stage, width in enumerate((64, 128, 256, 512)):
        blocks.append(ResidualBlock(channels, width, stride=1 if stage == 0 else 2))
        blocks.append(ResidualBlock(width, width))
        channels = width
    return nn.Sequential(
        *stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes)
    )
