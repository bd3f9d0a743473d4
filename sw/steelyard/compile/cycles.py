"""Cycle model of the sparse array: exactly how long it takes for a descriptor, by its schedule.

Layers with weights on the crossbar tile are not of it: `compile.crossbar.estimate` bounds these.

The array is statically scheduled, so its time follows from the descriptor and the
configuration: the walker, the loader and the array are followed tile by tile and group by group,
passes in closed form. Tiles whose segment counts repeat soon repeat their timing too; from then on
whole periods are skipped.

Cycle 0 is the one in which the engines see the sequencer's `go`, the first that a layer counts.
The gateware's latencies are those of :mod:`steelyard.contract.latencies`.
"""

from collections import deque
from collections.abc import Callable, Iterable
from math import gcd
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ..contract.accelerator import ArrayConfig
from ..contract.descriptor import Descriptor, Operation
from ..contract.latencies import (
    BETWEEN,
    MINIMUM_DRAIN,
    VECTOR_LATENCY,
    array_latency,
    loader_latency,
    settle,
)
from ..contract.tile import TileConfig

if TYPE_CHECKING:
    from ..program import LayerEntry, Program

__all__ = ["layer_cycles", "predict", "predict_program", "predict_total"]


def walker(config: ArrayConfig) -> Callable[[int, int], int]:
    """When the next tile is taken, of when the one before was taken and when it was loaded.

    The walker describes a tile while the one before is loaded, or with `compact` after that.
    """
    if config.compact:
        return lambda taken, loaded: loaded + config.lanes
    return lambda taken, loaded: max(loaded, taken + config.lanes + 1)


class Engine(Protocol):
    """Timing of the engines between two tiles."""

    def tile(self, segments: int) -> None:
        """Carry out the next tile, whose words take `segments` aligned reads each."""

    def state(self) -> tuple[int, tuple[int, ...]]:
        """A reference cycle, and all that the future depends on, relative to it."""

    def shift(self, cycles: int) -> None:
        """Let everything have happened `cycles` later."""

    def quiet(self) -> int:
        """Last cycle in which a unit is active."""


class Convolution:
    """Loader, array and drain during a convolution."""

    def __init__(self, descriptor: Descriptor, config: ArrayConfig) -> None:
        d = self._descriptor = descriptor
        self._walked = walker(config)
        self._group = config.group
        # Cycles without an item between two passes.
        self._gap = int(config.compact)
        self._latency = array_latency(config)
        self._loader_latency = loader_latency(config)
        self._last_drain = d.last_columns * config.drain_cycles
        self._columns_drain = max(config.columns * config.drain_cycles, MINIMUM_DRAIN)
        self._last_interval = max(self._last_drain, MINIMUM_DRAIN)
        whole = [(config.group, d.k)] * d.chunk_groups
        last = [(config.group, d.k)] * (d.last_chunk_groups - 1) + [(d.last_positions, d.k_last)]
        # Positions to load and items to issue of each group of each chunk.
        self._chunks = [whole] * (d.chunks - 1) + [last]
        self._taken = 0
        self._loaded = 0
        self._issued = 0
        self._drained = 0
        self._released = deque([0] * config.window_groups)

    def tile(self, segments: int) -> None:
        """Carry out the next tile, whose words take `segments` aligned reads each."""
        d, released = self._descriptor, self._released
        # The walker starts over when its tile is taken; the first tile starts with the layer.
        self._taken = loaded = self._walked(self._taken, self._loaded)
        issued = self._issued
        for groups in self._chunks:
            issued += self._gap
            ends = []
            for positions, items in groups:
                # A group takes the place of the one released a whole ring before.
                loaded = max(loaded, released.popleft()) + positions * segments
                issued = max(issued, loaded + self._loader_latency) + items
                ends.append(issued)
            # The last item of a pass waits until the columns have given away the sums before.
            issued = ends[-1] = max(issued, self._drained)
            if d.passes > 1:
                slots = sum(items for _, items in groups)
                interval = max(slots + self._gap, self._columns_drain)
                last_pass = issued + (d.passes - 2) * interval
                issued = last_pass + interval
                begin = last_pass + self._gap
                ends = [begin + d.k * (n + 1) for n in range(len(groups) - 1)] + [issued]
            released.extend(ends)
            self._drained = issued + self._last_interval
        self._loaded, self._issued = loaded, issued

    def state(self) -> tuple[int, tuple[int, ...]]:
        """A reference cycle, and all that the future depends on, relative to it."""
        now = self._loaded
        # What the loader has already passed no longer holds it up.
        return now, (
            self._walked(self._taken, now) - now,
            self._issued - now,
            self._drained - now,
            *[cycle - now if cycle > now else 0 for cycle in self._released],
        )

    def shift(self, cycles: int) -> None:
        """Let everything have happened `cycles` later."""
        self._taken += cycles
        self._loaded += cycles
        self._issued += cycles
        self._drained += cycles
        self._released = deque(cycle + cycles for cycle in self._released)

    def quiet(self) -> int:
        """Last cycle in which a unit is active: the last beat leaves the columns."""
        return self._issued + self._latency + self._last_drain


