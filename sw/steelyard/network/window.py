"""Windows that slide over a map: their geometry, their check and their arithmetic in blocks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..contract.limits import MAX_KERNEL, MAX_PADDED_KERNEL
from ..errors import UserError
from .arithmetic import Block
from .checks import check_integer

__all__ = ["Padding", "Stride", "Window", "output_size", "pad", "reduce_windows"]

Padding = tuple[int, int, int, int]
"""Top, left, bottom and right."""

Stride = tuple[int, int]
"""Rows and columns from a window to the next."""


@dataclass(frozen=True)
class Window:
    """How a layer reads its input; by default pixel by pixel.

    Members
    -------
    kernel : height and width
    stride : rows and columns from a window to the next
    padding : top, left, bottom, right
    """

    kernel: tuple[int, int] = (1, 1)
    stride: Stride = (1, 1)
    padding: Padding = (0, 0, 0, 0)

    def check(self, max_stride: int) -> None:
        """Refuse a window that no walk over a map takes.

        Raises
        ------
        UserError
            If the kernel, the stride or the padding is out of range.
        """
        kernel, padding = self.kernel, self.padding
        if len(kernel) != 2 or len(padding) != 4:
            raise UserError(
                "the kernel must be (height, width) and the padding (top, left, bottom, right), "
                f"not {kernel!r} and {padding!r}."
            )
        if not isinstance(self.stride, tuple) or len(self.stride) != 2:
            raise UserError(f"the stride must be (rows, columns), not {self.stride!r}.")
        limit = MAX_PADDED_KERNEL if any(padding) else MAX_KERNEL
        condition = "with" if any(padding) else "without"
        for side, size in zip(("height", "width"), kernel, strict=True):
            check_integer(f"kernel {side} {condition} padding", size, 1, limit)
        for step in self.stride:
            check_integer("stride", step, 1, max_stride)
        for side, size, value in zip(
            ("top", "left", "bottom", "right"), (*kernel, *kernel), padding, strict=True
        ):
            # A window must meet the map: padding as large as the kernel would leave it outside.
            what = f"{side} padding of a kernel of {kernel[0]}x{kernel[1]}"
            check_integer(what, value, 0, size - 1)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the output for a map's.

        Raises
        ------
        UserError
            If the kernel is larger than the padded map.
        """
        return output_size(size, self.kernel, self.stride, self.padding)


def output_size(
    size: tuple[int, int], kernel: tuple[int, int], stride: Stride, padding: Padding
) -> tuple[int, int]:
    """Height and width of a windowed layer's output.

    Raises
    ------
    UserError
        If the kernel is larger than the padded map.
    """
    top, left, bottom, right = padding
    height = size[0] + top + bottom - kernel[0]
    width = size[1] + left + right - kernel[1]
    if height < 0 or width < 0:
        raise UserError(
            f"A kernel of {kernel[0]}x{kernel[1]} does not fit a padded map of "
            f"{size[0] + top + bottom}x{size[1] + left + right}; use a smaller kernel."
        )
    return height // stride[0] + 1, width // stride[1] + 1


def pad(x: Block, padding: Padding, value: int, dtype: type) -> NDArray:
    """Block with `value` around every map, as `dtype`."""
    top, left, bottom, right = padding
    channels, height, width, images = x.shape
    shape = (channels, height + top + bottom, width + left + right, images)
    padded = np.full(shape, value, dtype) if any(padding) else np.empty(shape, dtype)
    padded[:, top : top + height, left : left + width] = x
    return padded


def reduce_windows(
    x: NDArray, kernel: tuple[int, int], stride: Stride, combine: np.ufunc
) -> NDArray:
    """`combine` over every window of a padded block, first down the rows, then along them."""
    for axis, size, step in zip((1, 2), kernel, stride, strict=True):
        span = ((x.shape[axis] - size) // step) * step + 1
        lead = (slice(None),) * axis
        result = x[(*lead, slice(0, span, step))].copy()
        for tap in range(1, size):
            combine(result, x[(*lead, slice(tap, tap + span, step))], out=result)
        x = result
    return x
