"""Constrained-random integer networks: examples that exercise every corner of the number contract.

Everything follows from the seed. While a network grows, a few random images are carried through it
by the golden model, and each layer's multiplier is chosen from the sums that really occur, so that
outputs spread over int8 instead of sticking at a clamp.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from . import golden
from .builder import NetworkBuilder
from .fields import pair
from .graph import Network
from .kinds import Add, AvgPool, Conv, MaxPool
from .layer import Layer
from .tensor import Shape
from .window import Padding, Stride, output_size

__all__ = [
    "KINDS",
    "random_chain",
    "random_conv",
    "random_input",
    "random_network",
    "random_weight",
]

KINDS = ("conv", "fc", "max_pool", "avg_pool", "add")
SAMPLE_IMAGES = 8
SPREAD = 40
"""Mean absolute deviation of a layer's outputs that the multipliers aim at, int8 codes."""
ODD_CHANNELS = 0.05
"""Share of output channels with an extreme multiplier or shift."""


def random_weight(
    rng: np.random.Generator, shape: tuple[int, int, int, int], *, group: int, k: int | None
) -> NDArray[np.int8]:
    """Random int8 weights (out_channels, in_channels, kernel_h, kernel_w) from -127 to 127.

    Of every group of `group` consecutive weights along (ky, kx, ic), the last one cut short, at
    most `k` are nonzero, in most groups exactly `k`; None keeps all. A tenth of the weights are
    -127 or 127.
    """
    channels, inputs, kernel_h, kernel_w = shape
    positions = inputs * kernel_h * kernel_w
    flat = rng.integers(1, 128, (channels, positions)) * rng.choice([-1, 1], (channels, positions))
    extreme = rng.random(flat.shape) < 0.1
    flat[extreme] = np.sign(flat[extreme]) * 127
    for first in range(0, positions, group):
        part = flat[:, first : first + group]
        keep = part.shape[1] if k is None else min(k, part.shape[1])
        rank = rng.permuted(np.broadcast_to(np.arange(part.shape[1]), part.shape), axis=1)
        part[rank >= keep] = 0
    # A few weights quantize to zero although pruning kept them.
    flat[rng.random(flat.shape) < 0.03] = 0
    weight = flat.reshape(channels, kernel_h, kernel_w, inputs).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(weight).astype(np.int8)


def random_conv(
    rng: np.random.Generator,
    *,
    in_channels: int = 3,
    out_channels: int = 5,
    size: tuple[int, int] = (6, 7),
    kernel: tuple[int, int] = (3, 3),
    stride: int | Stride = 1,
    padding: Padding = (0, 0, 0, 0),
    k: int | None = None,
    group: int = 16,
    fully_connected: bool = False,
) -> Network:
    """Network of one convolution, or fully connected layer whose kernel is the whole map.

    Parameters
    ----------
    size : height and width of the input
    stride : rows and columns, or one for both
    padding : top, left, bottom, right
    k, group : weights kept in every group, as in :func:`random_weight`

    Raises
    ------
    UserError
        If the kernel, stride or padding is out of range or does not fit the map.
    """
    chain = _Chain("random conv", rng, (in_channels, *size))
    chain.conv(
        out_channels,
        size if fully_connected else kernel,
        stride=pair(stride),
        padding=padding,
        k=k,
        group=group,
        fully_connected=fully_connected,
    )
    return chain.network()