class Vector:
    """Loader and vector unit during pooling or a residual add."""

    def __init__(self, descriptor: Descriptor, config: ArrayConfig) -> None:
        d = descriptor
        add = d.op == Operation.ADD
        self._walked = walker(config)
        self._beats = config.drain_cycles
        self._loader_latency = loader_latency(config)
        self._taps = 1 if add else d.kernel_w * d.kernel_h
        self._words = (2 if add else 1) * d.in_channels
        self._taken = 0
        self._loaded = 0
        self._free = 0

    def tile(self, segments: int) -> None:
        """Carry out the next tile, whose words take `segments` aligned reads each."""
        reads = self._taps * segments
        self._taken = self._walked(self._taken, self._loaded)
        # A finished word waits until the vector unit has given away the one before.
        first = max(self._taken + reads, self._free)
        self._loaded = first + (self._words - 1) * max(reads, self._beats)
        self._free = self._loaded + self._beats

    def state(self) -> tuple[int, tuple[int, ...]]:
        """A reference cycle, and all that the future depends on, relative to it."""
        return self._loaded, (self._walked(self._taken, self._loaded) - self._loaded,)

    def shift(self, cycles: int) -> None:
        """Let everything have happened `cycles` later."""
        self._taken += cycles
        self._loaded += cycles
        self._free += cycles

    def quiet(self) -> int:
        """Last cycle in which a unit is active: the last beat leaves the vector unit."""
        return self._loaded + self._loader_latency + VECTOR_LATENCY + self._beats - 1


def period(descriptor: Descriptor, lanes: int) -> int:
    """Tiles after which the walk over the input repeats, whole tiles alone."""
    row = descriptor.out_w * descriptor.batch
    return row // gcd(row, lanes)


def segments(descriptor: Descriptor, lanes: int) -> NDArray[np.int64]:
    """Aligned reads that each tile needs for one window word, int64 (out_tiles,)."""
    d = descriptor
    if d.stride == 1 and d.out_w == d.in_w:
        return np.ones(d.out_tiles, np.int64)
    # One period and, behind it, the last tile, which may have fewer lanes.
    tile = np.append(np.arange(min(period(d, lanes), d.out_tiles)), d.out_tiles - 1)
    valid = np.full(len(tile), lanes)
    valid[-1] = d.last_lanes
    step, longest = (2, lanes // 2) if d.step2 else (1, lanes)
    count = np.zeros(len(tile), np.int64)
    length = np.zeros(len(tile), np.int64)
    expected = np.full(len(tile), -1)
    for lane in range(lanes):
        place, image = np.divmod(tile * lanes + lane, d.batch)
        y, x = np.divmod(place, d.out_w)
        origin = (y * d.in_w + x) * d.stride * d.batch + image
        begins = (origin != expected) | (length == longest)
        count += begins & (lane < valid)
        length = np.where(begins, 1, length + 1)
        expected = origin + step
    result = np.resize(count[:-1], d.out_tiles)
    result[-1] = count[-1]
    return result


def predict(descriptor: Descriptor, config: ArrayConfig) -> int:
    """Cycles of a layer, exactly what the accelerator's first counter of the layer will say.

    Parameters
    ----------
    descriptor : of a layer that fits the configuration; on the crossbar tile, of a layer without
        weights

    Raises
    ------
    ValueError
        If it is a convolution of the crossbar tile, whose time its operation units decide.
    """
    d = descriptor
    if d.op == Operation.CONV and isinstance(config, TileConfig):
        raise ValueError(
            "The cycles of a tile's convolution follow from its operation units, of which the "
            "descriptor says nothing; take those of the compiled program (predict_program)"
        )
    engine: Engine = (Convolution if d.op == Operation.CONV else Vector)(d, config)
    reads = segments(d, config.lanes).tolist()
    repeat = 1 if min(reads) == max(reads) else period(d, config.lanes)
    # Tiles done and the cycle then, by phase of the walk and state of the engine.
    seen: dict[tuple[int, tuple[int, ...]], tuple[int, int]] = {}
    done, last = 0, d.out_tiles - 1
    while done < last:
        engine.tile(reads[done])
        done += 1
        now, state = engine.state()
        key = (done % repeat, state)
        if key in seen:
            tiles, cycles = done - seen[key][0], now - seen[key][1]
            periods = (last - done) // tiles
            engine.shift(periods * cycles)
            done += periods * tiles
            seen.clear()
        else:
            seen[key] = done, now
    engine.tile(reads[last])
    # After the last activity the sequencer starts its count of quiet cycles anew and ends at 0.
    return engine.quiet() + settle(config) + 2


def predict_total(descriptors: Iterable[Descriptor], config: ArrayConfig) -> int:
    """Cycles from START to the end of these layers, exactly what the total register will say.

    Beside its own cycles each layer takes the fetch of its descriptor, one cycle to start, and the
    store of its counters.

    Raises
    ------
    ValueError
        If one is a convolution of the crossbar tile.
    """
    return sum(predict(d, config) + BETWEEN for d in descriptors)


def predict_program(program: "Program") -> int:
    """Cycles of a batch from START to the end of the last layer.

    For the array exactly what the total register will say; for the crossbar tile a bound, which
    steps that are skipped, as the activations decide, undercut.
    """
    return sum(map(layer_cycles, program.layers))


def layer_cycles(entry: "LayerEntry") -> int:
    """Part of a layer in :func:`predict_program`."""
    return entry.predicted_cycles + entry.count * BETWEEN
