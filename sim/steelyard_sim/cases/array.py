"""Random layers for the bare sparse array, with the sums and addresses that must leave it.

Everything follows from a seed and knows no simulator: the same cases run in Amaranth's and, through
:mod:`steelyard_sim.cocotb.ports`, in those that cocotb drives.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from steelyard.compile import Descriptor, Operation
from steelyard.contract import AcceleratorConfig
from steelyard.contract.descriptor import FIELDS
from steelyard.contract.latencies import MINIMUM_DRAIN
from steelyard.engines.array.packing import Schedule, pack_weights
from steelyard.engines.proof import OFFSET, grouped
from steelyard.network.random import random_weight
from steelyard_hw.output.stage import Beat
from steelyard_hw.shell.layer import LayerLayout

__all__ = [
    "ArrayCase",
    "BeatChecker",
    "BeatTaker",
    "WindowFeeder",
    "layer_bits",
    "random_array_case",
]

ATTEMPTS = 1000


def layer_bits(config: AcceleratorConfig, descriptor: Descriptor) -> int:
    """A descriptor as the bits of the gateware's ``LayerLayout``."""
    layout = LayerLayout(config)
    bits = 0
    for name in layout.members:
        place, member = FIELDS[name], layout[name]
        value = getattr(descriptor, name) - place.offset
        bits |= (value & (1 << member.width) - 1) << member.offset
    return bits


def _integers(words: NDArray[np.uint32]) -> list[int]:
    """Each row of 32-bit words as one integer, low word first."""
    return [sum(int(word) << 32 * n for n, word in enumerate(row)) for row in words]


@dataclass(frozen=True, kw_only=True)
class ArrayCase:
    """Convolution for the bare array.

    Members
    -------
    layer : descriptor
    items : weight items of the whole layer, in order
    windows : activations, int8 (tiles, positions, window_lanes)
    outside : of each tile, bits of the lanes whose left or right pixel counts for nothing
    sums : expected sums of every chunk over activations offset by 128, int64
        (tiles, chunks, channels, lanes)
    """

    config: AcceleratorConfig
    layer: Descriptor
    items: list[int]
    windows: NDArray[np.int8]
    outside: list[int]
    sums: NDArray[np.int64]

    def __str__(self) -> str:
        d = self.layer
        return (
            f"{d.out_tiles} tiles, {self.windows.shape[1]} positions -> {self.sums.shape[2]} "
            f"channels, K {d.k}, {d.taps} taps a word, {d.chunks} chunks, {d.passes} passes"
        )


