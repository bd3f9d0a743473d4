"""Products of two activations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...errors import UserError
from ..arithmetic import Block, BlockFunction, round_to_codes
from ..checks import check_scaling
from ..layer import Layer
from ..tensor import Shape, Tensor

__all__ = ["Mul"]


@dataclass(frozen=True, kw_only=True)
class Mul(Layer):
    """Product of two tensors of one shape, element by element, rounded once.

    ``y = clamp(z_y + round_half_even((a - z_a) * (b - z_b) * multiplier / 2**shift), lo, hi)``. A
    factor for each channel, of shape (C, 1, 1), becomes such a tensor by two `Repeat` layers.
    """

    key: ClassVar[str] = "mul"
    input_count: ClassVar[int] = 2
    multiplier: int
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
        check_scaling("multiplier", self.multiplier, self.shift)
        if not a.shape == b.shape == output.shape:
            raise UserError(
                f"mul needs three equal shapes, not {a.shape}, {b.shape} and {output.shape}."
            )

    def golden(self, inputs: Sequence[Tensor], output: Tensor) -> BlockFunction:
        """Scaled product of both blocks."""
        z_a, z_b = (each.zero_point for each in inputs)
        # At most 255 * 255 * 2**24: exact in float64.
        scale = float(np.ldexp(float(self.multiplier), -self.shift))

        def function(a: Block, b: Block) -> Block:
            total = (a - np.float64(z_a)) * (b - np.float64(z_b))
            return round_to_codes(total, scale, output.zero_point, self.lo, self.hi)

        return function
