"""Tables of all codes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from steelyard.importer.curves import Values
from steelyard.importer.tflite.file import Operator
from steelyard.importer.tflite.walk import Walk
from steelyard.network import Lookup, Tensor

__all__ = ["Step", "bind_codes", "bind_table"]

Step = Callable[[Values], Values]
"""Function of real numbers."""


def bind_table(
    walk: Walk, op: Operator, function: Step, index: int = 0, lo: int = -128, hi: int = 127
) -> None:
    """Bind a function of each element of an operator's input.

    Results are rounded once, halves to even, as TFLite's default kernels fill their tables.

    Parameters
    ----------
    index : of the input
    lo, hi : clamp of the result's codes

    Raises
    ------
    UserError
        If the input is none, or the file's output does not fit it.
    """

    def codes(x: Tensor, output: Tensor) -> Values:
        reals: Values = (np.arange(-128, 128) - np.float64(x.zero_point)) * x.scale
        with np.errstate(all="ignore"):  # infinite results saturate
            return np.rint(function(reals) / output.scale)

    bind_codes(walk, op, codes, index, lo, hi)


def bind_codes(
    walk: Walk,
    op: Operator,
    codes: Callable[[Tensor, Tensor], Values | NDArray[np.int64]],
    index: int = 0,
    lo: int = -128,
    hi: int = 127,
) -> None:
    """Bind a table.

    Parameters
    ----------
    codes : of an input and an output, what each of the codes -128 to 127 becomes, as a distance
        from the output's zero point
    index, lo, hi : as :func:`bind_table` takes them

    Raises
    ------
    UserError
        As :func:`bind_table`.
    """
    value, x = walk.activation(op, index)
    output = walk.output(op, x.shape, value.view)
    table = np.clip(codes(x, output) + output.zero_point, lo, hi).astype(np.int8)
    walk.bind_tensor(op, walk.append(op, Lookup, (x,), output, table=table))
