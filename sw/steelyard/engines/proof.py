"""Proof that no integer of a layer can overflow, from its actual weights and any int8 input."""

from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ..errors import DoesNotFit
from ..network import Conv

__all__ = [
    "OFFSET",
    "Bounds",
    "GroupedWeights",
    "fold_bias",
    "group_bounds",
    "grouped",
    "overflowing_channel",
    "weights_by_group",
]

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1

OFFSET = 128
"""What the array adds to every activation, so that its multipliers take unsigned bytes."""

MOST_INPUT = 255
"""Greatest activation with that offset."""


@dataclass(frozen=True, eq=False)
class Bounds:
    """Least and greatest sum of each weight group over offset inputs.

    Members
    -------
    low, high : int64 (out_channels, groups)
    """

    low: NDArray[np.int64]
    high: NDArray[np.int64]
    _known: dict[tuple[int, int], tuple[int, int] | None] = field(default_factory=dict, repr=False)

    def overflowing_channel(self, chunk_groups: int, bits: int) -> tuple[int, int] | None:
        """First channel of which some chunk could leave a signed accumulator, and its bits.

        Found once for every length of chunks: a network is planned for many configurations.
        """
        key = chunk_groups, bits
        if key not in self._known:
            self._known[key] = overflowing_channel(self.low, self.high, chunk_groups, bits)
        return self._known[key]


def grouped(weight: NDArray[np.int8], group: int) -> NDArray[np.int8]:
    """Weights along the flattened (ky, kx, ic) axis, int8 (out_channels, groups, group).

    The last group is filled with zeros.
    """
    flat = weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
    groups = -(-flat.shape[1] // group)
    padded = np.zeros((len(weight), groups * group), np.int8)
    padded[:, : flat.shape[1]] = flat
    return padded.reshape(len(weight), groups, group)


@dataclass(frozen=True, kw_only=True, eq=False)
class GroupedWeights:
    """What plans take of a layer's weights, whatever the configuration but its groups.

    Members
    -------
    counts : nonzero weights of each group, uint8 (out_channels, groups)
    bounds : of each group
    nnz : weights that are not zero
    """

    counts: NDArray[np.uint8]
    bounds: Bounds
    nnz: int
    _folded: dict[int, NDArray[np.int32]] = field(default_factory=dict, repr=False)

    def folded_bias(self, layer: Conv, zero_point: int) -> NDArray[np.int32]:
        """:func:`fold_bias` of the layer that they are of, read-only.

        Raises
        ------
        DoesNotFit
            As there.
        """
        if zero_point not in self._folded:
            bias = fold_bias(layer.name, layer.bias, zero_point, self.bounds)
            bias.setflags(write=False)
            self._folded[zero_point] = bias
        return self._folded[zero_point]


_GROUPED: WeakKeyDictionary[Conv, dict[int, GroupedWeights]] = WeakKeyDictionary()


def weights_by_group(layer: Conv, group: int) -> GroupedWeights:
    """What the groups of a layer's weights hold.

    Counted once for every length of groups: a network is planned for many configurations.
    """
    known = _GROUPED.setdefault(layer, {})
    if group not in known:
        weights = grouped(layer.weight, group)
        counts = np.count_nonzero(weights, axis=2).astype(np.uint8)
        known[group] = GroupedWeights(
            counts=counts, bounds=group_bounds(weights), nnz=int(counts.sum(dtype=np.int64))
        )
    return known[group]


def group_bounds(weights: NDArray[np.int8]) -> Bounds:
    """Bounds of grouped weights, int8 (out_channels, groups, group)."""
    total = weights.sum(axis=2, dtype=np.int32)
    # The array keeps activations offset by 128: they lie between 0 and 255.
    # The magnitude of -128 wraps to itself in int8 and reads 128 as an unsigned byte.
    magnitude = np.abs(weights).view(np.uint8).sum(axis=2, dtype=np.int32)
    positive, negative = (magnitude + total) // 2, (magnitude - total) // 2
    return Bounds(np.int64(-MOST_INPUT) * negative, np.int64(MOST_INPUT) * positive)


def overflowing_channel(
    low: NDArray[np.int64], high: NDArray[np.int64], chunk_groups: int, bits: int
) -> tuple[int, int] | None:
    """First channel of which some chunk could leave a signed accumulator, and the bits it needs.

    Every prefix of a chunk's sum lies within the chunk's bounds, so its end decides.

    Parameters
    ----------
    low, high : bounds of each group, int64 (out_channels, groups)
    """
    starts = np.arange(0, low.shape[1], chunk_groups)
    least = np.add.reduceat(low, starts, axis=1).min(axis=1)
    most = np.add.reduceat(high, starts, axis=1).max(axis=1)
    reach = np.maximum(-least - 1, most)
    bad = np.flatnonzero(reach >= 1 << bits - 1)
    if not len(bad):
        return None
    return int(bad[0]), int(reach[bad[0]]).bit_length() + 1


def fold_bias(
    layer: str, bias: NDArray[np.int32], zero_point: int, bounds: Bounds
) -> NDArray[np.int32]:
    """Bias with the correction of zero point and offset: ``bias - (zero_point + 128) * sum(w)``.

    Parameters
    ----------
    bounds : of all groups of the layer's weights

    Raises
    ------
    DoesNotFit
        If it, the sum of all groups, or both together could leave 32 bits; names the layer.
    """
    low, high = bounds.low.sum(axis=1), bounds.high.sum(axis=1)
    totals = (low + high) // MOST_INPUT
    folded = bias.astype(np.int64) - (zero_point + OFFSET) * totals
    reach_low = np.minimum(np.minimum(low, folded), low + folded)
    reach_high = np.maximum(np.maximum(high, folded), high + folded)
    bad = np.flatnonzero((reach_low < INT32_MIN) | (reach_high > INT32_MAX))
    if len(bad):
        channel = int(bad[0])
        raise DoesNotFit(
            f"Layer {layer!r} can reach sums from {reach_low[channel]} to {reach_high[channel]} in "
            f"output channel {channel}, which 32 bits do not hold; use smaller weights or bias."
        )
    return folded.astype(np.int32)
