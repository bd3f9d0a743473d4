"""Schedule of a convolution on the array: its K, its chunks of groups, its descriptors."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...contract import AcceleratorConfig, Descriptor
from ...errors import DoesNotFit, UserError
from ...network import Conv, Network
from ..proof import Bounds
from .config import ArrayConfig
from .cycles import convolution_cycles
from .packing import Schedule

__all__ = ["KRequest", "choose_k", "convolution", "pieces", "requested_k", "schedule"]

MAX_CHUNK_GROUPS = 255

KRequest = str | int | Mapping[str, int | str]


def requested_k(k: KRequest, network: Network, group: int) -> dict[str, int | None]:
    """Weights to keep in a group by layer, None for the smallest that holds all weights.

    Raises
    ------
    UserError
        If `k` is out of range or names something that has no weights.
    """
    convs = [layer.name for layer in network.layers if isinstance(layer, Conv)]

    def value(entry: int | str) -> int | None:
        if entry == "auto":
            return None
        if entry == "dense":
            return group
        if isinstance(entry, bool) or not isinstance(entry, int) or not 1 <= entry <= group:
            raise UserError(
                f"K must be 'auto', 'dense' or an integer from 1 to {group}, not {entry!r}; "
                "choose one of them."
            )
        return entry

    if isinstance(k, Mapping):
        for name in k:
            if name not in convs:
                raise UserError(
                    f"K is given for {name!r}, but the layers with weights are "
                    f"{', '.join(convs)}; name one of them."
                )
        return {name: value(k.get(name, "auto")) for name in convs}
    return dict.fromkeys(convs, value(k))


def choose_k(layer: str, counts: NDArray[np.uint8], requested: int | None, group: int) -> int:
    """Weights kept in every group.

    Parameters
    ----------
    counts : nonzero weights of each group, uint8 (out_channels, groups)

    Raises
    ------
    UserError
        If some group holds more weights than requested; names layer, channel and group.
    """
    needed = max(1, int(counts.max()))
    if requested is None:
        return needed
    if requested < needed:
        channel, index = (int(i) for i in np.argwhere(counts > requested)[0])
        raise UserError(
            f"Layer {layer!r} cannot keep K = {requested} of every {group} weights: output channel "
            f"{channel} has {counts[channel, index]} nonzero weights in group {index}; "
            f"use a K of at least {needed}, or prune the layer to {requested}."
        )
    return requested


def pieces(
    channels: int, cut: Schedule, config: AcceleratorConfig[ArrayConfig]
) -> list[tuple[int, int]]:
    """First and last output channel (exclusive) of each descriptor of a convolution.

    Several chunks keep partial sums of all passes, so a layer with more output channels than their
    memory is cut evenly. So is one whose weights come from external memory and take more than the
    weight memory of the configuration; then that is a part of the whole one, and others come
    meanwhile.
    """
    passes = most = -(-channels // config.engine.columns)
    if cut.chunks > 1:
        most = config.engine.partial_sum_channels // config.engine.columns
    if config.memory.external_words:
        most = min(most, max(1, config.memory.weight_words // cut.slots))
    count = -(-passes // most)
    step = -(-passes // count) * config.engine.columns
    return [(first, min(first + step, channels)) for first in range(0, channels, step)]


def convolution(
    base: Descriptor, channels: int, cut: Schedule, config: AcceleratorConfig[ArrayConfig]
) -> Descriptor:
    """Descriptor `base` with the schedule of a convolution of `channels` output channels."""
    passes = -(-channels // config.engine.columns)
    return base.but(
        chunk_groups=cut.chunk_groups,
        last_chunk_groups=cut.last_chunk_groups,
        chunks=cut.chunks,
        last_positions=cut.last_positions,
        k=cut.k,
        k_last=cut.k_last,
        passes=passes,
        last_columns=channels - (passes - 1) * config.engine.columns,
        weight_count=passes * cut.slots,
    )


def schedule(
    conv: Conv, base: Descriptor, k: int, bounds: Bounds, config: AcceleratorConfig[ArrayConfig]
) -> Schedule:
    """Cut of the groups of words into chunks.

    Balanced chunks, one if they fit, of at most the window memory: small ones load while the chunk
    before is in use, large ones drain more rarely. The cycle model chooses among all of them that
    cannot overflow an accumulator; chunks are halved further while each could.

    Raises
    ------
    DoesNotFit
        If a single group could overflow the accumulator; names the layer.
    """
    channels = len(conv.weight)
    positions = conv.weight[0].size // base.taps
    groups = -(-positions // config.engine.group)
    last_positions = positions - (groups - 1) * config.engine.group

    def cut(chunk_groups: int) -> Schedule:
        return Schedule(
            groups=groups,
            k=k,
            k_last=min(k, last_positions),
            last_positions=last_positions,
            chunk_groups=chunk_groups,
            taps=base.taps,
        )

    def overflow(chunk_groups: int) -> tuple[int, int] | None:
        return bounds.overflowing_channel(chunk_groups * base.taps, bits)

    def cost(candidate: Schedule) -> int:
        return sum(
            convolution_cycles(convolution(base, last - first, candidate, config), config)
            for first, last in pieces(channels, candidate, config)
        )

    ring = config.engine.window_groups // base.ring
    half = max(1, ring // 2)
    limit = min(ring, MAX_CHUNK_GROUPS)
    counts = range(-(-groups // limit), -(-groups // half) + 1)
    candidates = [cut(size) for size in sorted({-(-groups // n) for n in counts}, reverse=True)]
    bits = config.engine.accumulator_bits
    safe = [each for each in candidates if overflow(each.chunk_groups) is None]
    chunk_groups = min(half, groups)
    while not safe and chunk_groups > 1:
        chunk_groups = -(-chunk_groups // 2)
        if overflow(chunk_groups) is None:
            safe.append(cut(chunk_groups))
    if not safe:
        channel, needed = overflow(1) or (0, bits)
        raise DoesNotFit(
            f"Layer {conv.name!r} can overflow the accumulator: output channel {channel} needs "
            f"{needed} bits for one group of {config.engine.group} weights and the configuration "
            f"has {bits}; raise accumulator_bits to {needed}."
        )
    return min(safe, key=cost) if len(safe) > 1 else safe[0]
