"""Cycle model of the array: loader, columns and drain, group by group, passes in closed form."""

from collections import deque
from collections.abc import Sequence
from itertools import accumulate

from ...contract import AcceleratorConfig, Descriptor
from ...contract.latencies import (
    MINIMUM_DRAIN,
    TABLE_CYCLES,
    array_latency,
    loader_latency,
    settle,
)
from ..timing import follow, reads, walker
from .config import ArrayConfig

__all__ = ["convolution_busy", "convolution_counts", "convolution_cycles"]


MOST_KNOWN = 1 << 16
"""Walks whose cycles are kept."""
_KNOWN: dict[tuple[int, ...], int] = {}
"""Cycles of convolutions without what comes after the last pass, by :func:`_decisive`. Networks
repeat blocks, layers are cut into equal pieces, and configurations that are tried one after the
other differ in what does not matter to most layers."""


def convolution_cycles(descriptor: Descriptor, config: AcceleratorConfig[ArrayConfig]) -> int:
    """Cycles of a convolution, exactly what the accelerator's first counter of it will say."""
    after = array_latency(config) + settle(config) + TABLE_CYCLES * descriptor.table
    key = _decisive(descriptor, config)
    known = _KNOWN.get(key)
    if known is None:
        if len(_KNOWN) >= MOST_KNOWN:
            _KNOWN.clear()
        known = follow(Convolution(descriptor, config), descriptor, config) - after
        _KNOWN[key] = known
    return known + after


def _decisive(d: Descriptor, config: AcceleratorConfig[ArrayConfig]) -> tuple[int, ...]:
    """All that :class:`Convolution` and the walk read, up to the end of the last pass."""
    engine, several = config.engine, d.passes > 1
    return (
        engine.lanes, engine.group, engine.window_groups, engine.carry_registers,
        config.banks, config.load.ahead, loader_latency(config),
        d.last_columns * config.drain_cycles,
        engine.columns * config.drain_cycles if several else 0,
        config.drain_beats if d.fused else 1,
        d.ring, d.taps, d.k, d.k_last, d.last_positions, d.passes,
        d.chunks, d.last_chunk_groups, d.chunk_groups if d.chunks > 1 else 0,
        d.out_tiles, d.last_lanes, d.out_w, d.batch, d.delta_pixel, d.delta_row, d.step2,
    )  # fmt: skip


def convolution_busy(
    descriptor: Descriptor, config: AcceleratorConfig[ArrayConfig]
) -> dict[str, int]:
    """Cycles that loading, the array and its drain would take for a convolution, each alone.

    The array issues the items of every pass; each pass of each chunk ends with sums that leave the
    columns; the loader reads every position of the window once a tile.
    """
    d = descriptor
    gaps = d.chunks * int(not config.engine.carry_registers)
    drain = max(config.engine.columns * config.drain_cycles, MINIMUM_DRAIN)
    last = max(d.last_columns * config.drain_cycles, MINIMUM_DRAIN)
    return {
        "engine": d.out_tiles * d.passes * (_slots(d) + gaps),
        "loading": reads(d, config),
        "draining": d.out_tiles * d.chunks * ((d.passes - 1) * drain + last),
    }


def convolution_counts(
    descriptor: Descriptor, config: AcceleratorConfig[ArrayConfig]
) -> dict[str, int]:
    """What the counters of the array will say of a convolution, exactly, by their names.

    Weights are there before they are needed, so that the array never waits for them.
    """
    timing = Convolution(descriptor, config)
    cycles = follow(timing, descriptor, config)
    load, drain = timing.waited()
    channels = (descriptor.passes - 1) * config.engine.columns + descriptor.last_columns
    return {
        "cycles": cycles,
        "issue": descriptor.out_tiles * descriptor.passes * _slots(descriptor),
        "stall_load": load,
        "stall_weights": 0,
        "stall_drain": drain,
        "words_written": descriptor.out_tiles * channels,
    }


def _slots(descriptor: Descriptor) -> int:
    """Weight items of a pass over all chunks."""
    d = descriptor
    return ((d.groups - 1) * d.k + d.k_last) * d.taps


