"""Kernel, stride and padding attributes that convolutions and pooling share."""

from __future__ import annotations

from dataclasses import dataclass

from steelyard.contract.limits import MAX_PADDED_KERNEL
from steelyard.importer.node import Node
from steelyard.network import Padding, Stride, output_size

WINDOW = ("auto_pad", "dilations", "kernel_shape", "pads", "strides")
"""Attributes that :func:`read_window` and its callers read."""


@dataclass(frozen=True)
class NodeWindow:
    """Geometry of a windowed layer.

    Members
    -------
    padding : top, left, bottom, right; a Pad node's included
    own_padding : the node's own part of it
    output_size : height and width
    ceil_excess : rows and columns that ceil_mode reads beyond the padded map
    """

    kernel: tuple[int, int]
    stride: Stride
    padding: Padding
    own_padding: Padding
    output_size: tuple[int, int]
    ceil_excess: tuple[int, int]

    @property
    def needs_pad(self) -> bool:
        """Whether the padding is more than a window may have, and must be a layer before it."""
        sides = zip((*self.kernel, *self.kernel), self.padding, strict=True)
        large = max(self.kernel) > MAX_PADDED_KERNEL and any(self.padding)
        return large or any(amount >= side for side, amount in sides)


def read_window(
    node: Node,
    kernel: tuple[int, int],
    size: tuple[int, int],
    before: Padding,
    dilated: bool = False,
) -> NodeWindow:
    """Window of a node over a map of `size`, with the padding of a Pad node `before` it.

    Parameters
    ----------
    dilated : whether `kernel` is as large as its dilations make it, else there are none

    Raises
    ------
    UserError
        If the node is dilated, a stride is below 1, or the kernel exceeds the map.
    """
    attributes = node.attributes
    if min(kernel) < 1:
        raise node.error(
            f"has a kernel of {kernel[0]}x{kernel[1]}, allowed are sizes from 1; use such a kernel."
        )
    dilations = tuple(attributes.get("dilations") or (1, 1))
    if any(step != 1 for step in dilations) and not dilated:
        raise node.error(
            f"has dilations {dilations}, allowed are (1, 1); use a larger kernel or stride."
        )
    strides = tuple(attributes.get("strides") or (1, 1))
    if len(strides) != 2 or min(strides) < 1:
        raise node.error(
            f"has strides {strides}, allowed are two, for height and width, from 1; "
            "use such strides."
        )
    stride = (int(strides[0]), int(strides[1]))
    own = _own_padding(node, kernel, size, stride, before)
    padding = (before[0] + own[0], before[1] + own[1], before[2] + own[2], before[3] + own[3])
    height, width = (
        size[0] + padding[0] + padding[2] - kernel[0],
        size[1] + padding[1] + padding[3] - kernel[1],
    )
    if height < 0 or width < 0:
        raise node.error(
            f"has a kernel of {kernel[0]}x{kernel[1]} for a padded map of {height + kernel[0]}x"
            f"{width + kernel[1]}, allowed is a kernel up to the map; use a smaller kernel."
        )
    rows, columns = output_size(size, kernel, stride, padding)
    excess = [0, 0]
    if attributes.get("ceil_mode"):
        for axis, (length, lead) in enumerate(((height, padding[0]), (width, padding[1]))):
            # A last window that would begin behind the map is not taken.
            step = stride[axis]
            begins = (length // step + 1) * step
            if length % step and begins < size[axis] + lead:
                excess[axis] = step - length % step
    taken = (rows + (excess[0] > 0), columns + (excess[1] > 0))
    return NodeWindow(kernel, stride, padding, own, taken, (excess[0], excess[1]))


def _own_padding(
    node: Node, kernel: tuple[int, int], size: tuple[int, int], stride: Stride, before: Padding
) -> Padding:
    mode = node.attributes.get("auto_pad")
    if mode == "VALID":
        return (0, 0, 0, 0)
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        first, last = [0, 0], [0, 0]
        for axis in (0, 1):
            length, step = size[axis] + before[axis] + before[axis + 2], stride[axis]
            total = max((-(-length // step) - 1) * step + kernel[axis] - length, 0)
            small, large = total // 2, total - total // 2
            first[axis], last[axis] = (small, large) if mode == "SAME_UPPER" else (large, small)
        return (first[0], first[1], last[0], last[1])
    if mode != "NOTSET":
        raise node.error(
            f"has auto_pad = {mode!r}, allowed are NOTSET, VALID, SAME_UPPER and SAME_LOWER; "
            "give the padding as pads."
        )
    pads = tuple(node.attributes.get("pads") or (0, 0, 0, 0))
    if len(pads) != 4 or min(pads) < 0:
        raise node.error(
            f"has pads {pads}, allowed are four counts (top, left, bottom, right) from 0; "
            "use such padding."
        )
    return (pads[0], pads[1], pads[2], pads[3])
