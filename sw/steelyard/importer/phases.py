"""Upsampling as a convolution whose outputs are the phases, which then take turns."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor, lcm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.importer.unscaled import Move
from steelyard.network import Interleave

__all__ = ["Side", "interleaves", "phases_of", "taps"]


@dataclass(frozen=True)
class Side:
    """One axis of a transposed convolution.

    Pixel ``stride * a + phase`` of the whole result, before anything is cut off, is the sum of
    ``w[stride * t + phase] * x[a - t]`` over the taps `t`.

    Members
    -------
    size : of the map
    kernel, stride : of the node, the kernel as large as its dilation makes it
    cut : pixels of the whole result that fall away at its beginning
    result : pixels that stay
    """

    size: int
    kernel: int
    stride: int
    cut: int
    result: int

    @property
    def taps(self) -> int:
        """Taps of each phase; output_padding may want more than the kernel has."""
        beyond = self.cut + self.result - (self.size - 1) * self.stride
        return -(-max(self.kernel, beyond) // self.stride)

    @property
    def first(self) -> int:
        """First `a` that is computed."""
        return min(self.cut // self.stride, self.taps - 1)

    @property
    def padding(self) -> tuple[int, int]:
        """Zeros before and behind the map."""
        last = (self.cut + self.result - 1) // self.stride
        return self.taps - 1 - self.first, max(last - self.size + 1, 0)

    @property
    def count(self) -> int:
        """Windows, one for each `a`."""
        return self.size + sum(self.padding) - self.taps + 1

    @property
    def crop(self) -> tuple[int, int]:
        """Pixels, as negative padding, that were computed and are not of the result."""
        begin = self.cut - self.first * self.stride
        return -begin, begin + self.result - self.count * self.stride


def phases_of(weight: NDArray[Any], groups: int, rows: Side, columns: Side) -> NDArray[Any]:
    """Weight of the convolution that gives all phases of a transposed one.

    Parameters
    ----------
    weight : (channels, outputs of a group, height, width) of the transposed convolution

    Returns
    -------
    array
        (all outputs, channels of a group, taps of the rows, taps of the columns); the outputs are
        (group, row phase, column phase, output).
    """
    inputs, outputs, height, width = weight.shape
    high, wide = rows.taps * rows.stride, columns.taps * columns.stride
    filled = np.pad(weight, ((0, 0), (0, 0), (0, high - height), (0, wide - width)))
    parts = filled.reshape(
        groups, inputs // groups, outputs, rows.taps, rows.stride, columns.taps, columns.stride
    )
    # A convolution's taps run the other way.
    turned = parts[:, :, :, ::-1, :, ::-1].transpose(0, 4, 6, 2, 1, 3, 5)
    return np.ascontiguousarray(turned.reshape(-1, inputs // groups, rows.taps, columns.taps))


def interleaves(outer: int, rows: int, columns: int) -> list[Move]:
    """Moves that make maps of `rows` times `columns` phases.

    Channels are (outer, row phase, column phase, inner); those of the result (outer, inner).
    """
    moves: list[Move] = []
    if columns > 1:
        moves.append((Interleave, {"axis": 2, "count": columns, "blocks": outer * rows}))
    if rows > 1:
        moves.append((Interleave, {"axis": 1, "count": rows, "blocks": outer}))
    return moves


def taps(count: int, *, half: bool) -> tuple[NDArray[np.int64], int, tuple[int, int]]:
    """Bilinear upsampling along an axis.

    Parameters
    ----------
    count : how many pixels become of each
    half : whether pixels' middles stay where they are; else their beginnings

    Returns
    -------
    tuple
        Weights (phases, taps), what those of a phase add up to, and pixels that are read before
        and behind the map.
    """
    middle = Fraction(1, 2) if half else Fraction(0)
    places = [(phase + middle) / count - middle for phase in range(count)]
    one = lcm(*(place.denominator for place in places))
    first = min(floor(place) for place in places)
    last = max(-floor(-place) for place in places)
    weight = np.zeros((count, last - first + 1), np.int64)
    for phase, place in enumerate(places):
        left = floor(place)
        share = int((place - left) * one)
        weight[phase, left - first] += one - share
        if share:
            weight[phase, left - first + 1] += share
    return weight, one, (-first, last)
