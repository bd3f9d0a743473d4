"""Windows of convolutions and pooling: TFLite's options as one stride and four paddings."""

from __future__ import annotations

from dataclasses import dataclass

from steelyard.importer.tflite.file import Operator
from steelyard.network import Padding, output_size

__all__ = ["OpWindow", "read_window"]


@dataclass(frozen=True)
class OpWindow:
    """Geometry of a windowed operator.

    Members
    -------
    kernel : height and width
    stride : one that gives the operator's output
    padding : top, left, bottom, right
    size : height and width of the output
    """

    kernel: tuple[int, int]
    stride: int
    padding: Padding
    size: tuple[int, int]


def read_window(op: Operator, kernel: tuple[int, int], size: tuple[int, int]) -> OpWindow:
    """Window of an operator over a map of `size`.

    Raises
    ------
    UserError
        If the operator is dilated, its strides differ where that matters, or the kernel does not
        fit the map.
    """
    import tflite

    options = op.options
    for side, length in zip("HW", kernel, strict=True):
        dilation = options.get(f"Dilation{side}Factor", 1)
        if dilation != 1 and length > 1:
            raise op.error(
                f"has a dilation of {dilation}, allowed is 1; use a larger kernel or stride."
            )
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
    for stride in (1, *sorted(strides)):
        if output_size(size, kernel, stride, padding) == tuple(wanted):
            return OpWindow(kernel, stride, padding, (wanted[0], wanted[1]))
    raise op.error(
        f"has strides {strides}, allowed is one stride for height and width; use equal strides."
    )