def random_network(
    seed: int,
    *,
    kinds: Sequence[str] = KINDS,
    layers: int = 6,
    max_pixels: int = 120,
    max_channels: int = 40,
    max_kernel: int = 7,
    group: int = 16,
    k: int | None = None,
) -> Network:
    """Chain of random layers with nonzero zero points; each of `kinds` occurs if `layers` allows.

    A residual add joins an earlier tensor of the same shape; where none exists a convolution makes
    one, so there may be more layers than asked for.

    Parameters
    ----------
    seed : fixes everything
    kinds : some of ``KINDS``
    layers : layers to draw
    max_pixels, max_channels : limits of every tensor
    max_kernel : largest side of a kernel that is not the whole map
    group : weights of a group
    k : weights kept in every group; by default each layer draws its own, now and then dense

    Raises
    ------
    UserError
        If a kind is unknown or a limit is not positive.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise UserError(f"Random kinds must be some of {', '.join(KINDS)}, not {list(kinds)!r}.")
    if min(layers, max_pixels, max_channels) < 1:
        raise UserError(
            "A random network needs at least 1 layer, pixel and channel, "
            f"not {layers}, {max_pixels} and {max_channels}."
        )
    rng = np.random.default_rng(seed)
    height = int(rng.integers(1, min(max_pixels, 20) + 1))
    width = int(rng.integers(1, min(max_pixels // height, 20) + 1))
    height, width = _grown(height, width, max_pixels)
    shape = (_channels(rng, max_channels), height, width)
    chain = _Chain(f"random {seed}", rng, shape, max_pixels=max_pixels, max_kernel=max_kernel)
    extra = [str(rng.choice(list(kinds))) for _ in range(layers - len(kinds))]
    order = rng.permutation([*kinds, *extra])[:layers].tolist()
    if rng.random() < 0.7:
        # A fully connected layer leaves maps of one pixel to those behind it.
        order.sort(key=lambda kind: kind == "fc")
    for kind in order:
        own_k = k
        if own_k is None and rng.random() < 0.8:
            own_k = int(rng.integers(1, group + 1))
        match kind:
            case "conv":
                chain.random_conv(_channels(rng, max_channels), own_k, group)
            case "fc":
                chain.conv(
                    _channels(rng, max_channels),
                    chain.size,
                    k=own_k,
                    group=group,
                    fully_connected=True,
                )
            case "add":
                chain.residual(own_k, group)
            case _:
                chain.random_pool(kind)
    return chain.network()


def random_chain(
    seed: int,
    shape: tuple[int, int, int],
    convolutions: Sequence[tuple[int, int]],
    outputs: int,
    *,
    k: int | None = None,
    group: int = 16,
) -> Network:
    """Plain convolutional network: padded 3x3 convolutions, then a fully connected layer.

    Parameters
    ----------
    seed : fixes everything
    shape : channels, height and width of the input
    convolutions : output channels and stride of each
    outputs : channels of the fully connected layer
    k, group : weights kept in every group, as in :func:`random_weight`
    """
    chain = _Chain(f"chain {seed}", np.random.default_rng(seed), shape)
    for channels, stride in convolutions:
        chain.conv(channels, (3, 3), stride=pair(stride), padding=(1, 1, 1, 1), k=k, group=group)
    chain.conv(outputs, chain.size, k=k, group=group, fully_connected=True)
    return chain.network()


def random_input(network: Network, images: int, seed: int) -> NDArray[np.int8]:
    """Random codes int8 (images, channels, height, width) for a network's input.

    One element in ten is -128 or 127; of more than two images the first is all -128, the second
    all 127.
    """
    rng = np.random.default_rng(seed)
    return random_codes(rng, (images, *network.tensor(network.input).shape))


def random_codes(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.int8]:
    codes = rng.integers(-128, 128, shape).astype(np.int8)
    extremes = rng.choice(np.array([-128, 127], np.int8), shape)
    codes = np.where(rng.random(shape) < 0.1, extremes, codes)
    if len(codes) > 2:
        codes[0], codes[1] = -128, 127
    return codes


def _channels(rng: np.random.Generator, most: int) -> int:
    return int(rng.integers(1, most + 1))


def _grown(height: int, width: int, max_pixels: int) -> tuple[int, int]:
    """Size doubled while it stays within half of the limit, so that few maps are single pixels."""
    while height * width * 4 <= max_pixels:
        height, width = height * 2, width * 2
    return height, width


class _Chain:
    """Network under construction, with the sample images at every tensor."""

    def __init__(
        self,
        name: str,
        rng: np.random.Generator,
        shape: Shape,
        *,
        max_pixels: int = 0,
        max_kernel: int = 7,
    ) -> None:
        self.rng = rng
        self.max_pixels = max_pixels
        self.max_kernel = max_kernel
        self._builder = NetworkBuilder(name, shape, **self._codes(one_sided=True))
        self._samples = {"input": random_codes(rng, (SAMPLE_IMAGES, *shape))}

    @property
    def size(self) -> tuple[int, int]:
        _, height, width = self._builder.last.shape
        return height, width

    @property
    def channels(self) -> int:
        return self._builder.last.shape[0]

    def network(self) -> Network:
        return self._builder.network()

    def conv(
        self,
        out_channels: int,
        kernel: tuple[int, int],
        *,
        stride: Stride = (1, 1),
        padding: Padding = (0, 0, 0, 0),
        k: int | None,
        group: int,
        fully_connected: bool = False,
        groups: int = 1,
    ) -> None:
        shape = (out_channels, self.channels // groups, *kernel)
        weight = random_weight(self.rng, shape, group=group, k=k)
        # Refuses a kernel that does not fit before sums are made of it.
        output_size(self.size, kernel, stride, padding)
        x = self._builder.last
        parts = zip(
            np.split(self._samples[x.name], groups, axis=1), np.split(weight, groups), strict=True
        )
        sums = np.concatenate(
            [_sums(sample, x.zero_point, own, stride, padding) for sample, own in parts], axis=1
        )
        centre, deviation = _statistics(sums)
        # Half of the channels are balanced by their bias, as training would; others run off centre.
        balanced = self.rng.random(out_channels) < 0.5
        drift = [int(self.rng.integers(-d, d + 1)) for d in deviation]
        bias = np.array(
            [d - c if b else d for c, d, b in zip(centre, drift, balanced, strict=True)], np.int32
        )
        scaling = [
            self._scaling(d if b else d + abs(c))
            for c, d, b in zip(centre, deviation, balanced, strict=True)
        ]
        multiplier, shift = (np.array(column, np.int32) for column in zip(*scaling, strict=True))
        codes = self._codes(one_sided=True)
        self._append(
            Conv,
            name=self._name("fc" if fully_connected else "conv"),
            **codes,
            **self._clamp(codes["zero_point"]),
            weight=weight,
            bias=bias,
            multiplier=multiplier,
            shift=shift,
            stride=stride,
            padding=padding,
            fully_connected=fully_connected,
            groups=groups,
            k=k,
        )

    def random_conv(self, out_channels: int, k: int | None, group: int, groups: int = 1) -> None:
        stride = self._stride((1, 1, 2))
        kernel, padding = self._window(7, stride)
        self.conv(
            out_channels, kernel, stride=stride, padding=padding, k=k, group=group, groups=groups
        )

    def random_pool(self, kind: str) -> None:
        stride = self._stride((1, 2, 3))
        kernel, padding = self._window(4, stride)
        if kind == "avg_pool" and self.rng.random() < 0.4:
            kernel, padding, stride = self.size, (0, 0, 0, 0), (1, 1)
        fields: dict[str, Any] = {"kernel": kernel, "stride": stride, "padding": padding}
        if kind == "max_pool":
            self._append(MaxPool, **self._clamp(self._builder.last.zero_point), **fields)
            return
        codes = self._codes(one_sided=False)
        clamp = self._clamp(codes["zero_point"])
        multiplier, shift = self._scaling(kernel[0] * kernel[1] * SPREAD, odd=False)
        self._append(AvgPool, **codes, **clamp, **fields, multiplier=multiplier, shift=shift)

    def residual(self, k: int | None, group: int) -> None:
        mine = self._builder.last.name
        tensors = self._builder.tensors
        shape = tensors[mine].shape
        others = [n for n, tensor in tensors.items() if tensor.shape == shape and n != mine]
        if others and self.rng.random() < 0.5:
            other = str(self.rng.choice(others))
        else:
            other = mine
            kernel, padding = self._same_window()
            self.conv(shape[0], kernel, padding=padding, k=k, group=group)
        shift = int(self.rng.integers(3, 25))
        a, b = (int(m) for m in self.rng.integers(1 << (shift - 2), 1 << (shift - 1), 2))
        codes = self._codes(one_sided=False)
        clamp = self._clamp(codes["zero_point"])
        last = self._builder.last.name
        sources = (other, last) if self.rng.random() < 0.5 else (last, other)
        self._append(Add, *sources, **codes, **clamp, multiplier_a=a, multiplier_b=b, shift=shift)

    def _append(self, kind: type[Layer], *sources: str, **fields: Any) -> None:
        self._builder.append(kind, *sources, output=f"t{len(self._builder.layers)}", **fields)
        network = self.network()
        layer = network.layers[-1]
        inputs = (self._samples[name] for name in layer.inputs)
        self._samples[layer.output] = golden.layer(network, layer, *inputs)

    def _codes(self, one_sided: bool) -> dict[str, Any]:
        """Scale and nonzero zero point, at times at the end of int8 as behind a ReLU."""
        zero_point = int(self.rng.integers(-60, 61))
        if one_sided and self.rng.random() < 0.3:
            zero_point = int(self.rng.choice([-128, 127]))
        scale = float(np.float32(self.rng.integers(1, 1000)) / np.float32(4096))
        return {"scale": scale, "zero_point": zero_point or 1}

    def _name(self, kind: str) -> str:
        return f"{kind}{len(self._builder.layers)}"

    def _clamp(self, zero_point: int) -> dict[str, int]:
        """Usually all of int8, at times a narrower range, as fused activations leave it."""
        lo = int(self.rng.integers(-120, -20)) if self.rng.random() < 0.3 else -128
        hi = int(self.rng.integers(20, 120)) if self.rng.random() < 0.3 else 127
        return {"lo": min(lo, zero_point), "hi": max(hi, zero_point)}

    def _scaling(self, deviation: int, odd: bool = True) -> tuple[int, int]:
        """Multiplier and shift that bring a deviation of sums to about :data:`SPREAD` codes.

        Multipliers of few bits make ties frequent.
        """
        if odd and self.rng.random() < ODD_CHANNELS:
            choices = [(0, 1), ((1 << 24) - 1, 63), ((1 << 24) - 1, 1), (1, 1)]
            return choices[int(self.rng.integers(len(choices)))]
        bits = int(self.rng.integers(1, 25))
        # multiplier / 2**shift = SPREAD / deviation, with `bits` significant bits in the multiplier
        shift = min(63, max(1, bits + deviation.bit_length() - SPREAD.bit_length()))
        multiplier = (SPREAD << shift) // max(1, deviation)
        return min(max(1, multiplier), (1 << 24) - 1), shift

    def _stride(self, steps: Sequence[int]) -> Stride:
        """One of the steps for rows and columns, at times one for each."""
        down, along = (int(self.rng.choice(steps)) for _ in range(2))
        return (down if self.rng.random() < 0.2 else along, along)

    def _window(self, largest: int, stride: Stride = (1, 1)) -> tuple[tuple[int, int], Padding]:
        """Random kernel that fits the map, and random padding smaller than the kernel."""
        largest = min(largest, self.max_kernel)
        while True:
            high, wide = (int(v) for v in self.rng.integers(1, largest + 1, 2))
            height, width = self.size
            if self.rng.random() < 0.3:
                return (min(high, height), min(wide, width)), (0, 0, 0, 0)
            top, left, bottom, right = (
                int(self.rng.integers(0, v)) for v in (high, wide, high, wide)
            )
            # What is missing to a single window; never a whole kernel, as the map has a pixel.
            bottom, right = max(bottom, high - height - top), max(right, wide - width - left)
            padding = (top, left, bottom, right)
            rows, columns = output_size(self.size, (high, wide), stride, padding)
            if rows * columns <= self.max_pixels:
                return (high, wide), padding

    def _same_window(self) -> tuple[tuple[int, int], Padding]:
        """Random kernel with padding that keeps the map's size."""
        high, wide = (int(v) for v in self.rng.integers(1, min(5, self.max_kernel) + 1, 2))
        top, left = int(self.rng.integers(0, high)), int(self.rng.integers(0, wide))
        return (high, wide), (top, left, high - 1 - top, wide - 1 - left)


def _statistics(sums: NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Mean and mean absolute deviation of every channel (axis 1).

    Integers throughout, so that a seed means one network on every machine.
    """
    axes, count = (0, 2, 3), sums.size // sums.shape[1]
    centre = sums.sum(axis=axes) // count
    deviation = np.abs(sums - centre[:, None, None]).sum(axis=axes) // count
    return centre.tolist(), deviation.tolist()


def _sums(
    sample: NDArray[np.int8],
    zero_point: int,
    weight: NDArray[np.int8],
    stride: Stride,
    padding: Padding,
) -> NDArray[np.int64]:
    """``sum(w * (x - zero_point))`` of every output pixel; float64 holds these sums exactly."""
    top, left, bottom, right = padding
    centred = sample.astype(np.float64) - zero_point
    padded = np.pad(centred, ((0, 0), (0, 0), (top, bottom), (left, right)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
    taken = windows[:, :, :: stride[0], :: stride[1]]
    sums = np.tensordot(taken, weight.astype(np.float64), axes=((1, 4, 5), (1, 2, 3)))
    return sums.transpose(0, 3, 1, 2).astype(np.int64)
