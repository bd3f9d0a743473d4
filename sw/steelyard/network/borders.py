"""Padding with pixels of the map itself, as ONNX's Pad and TFLite's MIRROR_PAD have it.

A layer pads with real zeros. Each row that comes before or behind is cut out of the map, padded to
where it belongs and added, which is exact since all else there is real zero; then columns likewise.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..errors import UserError
from .averages import ONE, Append
from .kinds import Add, Pad, Repeat
from .tensor import Tensor
from .window import Padding

__all__ = ["BORDERS", "border"]


def _edge(size: int, before: int, behind: int) -> tuple[list[int], list[int]]:
    return [0] * before, [size - 1] * behind


def _reflect(size: int, before: int, behind: int) -> tuple[list[int], list[int]]:
    return list(range(before, 0, -1)), list(range(size - 2, size - 2 - behind, -1))


def _symmetric(size: int, before: int, behind: int) -> tuple[list[int], list[int]]:
    return list(range(before - 1, -1, -1)), list(range(size - 1, size - 1 - behind, -1))


def _wrap(size: int, before: int, behind: int) -> tuple[list[int], list[int]]:
    return list(range(size - before, size)), list(range(behind))


BORDERS: dict[str, Callable[[int, int, int], tuple[list[int], list[int]]]] = {
    "edge": _edge,
    "reflect": _reflect,
    "symmetric": _symmetric,
    "wrap": _wrap,
}
"""Rows of a map that come before and behind it, of its size and the numbers of rows."""


def border(append: Append, x: Tensor, output: Tensor, padding: Padding, mode: str) -> Tensor:
    """Append the layers that pad a map with pixels of its own; gives their output.

    Parameters
    ----------
    append : how a layer is appended
    output : name, scale and zero point of the result
    padding : top, left, bottom, right
    mode : one of `BORDERS`

    Raises
    ------
    UserError
        If the map has too few pixels.
    """
    sides = [axis for axis in (1, 2) if padding[axis - 1] or padding[axis + 1]]
    if not sides:
        return x
    for axis in sides:
        size, name = x.shape[axis], ("rows", "columns")[axis - 1]
        before, behind = BORDERS[mode](size, padding[axis - 1], padding[axis + 1])
        if not all(0 <= place < size for place in (*before, *behind)):
            raise UserError(
                f"{size} {name} cannot be padded by {padding[axis - 1]} and {padding[axis + 1]} "
                f"in mode {mode!r}; use less padding."
            )
        last = axis == sides[-1]
        result = output if last else replace(output, name=f"{output.name}/{name}")
        x = _along(append, x, result, axis, before, behind)
    return x


def _along(
    append: Append, x: Tensor, output: Tensor, axis: int, before: list[int], behind: list[int]
) -> Tensor:
    size, whole = x.shape[axis], x.shape[axis] + len(before) + len(behind)
    total = _placed(append, x, axis, len(before), whole, f"{output.name}/middle")
    parts = [(before, 0), (behind, len(before) + size)]
    for number, (places, first) in enumerate(parts):
        if not places:
            continue
        strip = _strip(append, x, axis, places, f"{output.name}/{number}")
        strip = _placed(append, strip, axis, first, whole, f"{output.name}/{number}/pad")
        last = number == 1 or not behind
        total = _plus(append, total, strip, output if last else None)
    return total


def _strip(append: Append, x: Tensor, axis: int, places: Sequence[int], name: str) -> Tensor:
    """Rows or columns of a map side by side."""
    if len(set(places)) == 1:
        one = _taken(append, x, axis, places[0], f"{name}/cut")
        if len(places) == 1:
            return one
        strip = _sized(one, axis, len(places), f"{name}/repeat")
        append(Repeat, (one,), strip, {"axis": axis, "count": len(places)})
        return strip
    total = None
    for number, place in enumerate(places):
        one = _taken(append, x, axis, place, f"{name}/cut {number}")
        one = _placed(append, one, axis, number, len(places), f"{name}/part {number}")
        total = one if total is None else _plus(append, total, one, None)
    assert total is not None
    return total


def _taken(append: Append, x: Tensor, axis: int, place: int, name: str) -> Tensor:
    """One row or column; the whole map if it has no other."""
    behind = place + 1 - x.shape[axis]
    if not place and not behind:
        return x
    cut = (-place, 0, behind, 0) if axis == 1 else (0, -place, 0, behind)
    part = _sized(x, axis, 1, name)
    append(Pad, (x,), part, {"padding": cut})
    return part


def _placed(append: Append, x: Tensor, axis: int, first: int, whole: int, name: str) -> Tensor:
    """Rows or columns with real zeros around them."""
    behind = whole - first - x.shape[axis]
    if not first and not behind:
        return x
    padding = (first, 0, behind, 0) if axis == 1 else (0, first, 0, behind)
    wider = _sized(x, axis, whole, name)
    append(Pad, (x,), wider, {"padding": padding})
    return wider


def _plus(append: Append, total: Tensor, part: Tensor, output: Tensor | None) -> Tensor:
    named = replace(total, name=f"{part.name}/sum" if output is None else output.name)
    append(Add, (total, part), named, dict[str, Any](ONE))
    return named


def _sized(x: Tensor, axis: int, count: int, name: str) -> Tensor:
    channels, height, width = x.shape
    shape = (channels, count, width) if axis == 1 else (channels, height, count)
    return replace(x, name=name, shape=shape)
