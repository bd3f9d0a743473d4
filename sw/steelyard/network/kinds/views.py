"""Concatenations and slices of channels: planes that lie where they are wanted, moved by nobody."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...errors import UserError
from ..arithmetic import Block, BlockFunction
from ..checks import check_integer
from ..layer import Layer
from ..tensor import Shape, Tensor

__all__ = ["Concat", "Slice"]


@dataclass(frozen=True, kw_only=True)
class Concat(Layer):
    """Channels of all inputs in turn; scales and zero points are equal everywhere."""

    key: ClassVar[str] = "concat"
    input_count: ClassVar[int | None] = None

    def output_shape(self, *inputs: Shape) -> Shape:
        """The inputs' map, and all their channels."""
        maps = sorted({each[1:] for each in inputs})
        if len(maps) > 1:
            sizes = " and ".join(f"{height}x{width}" for height, width in maps)
            raise UserError(f"concat needs maps of one size, not {sizes}.")
        return (sum(each[0] for each in inputs), *maps[0])

    def check(self, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Refuse shapes, scales and clamps that do not fit."""
        self.check_shape(inputs, output)
        self.check_moved(inputs, output)

    def golden(self, inputs: Sequence[Tensor], output: Tensor) -> BlockFunction:
        """All blocks in turn."""

        def function(*blocks: Block) -> Block:
            return np.concatenate(blocks)

        return function


@dataclass(frozen=True, kw_only=True)
class Slice(Layer):
    """`count` channels of the input from channel `first` on."""

    key: ClassVar[str] = "slice"
    first: int
    count: int

    def output_shape(self, *inputs: Shape) -> Shape:
        """The input's map, and `count` channels."""
        ((channels, height, width),) = inputs
        check_integer("first", self.first, 0, channels - 1)
        check_integer("count", self.count, 1, channels - self.first)
        return (self.count, height, width)

    def check(self, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Refuse channels, shapes, scales and clamps that do not fit."""
        self.check_shape(inputs, output)
        self.check_moved(inputs, output)

    def golden(self, inputs: Sequence[Tensor], output: Tensor) -> BlockFunction:
        """A part of the block."""

        def function(x: Block) -> Block:
            return np.ascontiguousarray(x[self.first : self.first + self.count])

        return function
