"""How long tiles take: the walk over the input, followed tile by tile for whatever computes.

The hardware is statically scheduled, so its time follows from the descriptor and the
configuration. Tiles whose segment counts repeat soon repeat their timing too; from then on whole
periods are skipped.

Cycle 0 is the one in which the engines see the sequencer's `go`, the first that a layer counts
unless it copies a table before.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import gcd
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..contract import AcceleratorConfig, Descriptor
from ..contract.descriptor import Operation
from ..contract.latencies import TABLE_CYCLES, settle

__all__ = ["Timing", "follow", "joined", "reads", "segments", "walker"]


def walker(config: AcceleratorConfig) -> Callable[[int, int], int]:
    """When the next tile is taken, of when the one before was taken and when it was loaded.

    The walker describes a tile while the one before is loaded, or without `ahead` after that.
    """
    if not config.load.ahead:
        return lambda taken, loaded: loaded + config.engine.lanes
    return lambda taken, loaded: max(loaded, taken + config.engine.lanes + 1)


class Timing(Protocol):
    """Timing of what computes, between two tiles."""

    def tile(self, segments: int, joined: bool) -> None:
        """Carry out the next tile, whose words take `segments` aligned reads each.

        Its first lane lies in the same row as the last of the tile before if it is `joined`.
        """

    def state(self) -> tuple[int, tuple[int, ...]]:
        """A reference cycle, and all that the future depends on, relative to it."""

    def waited(self) -> tuple[int, ...]:
        """Cycles waited so far, by cause."""

    def shift(self, cycles: int, waits: Sequence[int]) -> None:
        """Let everything have happened `cycles` later, after so many more of :meth:`waited`."""

    def quiet(self) -> int:
        """Last cycle in which a unit is active."""


def period(descriptor: Descriptor, lanes: int) -> int:
    """Tiles after which the walk over the input repeats, whole tiles alone."""
    row = descriptor.out_w * descriptor.batch
    return row // gcd(row, lanes)


def segments(descriptor: Descriptor, config: AcceleratorConfig) -> NDArray[np.int64]:
    """Aligned reads that each tile needs for one window word, int64 (out_tiles,), read-only."""
    d, lanes = descriptor, config.engine.lanes
    longest = config.banks // 2 if d.step2 else lanes
    walk = (
        d.out_tiles, d.last_lanes, d.out_w, d.batch, d.delta_pixel, d.delta_row, d.step2,
        d.skipped_columns,
    )  # fmt: skip
    return _segments(*walk, lanes, longest)


# A network is planned for many configurations that walk alike.
@lru_cache(maxsize=1 << 10)
def _segments(
    out_tiles: int, last_lanes: int, out_w: int, batch: int, delta_pixel: int, delta_row: int,
    step2: int, skipped: int, lanes: int, longest: int,
) -> NDArray[np.int64]:  # fmt: skip
    """The same of fields of a descriptor, lanes, and the pixels that a read gives."""
    pixel = delta_pixel + batch - 1
    row = (out_w - 1) * pixel + delta_row + batch - 1
    if not step2 and row == out_w * batch and (pixel == batch or out_w == 1):
        result = np.ones(out_tiles, np.int64)
        result.setflags(write=False)
        return result
    # One period and, behind it, the last tile, which may have fewer lanes.
    repeat = out_w * batch // gcd(out_w * batch, lanes)
    tile = np.append(np.arange(min(repeat, out_tiles)), out_tiles - 1)
    valid = np.full(len(tile), lanes)
    valid[-1] = last_lanes
    step = 2 if step2 else 1
    count = np.zeros(len(tile), np.int64)
    length = np.zeros(len(tile), np.int64)
    expected = np.full(len(tile), -1)
    for lane in range(lanes):
        place, image = np.divmod(tile * lanes + lane + skipped * batch, batch)
        y, x = np.divmod(place, out_w)
        origin = y * row + x * pixel + image
        begins = (origin != expected) | (length == longest)
        count += begins & (lane < valid)
        length = np.where(begins, 1, length + 1)
        expected = origin + step
    result = np.resize(count[:-1], out_tiles)
    result[-1] = count[-1]
    result.setflags(write=False)
    return result


def joined(descriptor: Descriptor, config: AcceleratorConfig) -> NDArray[np.bool_]:
    """Whether tiles begin within a row, bool (out_tiles,)."""
    lanes = np.arange(descriptor.out_tiles) * config.engine.lanes
    lanes += descriptor.skipped_columns * descriptor.batch
    return np.asarray(lanes % (descriptor.out_w * descriptor.batch) != 0)


def reads(descriptor: Descriptor, config: AcceleratorConfig) -> int:
    """Cycles in which the loader reads for a layer: a segment of a word each."""
    d = descriptor
    words = d.kernel_h * d.kernel_w * d.in_channels * (2 if Operation(d.op).joins else 1)
    each = d.ring * int(segments(d, config).sum())
    if d.ring > 1:
        each += int(joined(d, config).sum())
    return words * each


def follow(timing: Timing, descriptor: Descriptor, config: AcceleratorConfig) -> int:
    """Cycles of a layer whose tiles take as long as `timing` says."""
    d = descriptor
    needed = segments(d, config).tolist()
    within = joined(d, config).tolist() if d.ring > 1 else [False] * d.out_tiles
    same = min(needed) == max(needed) and not any(within)
    repeat = 1 if same else period(d, config.engine.lanes)
    # Tiles done, the cycle and the waits then, by phase of the walk and state of the engine.
    seen: dict[tuple[int, tuple[int, ...]], tuple[int, int, tuple[int, ...]]] = {}
    done, last = 0, d.out_tiles - 1
    while done < last:
        timing.tile(needed[done], within[done])
        done += 1
        now, state = timing.state()
        key = (done % repeat, state)
        if key in seen:
            before, then, waits = seen[key]
            tiles = done - before
            periods = (last - done) // tiles
            more = [
                periods * (late - early) for late, early in zip(timing.waited(), waits, strict=True)
            ]
            timing.shift(periods * (now - then), more)
            done += periods * tiles
            seen.clear()
        else:
            seen[key] = done, now, timing.waited()
    timing.tile(needed[last], within[last])
    # After the last activity the sequencer starts its count of quiet cycles anew and ends at 0.
    return timing.quiet() + settle(config) + 2 + TABLE_CYCLES * d.table
