"""Layers that put codes elsewhere and change none of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...contract.limits import MAX_PADDING, MAX_SIDE
from ...errors import UserError
from ..arithmetic import Block, BlockFunction
from ..checks import check_integer
from ..layer import Layer
from ..tensor import Shape, Tensor
from ..window import Padding, pad

__all__ = ["Interleave", "Move", "Pad", "Repeat", "Shuffle"]


@dataclass(frozen=True, kw_only=True)
class Move(Layer):
    """What these layers share: codes, scale and zero point stay."""

    def check(self, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Refuse shapes, scales and clamps that do not fit."""
        self.check_shape(inputs, output)
        self.check_moved(inputs, output)


@dataclass(frozen=True, kw_only=True)
class Pad(Move):
    """Real zeros around every map; a negative padding cuts rows or columns off."""

    key: ClassVar[str] = "pad"
    padding: Padding
    """Top, left, bottom, right: all from 0 to 255, or none above 0."""

    def output_shape(self, *inputs: Shape) -> Shape:
        """The padded map."""
        ((channels, height, width),) = inputs
        if len(self.padding) != 4:
            raise UserError(f"the padding must be (top, left, bottom, right), not {self.padding}.")
        pads = max(self.padding) > 0
        names = ("top", "left", "bottom", "right")
        for name, value, size in zip(names, self.padding, (height, width) * 2, strict=True):
            low, high = (0, MAX_PADDING) if pads else (1 - size, 0)
            check_integer(f"{name} padding", value, low, high)
        top, left, bottom, right = self.padding
        shape = (channels, height + top + bottom, width + left + right)
        if min(shape) < 1:
            raise UserError(f"padding {self.padding} leaves nothing of a map of {height}x{width}.")
        return shape

    def rows_read(self, row: int, height: int) -> range:
        """The row itself, or none where there are zeros."""
        source = row - self.padding[0]
        return range(min(max(source, 0), height), min(max(source + 1, 0), height))

    def golden(self, inputs: Sequence[Tensor], output: Tensor) -> BlockFunction:
        """Block with its zero point around, or a part of it."""
        zero = inputs[0].zero_point
        top, left, bottom, right = self.padding

        def function(x: Block) -> Block:
            if max(self.padding) > 0:
                return pad(x, self.padding, zero, np.int8)
            rows, columns = slice(-top, bottom or None), slice(-left, right or None)
            return np.ascontiguousarray(x[:, rows, columns])

        return function


@dataclass(frozen=True, kw_only=True)
class Repeat(Move):
    """Every row or column `count` times: half of a nearest upsampling."""

    key: ClassVar[str] = "repeat"
    axis: int
    """1 for rows, 2 for columns."""
    count: int

    def output_shape(self, *inputs: Shape) -> Shape:
        """The map, `count` times as high or wide."""
        (shape,) = inputs
        check_integer("axis", self.axis, 1, 2)
        check_integer("count", self.count, 1, MAX_SIDE // shape[self.axis])
        return _scaled(shape, self.axis, self.count)

    def rows_read(self, row: int, height: int) -> range:
        """One row."""
        return _row_scaled(row, self.axis, self.count)

    def golden(self, inputs: Sequence[Tensor], output: Tensor) -> BlockFunction:
        """Repeated rows or columns."""

        def function(x: Block) -> Block:
            return np.repeat(x, self.count, axis=self.axis)

        return function


@dataclass(frozen=True, kw_only=True)
class Interleave(Move):
    """Rows or columns of `count` planes in turn: one axis of a depth-to-space.

    Channels are blocks of `count` phases of `channels / (blocks * count)` channels; the output's
    channel ``(b, c)`` has at ``count * y + i`` what ``(b, i, c)`` has at ``y``.
    """

    key: ClassVar[str] = "interleave"
    axis: int
    """1 for rows, 2 for columns."""
    count: int
    blocks: int = 1

    def output_shape(self, *inputs: Shape) -> Shape:
        """The map, `count` times as high or wide, with as many fewer channels."""
        (shape,) = inputs
        check_integer("axis", self.axis, 1, 2)
        check_integer("count", self.count, 1, MAX_SIDE // shape[self.axis])
        check_integer("blocks", self.blocks, 1, shape[0])
        _check_divides(shape[0], self.blocks * self.count)
        channels, height, width = _scaled(shape, self.axis, self.count)
        return (channels // self.count, height, width)

    def rows_read(self, row: int, height: int) -> range:
        """One row."""
        return _row_scaled(row, self.axis, self.count)

    def golden(self, inputs: Sequence[Tensor], output: Tensor) -> BlockFunction:
        """Phases in turn."""

        def function(x: Block) -> Block:
            phases = x.reshape(self.blocks, self.count, -1, *x.shape[1:])
            # The phase becomes the fastest part of rows or columns.
            moved = np.moveaxis(phases, 1, self.axis + 2)
            return moved.reshape(*output.shape, x.shape[3])

        return function


@dataclass(frozen=True, kw_only=True)
class Shuffle(Move):
    """Channels ``(groups, n)`` as ``(n, groups)``: the channel shuffle between grouped layers."""

    key: ClassVar[str] = "shuffle"
    groups: int

    def output_shape(self, *inputs: Shape) -> Shape:
        """That of the input."""
        (shape,) = inputs
        check_integer("groups", self.groups, 1, shape[0])
        _check_divides(shape[0], self.groups)
        return shape

    def golden(self, inputs: Sequence[Tensor], output: Tensor) -> BlockFunction:
        """Channels in their new order."""

        def function(x: Block) -> Block:
            groups = x.reshape(self.groups, -1, *x.shape[1:])
            return groups.swapaxes(0, 1).reshape(x.shape)

        return function


def _scaled(shape: Shape, axis: int, count: int) -> Shape:
    channels, height, width = shape
    return (channels, height * count, width) if axis == 1 else (channels, height, width * count)


def _row_scaled(row: int, axis: int, count: int) -> range:
    source = row // count if axis == 1 else row
    return range(source, source + 1)


def _check_divides(channels: int, parts: int) -> None:
    if channels % parts:
        raise UserError(f"{channels} channels cannot be cut into {parts} equal parts.")