class Convolution:
    """Loader, array and drain during a convolution."""

    def __init__(self, descriptor: Descriptor, config: AcceleratorConfig[ArrayConfig]) -> None:
        d = self._descriptor = descriptor
        self._walked = walker(config)
        self._group = config.engine.group
        # Cycles without an item between two passes.
        self._gap = int(not config.engine.carry_registers)
        self._latency = array_latency(config)
        self._loader_latency = loader_latency(config)
        self._last_drain = d.last_columns * config.drain_cycles
        self._columns_drain = max(config.engine.columns * config.drain_cycles, MINIMUM_DRAIN)
        # Passes of a layer with a fused addition end in the rhythm of the beats.
        self._rhythm = config.drain_beats if d.fused else 1
        self._last_interval = max(self._last_drain, MINIMUM_DRAIN)

        def words(positions: int, k: int) -> list[tuple[int, int, bool]]:
            if d.ring == 1:
                return [(positions, k * d.taps, False)]
            # A tap of every second pixel; the pixels between are two, and one is of another tile.
            return [(positions, k, False), (positions, 2 * k, True)]

        group = words(config.engine.group, d.k)
        whole = group * d.chunk_groups
        last = group * (d.last_chunk_groups - 1) + words(d.last_positions, d.k_last)
        # Positions to load and items to issue of each group of each chunk, and whether one read
        # more is needed for a word where the tile begins within a row.
        self._chunks = [whole] * (d.chunks - 1) + [last]
        self._taken = 0
        self._loaded = 0
        # Before the first pass there is no other that it follows.
        self._issued = -self._gap
        self._waited_load = 0
        self._waited_drain = 0
        self._drained = 0
        self._released = deque([0] * config.engine.window_groups)

    def tile(self, segments: int, joined: bool) -> None:
        """Carry out the next tile, whose words take `segments` aligned reads each."""
        d, released = self._descriptor, self._released
        # The walker starts over when its tile is taken; the first tile starts with the layer.
        self._taken = loaded = self._walked(self._taken, self._loaded)
        issued = self._issued
        for groups in self._chunks:
            issued += self._gap
            ends = []
            for positions, items, neighbours in groups:
                # A group takes the place of the one released a whole ring before.
                each = segments + (joined and neighbours)
                loaded = max(loaded, released.popleft()) + positions * each
                arrived = loaded + self._loader_latency
                self._waited_load += max(arrived - issued, 0)
                issued = max(issued, arrived) + items
                ends.append(issued)
            # The last item of a pass waits until the columns have given away the sums before.
            ends[-1] = self._in_step(max(issued, self._drained))
            self._waited_drain += ends[-1] - issued
            issued = ends[-1]
            if d.passes > 1:
                slots = sum(items for _, items, _ in groups)
                interval = self._in_step(max(slots + self._gap, self._columns_drain))
                self._waited_drain += (d.passes - 1) * (interval - slots - self._gap)
                last_pass = issued + (d.passes - 2) * interval
                issued = last_pass + interval
                begin = last_pass + self._gap
                ends = [begin + past for past in accumulate(items for _, items, _ in groups)]
                ends[-1] = issued
            released.extend(ends)
            self._drained = issued + self._last_interval
        self._loaded, self._issued = loaded, issued

    def _in_step(self, cycle: int) -> int:
        """First cycle from `cycle` on in which a pass may end."""
        return -(-cycle // self._rhythm) * self._rhythm

    def state(self) -> tuple[int, tuple[int, ...]]:
        """A reference cycle, and all that the future depends on, relative to it."""
        now = self._loaded
        # What the loader has already passed no longer holds it up.
        return now, (
            now % self._rhythm,
            self._walked(self._taken, now) - now,
            self._issued - now,
            self._drained - now,
            *[cycle - now if cycle > now else 0 for cycle in self._released],
        )

    def waited(self) -> tuple[int, int]:
        """Cycles without an item so far: no group was loaded, the sums before had not left."""
        return self._waited_load, self._waited_drain

    def shift(self, cycles: int, waits: Sequence[int]) -> None:
        """Let everything have happened `cycles` later, after so many more of :meth:`waited`."""
        self._waited_load += waits[0]
        self._waited_drain += waits[1]
        self._taken += cycles
        self._loaded += cycles
        self._issued += cycles
        self._drained += cycles
        self._released = deque(cycle + cycles for cycle in self._released)

    def quiet(self) -> int:
        """Last cycle in which a unit is active: the last beat leaves the columns."""
        return self._issued + self._latency + self._last_drain
