"""Constrained-random networks of layers that cut, join and move channels and pixels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..contract.limits import MAX_CONV_STRIDE
from ..errors import UserError
from .graph import Network
from .kinds import Concat, Interleave, Pad, Repeat, Shuffle, Slice
from .random import _Chain, _channels, _grown

__all__ = ["SHAPES", "random_shapes"]

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
    kinds : some of ``SHAPES``
    layers : layers to draw; a concatenation may add one
    max_pixels, max_channels : limits of every tensor
    group : weights of a group

    Raises
    ------
    UserError
        If a kind is unknown.
    """
    unknown = [kind for kind in kinds if kind not in SHAPES]
    if unknown or not kinds:
        raise UserError(f"Random kinds must be some of {', '.join(SHAPES)}, not {list(kinds)!r}.")
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
    """Chain with layers that cut, join and move."""

    def draw(self, kind: str, most: int, group: int) -> None:
        """Append a layer of a kind where the map allows it."""
        rng, channels = self.rng, self.channels
        k = int(rng.integers(1, group + 1)) if rng.random() < 0.7 else None
        match kind:
            case "conv":
                self.random_conv(_channels(rng, most), k, group)
            case "stride_conv":
                stride = int(rng.integers(3, MAX_CONV_STRIDE + 1))
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
        top, left, bottom, right = (int(v) for v in self.rng.integers(0, 4, 4))
        height, width = self.size
        if (height + top + bottom) * (width + left + right) > self.max_pixels:
            return (0, 0, 0, 1)
        return (top, left, bottom, right)


def _divisors(number: int) -> NDArray[np.int64]:
    return np.array([n for n in range(1, number + 1) if number % n == 0])
