"""Weight packing: nonzero weights as (value, index) pairs in the order the array consumes them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...contract import AcceleratorConfig
from .config import ArrayConfig

__all__ = ["Schedule", "pack_weights"]

BLOCK_WEIGHTS = 1 << 22
"""Weights packed at once, which bounds the temporary memory."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """How the weight groups of a layer are cut.

    Members
    -------
    groups : groups of words of a tile
    taps : weight groups of an output channel that take one group of words, 1 or 3
    k, k_last : weights kept in each group, and in the last
    last_positions : real positions of the last group
    chunk_groups : groups of a chunk
    """

    groups: int
    k: int
    k_last: int
    last_positions: int
    chunk_groups: int
    taps: int = 1

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        return -(-self.groups // self.chunk_groups)

    @property
    def last_chunk_groups(self) -> int:
        """Groups of the last chunk, 1 to `chunk_groups`."""
        return self.groups - (self.chunks - 1) * self.chunk_groups

    @property
    def slots(self) -> int:
        """Weight items of one pass over all chunks."""
        return ((self.groups - 1) * self.k + self.k_last) * self.taps

    def chunk_slots(self, chunk: int) -> int:
        """Weight items of one pass over one chunk."""
        if chunk < self.chunks - 1:
            return self.chunk_groups * self.k * self.taps
        return ((self.last_chunk_groups - 1) * self.k + self.k_last) * self.taps


def _pairs(weights: NDArray[np.int8], k: int) -> NDArray[np.uint16]:
    """Kept weights as ``index << 8 | value``, uint16 (channels, groups, k), sorted by index."""
    channels, groups, group = weights.shape
    flat = weights.reshape(-1)
    place = np.flatnonzero(flat)
    row = place // group
    counts = np.bincount(row, minlength=channels * groups)
    rank = np.arange(len(place)) - (np.cumsum(counts) - counts)[row]
    pairs = np.zeros(channels * groups * k, np.uint16)
    value = flat[place].view(np.uint8).astype(np.uint16)
    pairs[row * k + rank] = value | (place % group).astype(np.uint16) << 8
    return pairs.reshape(channels, groups, k)


def _join_columns(
    pairs: NDArray[np.uint16], config: AcceleratorConfig[ArrayConfig]
) -> NDArray[np.uint32]:
    """Host words of weight items, uint32 (n, item_words), of pairs (n, columns)."""
    words = np.zeros((config.engine.weight_item_words, len(pairs)), np.uint32)
    for column in range(config.engine.columns):
        word, low = divmod(column * config.engine.weight_bits, 32)
        pair = pairs[:, column].astype(np.uint32)
        words[word] |= pair << np.uint32(low)
        if low + config.engine.weight_bits > 32:
            words[word + 1] |= pair >> np.uint32(32 - low)
    return words.T


def pack_weights(
    weights: NDArray[np.int8], schedule: Schedule, config: AcceleratorConfig[ArrayConfig]
) -> NDArray[np.uint32]:
    """Weight items of one descriptor, uint32 (passes * slots, item_words).

    Parameters
    ----------
    weights : int8 (out_channels, groups, group), at most ``schedule.k`` nonzeros a group
    """
    channels, groups, group = weights.shape
    columns, k = config.engine.columns, schedule.k
    passes = -(-channels // columns)
    items = np.zeros((passes * schedule.slots, config.engine.weight_item_words), np.uint32)
    step = max(1, BLOCK_WEIGHTS // (columns * groups * group))
    for first in range(0, passes, step):
        count = min(step, passes - first)
        block = weights[first * columns : (first + count) * columns]
        pairs = np.zeros((count * columns, groups, k), np.uint16)
        pairs[: len(block)] = _pairs(block, k)
        pairs = pairs.reshape(count, columns, groups * k).transpose(0, 2, 1)
        start = 0
        for chunk in range(schedule.chunks):
            slots = schedule.chunk_slots(chunk)
            low = chunk * schedule.chunk_groups * k * schedule.taps
            part = pairs[:, low : low + slots].reshape(count * slots, columns)
            at = start + first * slots
            items[at : at + count * slots] = _join_columns(part, config)
            start += passes * slots
    return items
