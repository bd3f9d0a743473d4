"""Windows of convolutions and pooling: TFLite's options as strides and four paddings."""

from __future__ import annotations

from dataclasses import dataclass

from steelyard.importer.tflite.file import Operator
from steelyard.network import Padding, Stride

__all__ = ["OpWindow", "read_window"]


@dataclass(frozen=True)
class OpWindow:
    """Geometry of a windowed operator.

    Members
    -------
    kernel : height and width
    stride : rows and columns that give the operator's output
    padding : top, left, bottom, right
    size : height and width of the output
    """

    kernel: tuple[int, int]
    stride: Stride
    padding: Padding
    size: tuple[int, int]


def read_window(op: Operator, kernel: tuple[int, int], size: tuple[int, int]) -> OpWindow:
    """Window of an operator over a map of `size`.

    Parameters
    ----------
    kernel : height and width, as a dilation makes them

    Raises
    ------
    UserError
        If the kernel does not fit the map.
    """
    import tflite

    options = op.options
    strides = (options["StrideH"], options["StrideW"])
    if min(strides) < 1 or min(kernel) < 1:
        raise op.error(
            f"has a kernel of {kernel[0]}x{kernel[1]} and strides {strides}, allowed are numbers "
            "from 1; convert the network again."
        )
    known = (tflite.Padding.SAME, tflite.Padding.VALID)
    if options["Padding"] not in known:
        raise op.error(
            f"has padding number {options['Padding']}, allowed are SAME ({known[0]}) and VALID "
            f"({known[1]}); convert the network again."
        )
    same = options["Padding"] == tflite.Padding.SAME
    ends, wanted = [], []
    for length, span, stride in zip(size, kernel, strides, strict=True):
        outputs = -(-length // stride) if same else (length - span) // stride + 1
        total = max((outputs - 1) * stride + span - length, 0) if same else 0
        if outputs < 1:
            raise op.error(
                f"has a kernel of {kernel[0]}x{kernel[1]} for a map of {size[0]}x{size[1]}, "
                "allowed is a kernel up to the map; use a smaller kernel."
            )
        # The odd one is below or on the right.
        ends.append((total // 2, total - total // 2))
        wanted.append(outputs)
    padding = (ends[0][0], ends[1][0], ends[0][1], ends[1][1])
    # An axis with one output takes any stride that has no second one; small ones suit every layer.
    down, along = (
        1 if count == 1 and length + sum(end) - span < 1 else step
        for count, length, end, span, step in zip(wanted, size, ends, kernel, strides, strict=True)
    )
    return OpWindow(kernel, (down, along), padding, (wanted[0], wanted[1]))
