"""Constrained-random networks of layers that cut, join and move channels and pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..contract.limits import MAX_CONV_STRIDE, MAX_MULTIPLIER, TABLE_ENTRIES
from ..errors import UserError
from .graph import Network
from .kinds import Concat, Interleave, Lookup, Mul, Pad, Repeat, Shuffle, Slice
from .layer import Layer
from .random import _Chain, _channels, _grown, random_codes

__all__ = ["OPERATORS", "SHAPES", "random_shapes"]

SHAPES = (
    "group_conv",
    "conv",
    "stride_conv",
    "max_pool",
    "concat",
    "slice",
    "pad",
    "crop",
    "repeat",
    "interleave",
    "shuffle",
)
OPERATORS = ("lookup", "slope_conv", "slope_pool", "mul")
"""Kinds that a configuration may leave out."""


def random_shapes(
    seed: int,
    *,
    kinds: Sequence[str] = SHAPES,
    layers: int = 8,
    max_pixels: int = 200,
    max_channels: int = 40,
    group: int = 16,
) -> Network:
    """Chain of random layers, most of which only move codes; each of `kinds` occurs.

    Parameters
    ----------
    seed : fixes everything
    kinds : some of ``SHAPES`` and ``OPERATORS``
    layers : layers to draw; a concatenation may add one
    max_pixels, max_channels : limits of every tensor
    group : weights of a group

    Raises
    ------
    UserError
        If a kind is unknown.
    """
    known = (*SHAPES, *OPERATORS)
    if not kinds or not set(kinds) <= set(known):
        raise UserError(f"Random kinds must be some of {', '.join(known)}, not {list(kinds)!r}.")
    rng = np.random.default_rng(seed)
    height, width = (int(v) for v in rng.integers(1, 7, 2))
    height, width = _grown(height, width, max_pixels // 2)
    shape = (_channels(rng, max_channels), height, width)
    chain = _Shapes(f"shapes {seed}", rng, shape, max_pixels=max_pixels, max_kernel=5)
    extra = [str(rng.choice(list(kinds))) for _ in range(layers - len(kinds))]
    for kind in rng.permutation([*kinds, *extra]).tolist():
        chain.draw(kind, max_channels, group)
    return chain.network()


class _Shapes(_Chain):
    """Chain with layers that cut, join and move, and operators."""

    _slopes = False
    """Whether the next layer has a multiplier for negative sums."""

    def draw(self, kind: str, most: int, group: int) -> None:
        """Append a layer of a kind where the map allows it."""
        rng, channels = self.rng, self.channels
        k = int(rng.integers(1, group + 1)) if rng.random() < 0.7 else None
        match kind:
            case "conv":
                self.random_conv(_channels(rng, most), k, group)
            case "stride_conv":
                stride = self._stride(range(3, MAX_CONV_STRIDE + 1))
                kernel, padding = self._window(7, stride)
                if rng.random() < 0.3:
                    # As far as the map goes.
                    kernel, padding = (min(11, self.size[0]), min(11, self.size[1])), (0, 0, 0, 0)
                self.conv(_channels(rng, most), kernel, stride=stride, padding=padding, k=k,
                          group=group)  # fmt: skip
            case "group_conv":
                groups = int(rng.choice(_divisors(channels)))
                each = 1 if groups > most // 2 else int(rng.integers(1, most // groups + 1))
                self.random_conv(groups * each, k, group, groups)
            case "max_pool":
                self.random_pool("max_pool")
            case "concat":
                self._concat(most)
            case "slice":
                first = int(rng.integers(0, channels))
                count = int(rng.integers(1, channels - first + 1))
                self._append(Slice, first=first, count=count)
            case "shuffle":
                self._append(Shuffle, groups=int(rng.choice(_divisors(channels))))
            case "slope_conv" | "slope_pool":
                self._slopes = True
                if kind == "slope_conv":
                    self.random_conv(_channels(rng, most), k, group)
                else:
                    self.random_pool("avg_pool")
                self._slopes = False
            case "mul":
                self._mul()
            case "lookup":
                table = random_codes(rng, (2, TABLE_ENTRIES))[0]
                self._append(Lookup, **self._codes(one_sided=True), table=table)
            case "pad":
                self._append(Pad, padding=self._padding())
            case "crop":
                height, width = self.size
                top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
                bottom = int(rng.integers(0, height - top))
                right = int(rng.integers(0, width - left))
                self._append(Pad, padding=(-top, -left, -bottom, -right))
            case _:
                self._larger(kind)

    def _append(self, kind: type[Layer], *sources: str, **fields: Any) -> None:
        if self._slopes:
            multiplier = fields["multiplier"]
            # From 0, a ReLU, to twice as steep.
            slope = self.rng.integers(0, 33, np.shape(multiplier)) / 16
            negative = np.minimum(multiplier * slope, MAX_MULTIPLIER).astype(np.int32)
            fields["negative_multiplier"] = negative if negative.shape else int(negative)
        super()._append(kind, *sources, **fields)

    def _mul(self) -> None:
        """Multiply the last tensor by another of its shape, or by itself."""
        last, tensors = self._builder.last, self._builder.tensors
        other = str(self.rng.choice([n for n, t in tensors.items() if t.shape == last.shape]))
        sources = (other, last.name) if self.rng.random() < 0.5 else (last.name, other)
        shift = int(self.rng.integers(8, 25))
        # Products of int8 spread over 16 bits, results over 8.
        multiplier = int(self.rng.integers(1 << shift >> 8, (1 << shift >> 5) + 1))
        codes = self._codes(one_sided=True)
        clamp = self._clamp(codes["zero_point"])
        self._append(Mul, *sources, **codes, **clamp, multiplier=multiplier, shift=shift)

    def _concat(self, most: int) -> None:
        """Join the last tensor with others of its map and codes, or with itself."""
        last = self._builder.last
        same = [
            tensor.name
            for tensor in self._builder.tensors.values()
            if tensor.shape[1:] == last.shape[1:]
            and (tensor.scale, tensor.zero_point) == (last.scale, last.zero_point)
        ]
        parts = [last.name]
        size = last.shape[0]
        for name in self.rng.permutation(same).tolist():
            channels = self._builder.tensors[name].shape[0]
            if size + channels <= 2 * most and len(parts) < 4:
                parts.insert(int(self.rng.integers(len(parts) + 1)), name)
                size += channels
        self._append(Concat, *parts)

    def _larger(self, kind: str) -> None:
        axis = int(self.rng.integers(1, 3))
        height, width = self.size
        room = min(4, self.max_pixels // (height * width))
        count = int(self.rng.integers(1, max(room, 1) + 1))
        if kind == "repeat":
            self._append(Repeat, axis=axis, count=count)
            return
        counts = [n for n in _divisors(self.channels) if n <= count]
        count = int(self.rng.choice(counts))
        blocks = int(self.rng.choice(_divisors(self.channels // count)))
        self._append(Interleave, axis=axis, count=count, blocks=blocks)

    def _padding(self) -> tuple[int, int, int, int]:
        top, left, bottom, right = (
            int(v) for v in self.rng.integers(0, self.rng.choice([4, 4, 11]), 4)
        )
        height, width = self.size
        if (height + top + bottom) * (width + left + right) > self.max_pixels:
            return (0, 0, 0, 1)
        return (top, left, bottom, right)


def _divisors(number: int) -> NDArray[np.int64]:
    return np.array([n for n in range(1, number + 1) if number % n == 0])
