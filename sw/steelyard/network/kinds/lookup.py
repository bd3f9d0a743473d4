"""Pointwise functions of codes, each a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...contract.limits import TABLE_ENTRIES
from ...errors import UserError
from ..arithmetic import Block, BlockFunction
from ..layer import Layer, Rank
from ..tensor import Shape, Tensor

__all__ = ["Lookup"]


# Arrays have no single truth value, so tables compare by identity.
@dataclass(frozen=True, kw_only=True, eq=False)
class Lookup(Layer):
    """Any function from int8 to int8, code by code: ``y = table[x + 128]``.

    Scale and zero point of the output may be others than the input's.
    """

    key: ClassVar[str] = "lookup"
    table: Annotated[NDArray[np.int8], Rank(1)]
    """int8 (256,): results of the codes -128 to 127 in turn."""

    @property
    def elementwise(self) -> bool:
        """Always."""
        return True

    @property
    def range(self) -> tuple[int, int]:
        """Least and greatest entry."""
        return (int(self.table.min()), int(self.table.max()))

    def output_shape(self, *inputs: Shape) -> Shape:
        """That of the input."""
        return inputs[0]

    def check(self, inputs: Sequence[Tensor], output: Tensor) -> None:
        """Refuse tables, shapes and clamps that do not fit."""
        self.check_shape(inputs, output)
        if self.table.dtype != np.int8 or self.table.shape != (TABLE_ENTRIES,):
            raise UserError(
                f"the table must be int8 ({TABLE_ENTRIES},), not {self.table.dtype} "
                f"{self.table.shape}."
            )
        if (self.lo, self.hi) != (-128, 127):
            raise UserError(
                f"lookup does not clamp, but lo and hi are {self.lo}, {self.hi}; clamp the table."
            )

    def golden(self, inputs: Sequence[Tensor], output: Tensor) -> BlockFunction:
        """Entries of all codes."""
        # Codes as unsigned bytes start with 0, so the half of the codes below 0 comes last.
        table = np.roll(self.table, TABLE_ENTRIES // 2)

        def function(x: Block) -> Block:
            return table[x.view(np.uint8)]

        return function
