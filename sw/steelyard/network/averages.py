"""Averages whose divisor differs from window to window, because padding does not count.

A pooling layer divides all of its sums by one number. Windows that hold equally many pixels form
rectangles of the output; each is a pooling of its own, without padding, and the rectangles are
brought together by padding each to the whole map with real zeros and adding them up, which is
exact.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UserError
from .kinds import Add, Pad
from .layer import Layer
from .tensor import Tensor
from .window import Padding

__all__ = ["Run", "average_runs", "join_averages"]

ONE = {"multiplier_a": 1 << 22, "multiplier_b": 1 << 22, "shift": 22}
"""Scaling of an addition that scales nothing."""

Append = Callable[[type[Layer], tuple[Tensor, ...], Tensor, dict[str, Any]], object]
"""Appends a layer: its kind, inputs, output and fields."""


@dataclass(frozen=True)
class Run:
    """Windows side by side along one axis that hold equally many pixels.

    Members
    -------
    first, count : windows
    begin, end : pixels of the map that they read
    size : pixels of the map that each holds
    divisor : pixels that each counts, of the map and of padding that counts
    """

    first: int
    count: int
    begin: int
    end: int
    size: int
    divisor: int


def average_runs(
    length: int, kernel: int, stride: int, padding: tuple[int, int], counted: tuple[int, int]
) -> list[Run]:
    """Runs of the windows along one axis.

    Parameters
    ----------
    length : pixels of the map
    padding : pixels before and behind the map that windows reach into
    counted : those of them that count

    Raises
    ------
    UserError
        If a window holds no pixel of the map.
    """
    found: list[Run] = []
    for window in range((length + sum(padding) - kernel) // stride + 1):
        start = window * stride - padding[0]
        begin, end = max(start, 0), min(start + kernel, length)
        divisor = min(start + kernel, length + counted[1]) - max(start, -counted[0])
        if begin >= end:
            raise UserError(
                f"window {window} of {kernel} pixels lies outside of a map of {length}; "
                "use less padding."
            )
        size = end - begin
        last = found[-1] if found else None
        if last and (last.size, last.divisor) == (size, divisor) and last.end + stride == end:
            found[-1] = replace(last, count=last.count + 1, end=end)
        else:
            found.append(Run(window, 1, begin, end, size, divisor))
    return found


def join_averages(
    append: Append,
    x: Tensor,
    output: Tensor,
    rows: Sequence[Run],
    columns: Sequence[Run],
    average: Callable[[Tensor, Tensor, Run, Run], object],
) -> None:
    """Append the layers that average every window.

    Parameters
    ----------
    append : how a layer is appended
    x, output : what is averaged, and the result
    average
        Appends the pooling without padding of one rectangle: of the tensor that holds what its
        windows read, a stride apart, to another, with the windows' rows and columns.
    """
    if len(rows) == len(columns) == 1:
        average(_cut(append, x, rows[0], columns[0], f"{output.name}/cut"), output, *rows, *columns)
        return
    width = sum(column.count for column in columns)
    high = sum(row.count for row in rows)
    whole = None
    for y, row in enumerate(rows):
        last = row is rows[-1]
        name, shape = f"{output.name}/{y}", (x.shape[0], row.count, width)
        target = output if len(rows) == 1 else replace(output, name=name, shape=shape)
        strip = None
        for column in columns:
            here = f"{output.name}/{row.first},{column.first}"
            taken = _cut(append, x, row, column, f"{here}/cut")
            part = replace(target, name=here, shape=(x.shape[0], row.count, column.count))
            average(taken, part, row, column)
            right = width - column.first - column.count
            part = _widened(append, part, (0, column.first, 0, right))
            strip = _added(append, strip, part, target, column is columns[-1])
        below = high - row.first - row.count
        strip = _widened(append, strip or target, (row.first, 0, below, 0))
        if len(rows) > 1:
            whole = _added(append, whole, strip, output, last)


def _cut(append: Append, x: Tensor, row: Run, column: Run, name: str) -> Tensor:
    """What the windows of a rectangle read."""
    _, height, width = x.shape
    padding = (-row.begin, -column.begin, row.end - height, column.end - width)
    if not any(padding):
        return x
    part = replace(x, name=name, shape=(x.shape[0], row.end - row.begin, column.end - column.begin))
    append(Pad, (x,), part, {"padding": padding})
    return part


def _widened(append: Append, x: Tensor, padding: Padding) -> Tensor:
    """A part with real zeros around it."""
    if not any(padding):
        return x
    top, left, bottom, right = padding
    channels, height, width = x.shape
    shape = (channels, height + top + bottom, width + left + right)
    wider = replace(x, name=f"{x.name}/pad", shape=shape)
    append(Pad, (x,), wider, {"padding": padding})
    return wider


def _added(
    append: Append, total: Tensor | None, part: Tensor, output: Tensor, last: bool
) -> Tensor:
    """Sum of what is there so far and a part, of which one is real zero in each pixel."""
    if total is None:
        return part
    result = output if last else replace(output, name=f"{part.name}/sum")
    append(Add, (total, part), result, dict(ONE))
    return result
