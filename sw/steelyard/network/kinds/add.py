"""Residual additions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...errors import UserError
from ..arithmetic import Block, BlockFunction, round_to_codes
from ..checks import check_scaling
from ..layer import Layer
from ..tensor import Shape, Tensor

__all__ = ["Add"]


@dataclass(frozen=True, kw_only=True)
class Add(Layer):
    """Residual add: both products are summed exactly at one shift and rounded once.

    ``y = clamp(z_y + round_half_even(((a - z_a) * M_a + (b - z_b) * M_b) / 2**shift), lo, hi)``.
    """

    key: ClassVar[str] = "add"
    input_count: ClassVar[int] = 2
    multiplier_a: int
    multiplier_b: int
    shift: int

    @property
    def elementwise(self) -> bool:
        """Always."""
        return True

    def output_shape(self, *inputs: Shape) -> Shape:
        """That of the inputs."""
        return inputs[0]

    def check(self, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Refuse multipliers, shifts and shapes that do not fit."""
        a, b = inputs
        check_scaling("multiplier_a", self.multiplier_a, self.shift)
        check_scaling("multiplier_b", self.multiplier_b, self.shift)
        if not a.shape == b.shape == output.shape:
            raise UserError(
                f"add needs three equal shapes, not {a.shape}, {b.shape} and {output.shape}."
            )

    def golden(self, inputs: Sequence[Tensor], output: Tensor) -> BlockFunction:
        """Sum of both scaled blocks."""
        z_a, z_b = (each.zero_point for each in inputs)
        scale = float(np.ldexp(1.0, -self.shift))

        def function(a: Block, b: Block) -> Block:
            total = (a - np.float64(z_a)) * self.multiplier_a
            total += (b - np.float64(z_b)) * self.multiplier_b
            return round_to_codes(total, scale, output.zero_point, self.lo, self.hi)

        return function
