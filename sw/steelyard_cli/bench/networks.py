"""Integer networks of the benchmark: published shapes with seeded random balanced weights."""

import numpy as np
from numpy.typing import NDArray

from steelyard.contract.limits import MULTIPLIER_BITS
from steelyard.network import Network, NetworkBuilder

__all__ = [
    "GROUP",
    "balanced_weight",
    "codes",
    "reference",
    "resnet8",
    "resnet18",
    "single",
    "vgg16",
]

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
"""Leaves the multipliers of most layers here between 2**19 and 2**24."""


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


class _Builder(NetworkBuilder):
    """Network under construction; `k` holds for all convolutions but dense ones."""

    def __init__(self, name: str, shape: tuple[int, int, int], k: int | None) -> None:
        super().__init__(name, shape, zero_point=ZERO_POINT)
        self._k = k
        self._rng = np.random.default_rng(0)

    def random_conv(
        self,
        name: str,
        source: str,
        channels: int,
        kernel: int,
        stride: int = 1,
        dense: bool = False,
    ) -> str:
        k = None if dense else self._k
        inputs = self.tensors[source].shape[0]
        weight = balanced_weight(self._rng, (channels, inputs, kernel, kernel), k)
        kept = np.count_nonzero(weight[0])
        scale = SPREAD / (WEIGHT_RMS * ACTIVATION_RMS * np.sqrt(kept))
        # Layers of very few weights want larger ones than a multiplier can be.
        shift = SHIFT - (scale * 2.0**SHIFT >= 1 << MULTIPLIER_BITS)
        return self.conv(
            weight,
            source,
            name=name,
            output=f"{name}.out",
            multiplier=round(scale * 2.0**shift),
            shift=shift,
            stride=stride,
            padding=kernel // 2,
            k=k,
        )

    def half(self, name: str, source: str, kernel: int, padding: int = 0) -> str:
        """Max pooling at stride 2."""
        return self.max_pool(
            kernel, source, name=name, output=f"{name}.out", stride=2, padding=padding
        )

    def join(self, name: str, a: str, b: str) -> str:
        """Three quarters of a sum."""
        return self.add(a, b, name=name, output=f"{name}.out", multipliers=(3 << 20,) * 2, shift=22)


def reference(k: int | None) -> Network:
    """The reference layer: 16 channels of 16x16 to 32, 3x3, same padding; 1,179,648 MAC."""
    builder = _Builder("reference", (16, 16, 16), k)
    builder.random_conv("conv", "input", 32, 3)
    return builder.network()


def vgg16(size: int, k: int | None) -> Network:
    """The 13 convolutions and 5 pools of VGG16 for 3 x size x size, the first layer dense."""
    builder = _Builder(f"vgg16 {size}", (3, size, size), k)
    last = "input"
    for stage, (repeat, width) in enumerate(
        ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1
    ):
        for number in range(1, repeat + 1):
            first = last == "input"
            last = builder.random_conv(f"conv{stage}_{number}", last, width, 3, dense=first)
        last = builder.half(f"pool{stage}", last, 2)
    return builder.network()


def resnet18(k: int | None) -> Network:
    """The convolutions, adds and first pool of ResNet-18 for 3x224x224, the first layer dense."""
    builder = _Builder("resnet18 224", (3, 224, 224), k)
    last = builder.random_conv("conv1", "input", 64, 7, stride=2, dense=True)
    last = builder.half("pool1", last, 3, padding=1)
    for stage, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            stride = 2 if stage > 1 and block == 0 else 1
            y = builder.random_conv(f"{name}.conv1", last, width, 3, stride=stride)
            y = builder.random_conv(f"{name}.conv2", y, width, 3)
            if stride == 2:
                last = builder.random_conv(f"{name}.shortcut", last, width, 1, stride=2)
            last = builder.join(f"{name}.add", y, last)
    return builder.network()


def resnet8(k: int | None) -> Network:
    """The image classifier of MLPerf Tiny, 3x32x32 to 10 classes, the first layer dense."""
    builder = _Builder("resnet8", (3, 32, 32), k)
    last = builder.random_conv("conv1", "input", 16, 3, dense=True)
    for stage, width in enumerate((16, 32, 64), start=1):
        name, stride = f"stage{stage}", 2 if stage > 1 else 1
        y = builder.random_conv(f"{name}.conv1", last, width, 3, stride=stride)
        y = builder.random_conv(f"{name}.conv2", y, width, 3)
        if stride == 2:
            last = builder.random_conv(f"{name}.shortcut", last, width, 1, stride=2)
        last = builder.join(f"{name}.add", y, last)
    # A sum of 64 pixels times 2**20 / 2**26 is their mean.
    last = builder.avg_pool(8, last, name="mean", output="mean.out", multiplier=1 << 20, shift=26)
    builder.random_conv("classes", last, 10, 1)
    return builder.network()


def single(network: Network, name: str) -> Network:
    """Network of one layer of another."""
    layer = next(each for each in network.layers if each.name == name)
    tensors = {each: network.tensors[each] for each in (*layer.inputs, layer.output)}
    return Network(f"{network.name} {name}", layer.inputs[0], (layer.output,), tensors, (layer,))