def _taken(
    windows: NDArray[np.int8],
    outside: list[int],
    taps: int,
    ring: int,
    config: AcceleratorConfig,
) -> NDArray[np.int64]:
    """Offset activations of every weight group, int64 (tiles, groups, group, lanes)."""
    tiles, positions, _ = windows.shape
    lanes, group = config.engine.lanes, config.engine.group
    groups = -(-positions // group)
    filled = np.zeros((tiles, groups * group, config.engine.window_lanes), np.int64)
    filled[:, :positions] = windows.astype(np.int64) + OFFSET
    if ring > 1:
        # Groups in turn for the middle tap and for the taps left and right of it.
        paired = filled.reshape(tiles, groups // 2, 2, group, -1)
        even, between = (paired[:, :, n].reshape(tiles, -1, paired.shape[-1]) for n in range(2))
        groups //= 2
        seen = [even[..., :lanes], between[..., :lanes].copy(), between[..., 1 : lanes + 1].copy()]
    else:
        seen = [filled[:, :, tap : tap + lanes].copy() for tap in range(taps)]
    if taps > 1:
        bits = np.array(outside)[:, np.newaxis] >> np.arange(2 * lanes) & 1
        seen[ring - 1] *= 1 - bits[:, np.newaxis, ::2]
        seen[2] *= 1 - bits[:, np.newaxis, 1::2]
    split = [each.reshape(tiles, groups, 1, group, lanes) for each in seen]
    return np.concatenate(split, axis=2).reshape(tiles, groups * taps, group, lanes)


def random_array_case(seed: int, config: AcceleratorConfig, *, work: int = 1500) -> ArrayCase:
    """Random convolution of about `work` weight items at most, for any K, chunks and passes.

    Half of all layers need partial sums; where taps can share words, they do in two fifths, half
    of those as at stride 2. One activation in ten is -128 or 127, one weight in ten -127 or 127.
    """
    rng = np.random.default_rng([seed, 1])
    group = config.engine.group
    (own,) = rng.spawn(1)
    taps = 3 if config.engine.window_lanes > config.engine.lanes and own.random() < 0.4 else 1
    ring = int(own.integers(1, 3)) if taps > 1 else 1
    most_groups = config.engine.window_groups // ring
    half = max(1, most_groups // 2)
    for _ in range(ATTEMPTS):
        chunked = bool(rng.random() < 0.5)
        if chunked:
            chunk_groups = int(rng.integers(1, half + 1))
            groups = chunk_groups + int(rng.integers(1, 2 * half + 2))
        else:
            chunk_groups = groups = int(rng.integers(1, most_groups + 1))
        last = group if taps > 1 else int(rng.integers(1, group + 1))
        k = int(rng.integers(1, group + 1))
        cut = Schedule(
            groups=groups,
            k=k,
            k_last=min(k, last),
            last_positions=last,
            chunk_groups=chunk_groups,
            taps=taps,
        )
        most = config.engine.partial_sum_channels // config.engine.columns if chunked else 5
        passes = int(rng.integers(1, min(most, 5) + 1))
        tiles = int(rng.integers(1, 5))
        if tiles * passes * cut.slots <= work:
            break
    else:
        raise ValueError(f"No convolution of {work} weight items was found")
    last_columns = int(rng.integers(1, config.engine.columns + 1))
    channels = (passes - 1) * config.engine.columns + last_columns
    positions = (groups - 1) * group + last
    flat = random_weight(rng, (channels, positions * taps, 1, 1), group=group, k=k)
    weights = grouped(flat, group)
    width = config.engine.window_lanes
    windows = rng.integers(-128, 128, (tiles, positions * ring, width)).astype(np.int8)
    extremes = rng.choice(np.array([-128, 127], np.int8), windows.shape)
    windows = np.where(rng.random(windows.shape) < 0.1, extremes, windows)
    outside = [int(own.integers(1 << 32)) << 32 | int(own.integers(1 << 32)) for _ in range(tiles)]
    outside = [(bits & (1 << 2 * config.engine.lanes) - 1) * (taps > 1) for bits in outside]
    taken = _taken(windows, outside, taps, ring, config)
    sums = np.zeros((tiles, cut.chunks, channels, config.engine.lanes), np.int64)
    for chunk in range(cut.chunks):
        part = slice(chunk * chunk_groups * taps, (chunk + 1) * chunk_groups * taps)
        own_weights = weights[:, part].astype(np.int64)
        sums[:, chunk] = np.einsum("cgi,tgil->tcl", own_weights, taken[:, part])
    layer = Descriptor(
        op=Operation.CONV,
        shared=int(taps > 1),
        step2=int(ring > 1),
        out_base=int(rng.integers(0, 8)),
        out_pitch=tiles,
        out_tiles=tiles,
        last_lanes=config.engine.lanes,
        chunk_groups=chunk_groups,
        last_chunk_groups=cut.last_chunk_groups,
        chunks=cut.chunks,
        last_positions=last,
        k=k,
        k_last=cut.k_last,
        passes=passes,
        last_columns=last_columns,
        weight_count=passes * cut.slots,
        param_base=int(rng.integers(0, config.memory.parameter_words - channels)),
    )
    return ArrayCase(
        config=config,
        layer=layer,
        items=_integers(pack_weights(weights, cut, config)) * tiles,
        windows=windows,
        outside=outside,
        sums=sums,
    )


class WindowCase(Protocol):
    """Case with windows, int8 (tiles, positions, window_lanes), for the array or the tile."""

    @property
    def config(self) -> AcceleratorConfig: ...
    @property
    def windows(self) -> NDArray[np.int8]: ...


class WindowFeeder:
    """Loader's side of the window ring: one step a clock cycle.

    Parameters
    ----------
    case : whose windows are written, group by group
    rng : seeded source of idle cycles
    stall : probability of an idle cycle
    outside : of each tile, what the port `edges` says of its groups; none for engines without it

    Attributes
    ----------
    edges : tuple of int
        Valid, slot and bits of the port `edges` in the next cycle, as :meth:`step` left them: with
        the first word of each group.
    """

    def __init__(
        self, case: WindowCase, rng: Random, stall: float, outside: Sequence[int] = ()
    ) -> None:
        self._rng, self._stall = rng, stall
        self.edges = (0, 0, 0)
        self._edges: list[tuple[int, int, int]] = []
        config, positions = case.config, case.windows.shape[1]
        self._free = config.engine.window_groups
        self._writes: list[tuple[int, int, bool, bool]] = []
        slot = 0
        for number, tile in enumerate(case.windows):
            for position, lanes in enumerate(tile):
                index = position % config.engine.group
                ends = index == config.engine.group - 1 or position == positions - 1
                word = int.from_bytes(lanes.tobytes(), "little")
                self._writes.append((slot * config.engine.group + index, word, index == 0, ends))
                if index == 0 and outside:
                    self._edges.append((1, slot, outside[number]))
                if ends:
                    slot = (slot + 1) % config.engine.window_groups
        self._writes.reverse()
        self._edges.reverse()

    def step(self, freed: int) -> tuple[int, int, int, int]:
        """Window valid, address, word and group loaded of the next cycle.

        Parameters
        ----------
        freed : whether the array released a group in the cycle before
        """
        self._free += freed
        self.edges = (0, 0, 0)
        if not self._writes or self._rng.random() < self._stall:
            return 0, 0, 0, 0
        address, word, begins, ends = self._writes[-1]
        if begins:
            if not self._free:
                return 0, 0, 0, 0
            self._free -= 1
            if self._edges:
                self.edges = self._edges.pop()
        self._writes.pop()
        return 1, address, word, int(ends)


class BeatTaker:
    """When the output stage takes the array's beats: as late as the schedule of drains allows.

    With one cycle a requantizer the array's sums move on by themselves, so each beat is taken in
    the cycle in which it is offered.

    Parameters
    ----------
    rng : seeded source of the stalls
    stall : probability of a cycle in which a beat is not taken yet
    """

    def __init__(self, config: AcceleratorConfig, rng: Random, stall: float) -> None:
        self._most, self._rng, self._stall = config.output.requantizer_cycles - 1, rng, stall

    def ready(self, waited: int) -> bool:
        """Whether a beat that has waited for `waited` cycles is taken in this one."""
        return self._rng.random() >= self._stall or waited >= self._most


class BeatChecker:
    """Compares the beats that leave the array with a case: order, sums, flags, addresses, spacing.

    Call :meth:`step` every clock cycle, with the beat that is taken in it.
    """

    def __init__(self, case: ArrayCase) -> None:
        self._case = case
        self._layout = Beat(case.config)
        self._cycle = self._seen = 0
        # An output stage of several cycles a beat has stored a sum before it takes the next.
        self._spacing = 0 if case.config.output.requantizer_cycles > 1 else MINIMUM_DRAIN
        self._begun = -MINIMUM_DRAIN
        self._stored: dict[int, int] = {}
        self._expected = [
            (tile, chunk, channel, beat)
            for tile in range(case.layer.out_tiles)
            for chunk in range(case.layer.chunks)
            for channel in range(case.sums.shape[2])
            for beat in range(case.config.drain_beats)
        ]

    @property
    def complete(self) -> bool:
        """Whether all beats have come."""
        return self._seen == len(self._expected)

    def step(self, valid: int, bits: int) -> None:
        """Check the beat of this cycle.

        Raises
        ------
        AssertionError
            If it is not the next one expected; names its tile, chunk, channel and first lane.
        """
        self._cycle += 1
        if not valid:
            return
        if self.complete:
            raise AssertionError("The array gives more beats than the layer has")
        tile, chunk, channel, beat = place = self._expected[self._seen]
        self._seen += 1
        case, layer, config = self._case, self._case.layer, self._case.config
        actual = self._layout.from_bits(bits)
        lanes = slice(beat * config.output.requantizers, (beat + 1) * config.output.requantizers)
        last_chunk = chunk == layer.chunks - 1
        self._check(
            place, "sums", list(actual.data), case.sums[tile, chunk, channel, lanes].tolist()
        )
        self._check(place, "accumulate", actual.accumulate, int(chunk > 0))
        self._check(place, "store", actual.store, int(not last_chunk))
        self._check(place, "beat", actual.beat, beat)
        if layer.chunks > 1:
            address = channel * config.drain_beats + beat
            self._check(place, "partial sum", actual.psum, address)
            if chunk and self._cycle - self._stored[address] < self._spacing:
                raise AssertionError(f"Partial sum {address} is used too soon after it was stored")
            self._stored[address] = self._cycle
        if last_chunk:
            row = layer.out_base + channel * layer.out_pitch + tile
            self._check(place, "row", actual.row, row)
            self._check(place, "parameter", actual.param, layer.param_base + channel)
        if channel % config.engine.columns == 0 and beat == 0:
            if self._cycle - self._begun < self._spacing:
                raise AssertionError(f"Two drains begin {self._cycle - self._begun} cycles apart")
            self._begun = self._cycle

    def _check(
        self, place: tuple[int, int, int, int], what: str, is_: object, want: object
    ) -> None:
        if is_ != want:
            tile, chunk, channel, beat = place
            raise AssertionError(
                f"Tile {tile}, chunk {chunk}, channel {channel}, lane "
                f"{beat * self._case.config.output.requantizers}: {what} {is_} instead of {want}"
            )
