"""Three taps of a row from one word: which layers can, and the order of their weight groups."""

from typing import TypeVar
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ...contract import AcceleratorConfig, Descriptor
from ...network import Conv
from ..proof import OFFSET, Bounds, GroupedWeights
from .config import ArrayConfig

__all__ = ["TAPS", "bounds_by_rows", "by_rows", "shared", "shares"]

GroupT = TypeVar("GroupT", bound=np.generic)

TAPS = 3
"""Taps that take one word: of the pixels left of the lanes, of their own and right of them."""


def shares(base: Descriptor, bounds: Bounds, config: AcceleratorConfig[ArrayConfig]) -> bool:
    """Whether the words of a convolution with rows of three taps can serve three taps each.

    Lanes must follow each other as the pixels of the map do, or as every second of each row. What
    lies beyond a row's ends counts as the least code, which is no product.

    Parameters
    ----------
    base : descriptor of the convolution without its schedule; a group is of one row and tap
    bounds : of its weight groups, in the order of :func:`by_rows`
    """
    follow = base.stride_w == base.stride_h == 1 and base.out_w == base.in_w
    second = base.step2 and 2 * base.out_w <= base.in_w + 1
    return (
        config.engine.shared_taps
        and base.batch == 1
        and bool(follow or second)
        and base.x_origin == -1
        and base.pad_value == -OFFSET
        and bounds.overflowing_channel(TAPS, config.engine.accumulator_bits) is None
    )


def shared(base: Descriptor) -> Descriptor:
    """Descriptor whose words serve three taps: the loader goes through the left ones alone, at
    stride 2 through the middle ones, behind each group of which come those right of them."""
    if base.step2:
        return base.but(shared=1, kernel_w=1, tap_row=base.in_w - 1, origin=base.origin + 1)
    return base.but(shared=1, kernel_w=1, tap_row=base.in_w)


def by_rows(layer: Conv, groups: NDArray[GroupT]) -> NDArray[GroupT]:
    """Weight groups by row of the kernel, channels and tap, as shared words take them.

    At stride 2 the middle tap comes first: its words are others than those of both its neighbours.

    Parameters
    ----------
    groups : anything of each group, (out_channels, groups, ...), by row, tap and channels
    """
    channels, _, rows, taps = layer.weight.shape
    split = groups.reshape(channels, rows, taps, -1, *groups.shape[2:])
    if layer.window.stride[1] == 2:
        split = split[:, :, [1, 0, 2]]
    return np.ascontiguousarray(split.swapaxes(2, 3)).reshape(groups.shape)


_BY_ROWS: WeakKeyDictionary[GroupedWeights, Bounds] = WeakKeyDictionary()


def bounds_by_rows(layer: Conv, weights: GroupedWeights) -> Bounds:
    """Bounds of a layer's weight groups in the order of :func:`by_rows`, ordered once."""
    if weights not in _BY_ROWS:
        bounds = weights.bounds
        _BY_ROWS[weights] = Bounds(by_rows(layer, bounds.low), by_rows(layer, bounds.high))
    return _BY_ROWS[weights]
