"""Integer networks of the benchmark: published shapes with seeded random balanced weights."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from steelyard.network import Add, Conv, Layer, MaxPool, Network, Tensor, output_size

__all__ = ["GROUP", "balanced_weight", "codes", "reference", "resnet18", "single", "vgg16"]

GROUP = 16
ZERO_POINT = -128
"""Of every tensor behind a ReLU."""
SPREAD = 60.0
"""Standard deviation of sums in output codes, before the ReLU."""
ACTIVATION_RMS = 42.0
"""Of an input above its zero point, when the spread of the layer before is SPREAD."""
WEIGHT_RMS = 73.3
"""Of weights spread evenly over -127 to 127 without 0."""
SHIFT = 31
"""Leaves the multipliers of all layers here between 2**19 and 2**24."""


def balanced_weight(
    rng: np.random.Generator, shape: tuple[int, int, int, int], k: int | None
) -> NDArray[np.int8]:
    """Random int8 weights (out_channels, in_channels, kernel_h, kernel_w).

    Exactly `k` of every group of 16 along (ky, kx, ic) are not zero, in a shorter last group at
    most `k`; None keeps all.
    """
    channels, inputs, kernel_h, kernel_w = shape
    positions = inputs * kernel_h * kernel_w
    groups = -(-positions // GROUP)
    values = rng.integers(1, 128, (channels, groups, GROUP), np.int8)
    values *= rng.integers(0, 2, values.shape, np.int8) * np.int8(2) - np.int8(1)
    if k is not None:
        order = rng.random(values.shape, np.float32)
        # Positions past the end rank last, so that a short group keeps k of those it has.
        order.reshape(channels, -1)[:, positions:] = 2.0
        values[order.argsort(axis=2).argsort(axis=2) >= k] = 0
    flat = values.reshape(channels, -1)[:, :positions]
    weight = flat.reshape(channels, kernel_h, kernel_w, inputs).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(weight)


def codes(network: Network, images: int, seed: int) -> NDArray[np.int8]:
    """Random input codes int8 (images, channels, height, width)."""
    rng = np.random.default_rng(seed)
    return rng.integers(-128, 128, (images, *network.tensor(network.input).shape), np.int8)


@dataclass
class _Builder:
    """Network under construction; `k` holds for all convolutions but the first."""

    name: str
    shape: tuple[int, int, int]
    k: int | None
    seed: int = 0
    tensors: dict[str, Tensor] = field(default_factory=dict)
    layers: list[Layer] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.tensors["input"] = Tensor("input", self.shape, 1.0, ZERO_POINT)

    @property
    def network(self) -> Network:
        return Network(self.name, "input", self.layers[-1].output, self.tensors, tuple(self.layers))

    def _output(self, name: str, shape: tuple[int, int, int]) -> str:
        self.tensors[name] = Tensor(name, shape, 1.0, ZERO_POINT)
        return name

    def conv(
        self,
        name: str,
        source: str,
        channels: int,
        kernel: int,
        stride: int = 1,
        dense: bool = False,
    ) -> str:
        inputs, *size = self.tensors[source].shape
        pad = (kernel // 2,) * 4
        rows, columns = output_size((size[0], size[1]), (kernel, kernel), stride, pad)
        k = None if dense else self.k
        weight = balanced_weight(self.rng, (channels, inputs, kernel, kernel), k)
        kept = np.count_nonzero(weight[0])
        scale = SPREAD / (WEIGHT_RMS * ACTIVATION_RMS * np.sqrt(kept))
        self.layers.append(
            Conv(
                name=name,
                inputs=(source,),
                output=self._output(f"{name}.out", (channels, rows, columns)),
                weight=weight,
                bias=np.zeros(channels, np.int32),
                multiplier=np.full(channels, round(scale * 2.0**SHIFT), np.int32),
                shift=np.full(channels, SHIFT, np.int32),
                stride=stride,
                padding=pad,
                k=k,
            )
        )
        return f"{name}.out"

    def pool(self, name: str, source: str, kernel: int, padding: int = 0) -> str:
        channels, *size = self.tensors[source].shape
        pad = (padding,) * 4
        rows, columns = output_size((size[0], size[1]), (kernel, kernel), 2, pad)
        self.layers.append(
            MaxPool(
                name=name,
                inputs=(source,),
                output=self._output(f"{name}.out", (channels, rows, columns)),
                kernel=(kernel, kernel),
                stride=2,
                padding=pad,
            )
        )
        return f"{name}.out"

    def add(self, name: str, a: str, b: str) -> str:
        self.layers.append(
            Add(
                name=name,
                inputs=(a, b),
                output=self._output(f"{name}.out", self.tensors[a].shape),
                multiplier_a=3 << 20,
                multiplier_b=3 << 20,
                shift=22,
            )
        )
        return f"{name}.out"


def reference(k: int | None) -> Network:
    """The reference layer: 16 channels of 16x16 to 32, 3x3, same padding; 1,179,648 MAC."""
    builder = _Builder("reference", (16, 16, 16), k)
    builder.conv("conv", "input", 32, 3)
    return builder.network


def vgg16(size: int, k: int | None) -> Network:
    """The 13 convolutions and 5 pools of VGG16 for 3 x size x size, the first layer dense."""
    builder = _Builder(f"vgg16 {size}", (3, size, size), k)
    last = "input"
    for stage, (repeat, width) in enumerate(
        ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1
    ):
        for number in range(1, repeat + 1):
            first = last == "input"
            last = builder.conv(f"conv{stage}_{number}", last, width, 3, dense=first)
        last = builder.pool(f"pool{stage}", last, 2)
    return builder.network


def resnet18(k: int | None) -> Network:
    """The convolutions, adds and first pool of ResNet-18 for 3x224x224, the first layer dense."""
    builder = _Builder("resnet18 224", (3, 224, 224), k)
    last = builder.conv("conv1", "input", 64, 7, stride=2, dense=True)
    last = builder.pool("pool1", last, 3, padding=1)
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = builder.conv(f"{name}.conv1", last, width, 3, stride=stride)
            y = builder.conv(f"{name}.conv2", y, width, 3)
            if stride == 2:
                last = builder.conv(f"{name}.shortcut", last, width, 1, stride=2)
            last = builder.add(f"{name}.add", y, last)
    return builder.network


def single(network: Network, name: str) -> Network:
    """Network of one layer of another."""
    layer = next(each for each in network.layers if each.name == name)
    tensors = {each: network.tensors[each] for each in (*layer.inputs, layer.output)}
    return Network(f"{network.name} {name}", layer.inputs[0], layer.output, tensors, (layer,))
