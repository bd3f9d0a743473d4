"""One layer at a time: its walk over the planes, its K, its schedule and its parameters."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ..contract.accelerator import SERIAL_SHIFTS, ArrayConfig
from ..contract.descriptor import Descriptor, Operation
from ..errors import DoesNotFit, UserError
from ..network import Add, AvgPool, Conv, Layer, MaxPool, Network
from .cycles import predict
from .memory import plane_pitch
from .packing import Schedule
from .proof import Bounds, overflowing_channel

__all__ = [
    "check_features",
    "choose_k",
    "pieces",
    "pool_parameters",
    "requested_k",
    "schedule",
    "serial_scale",
    "walk",
]

MAX_CHUNK_GROUPS = 255
MULTIPLIER_BITS = 24

KRequest = str | int | Mapping[str, int | str]


def walk(network: Network, layer: Layer, batch: int, lanes: int) -> Descriptor:
    """Descriptor of a layer with everything but addresses and weights filled in.

    Raises
    ------
    UserError
        If the layer is of an unknown kind; names it.
    """
    channels, in_h, in_w = network.tensor(layer.inputs[0]).shape
    y = network.tensor(layer.output)
    _, out_h, out_w = y.shape
    match layer:
        case Conv():
            kernel, op = (layer.weight.shape[2], layer.weight.shape[3]), Operation.CONV
        case MaxPool():
            kernel, op = layer.kernel, Operation.MAX_POOL
        case AvgPool():
            kernel, op = layer.kernel, Operation.AVG_POOL
        case Add():
            kernel, op = (1, 1), Operation.ADD
        case _:
            raise UserError(
                f"Layer {layer.name!r} is a {type(layer).__name__}, which the compiler does not "
                "know; use Conv, MaxPool, AvgPool or Add."
            )
    stride, top, left = 1, 0, 0
    if isinstance(layer, Conv | MaxPool | AvgPool):
        stride, (top, left) = layer.stride, layer.padding[:2]
    below = (out_h - 1) * stride - top + kernel[0] > in_h
    right = (out_w - 1) * stride - left + kernel[1] > in_w
    padded = bool(top or left or below or right)
    zero = network.tensor(layer.inputs[0]).zero_point
    pad_value = -128 if op == Operation.MAX_POOL else zero
    pixels = out_h * out_w * batch
    tiles = -(-pixels // lanes)
    return Descriptor(
        op=op,
        step2=int(batch == 1 and stride == 2),
        padded=int(padded),
        pad_value=pad_value if padded else 0,
        in_pitch=plane_pitch((channels, in_h, in_w), batch, lanes),
        out_pitch=plane_pitch(y.shape, batch, lanes),
        out_tiles=tiles,
        last_lanes=pixels - (tiles - 1) * lanes,
        batch=batch,
        out_w=out_w,
        origin=-(top * in_w + left) * batch,
        delta_pixel=stride * batch - (batch - 1),
        delta_row=stride * in_w * batch - (out_w - 1) * stride * batch - (batch - 1),
        x_origin=-left,
        y_origin=-top,
        in_w=in_w,
        in_h=in_h,
        stride=stride,
        kernel_w=kernel[1],
        kernel_h=kernel[0],
        in_channels=channels,
        tap_row=(in_w - (kernel[1] - 1)) * batch,
        z_y=0 if op == Operation.MAX_POOL else y.zero_point,
        lo=layer.lo,
        hi=layer.hi,
    )


def check_features(network: Network, layer: Layer, base: Descriptor, config: ArrayConfig) -> None:
    """Refuse a layer that needs what a configuration leaves out.

    Raises
    ------
    UserError
        If its padded kernel is too large, its average too long, or it is an addition or pooling
        that there is no unit for; names layer and field.
    """
    if base.op == Operation.ADD and config.requantizer_cycles > 1:
        raise UserError(
            f"Layer {layer.name!r} is a residual addition, which requantizers of "
            f"{config.requantizer_cycles} cycles cannot do; set requantizer_cycles to 1."
        )
    if base.op in (Operation.MAX_POOL, Operation.AVG_POOL) and not config.vector_bits:
        raise UserError(
            f"Layer {layer.name!r} pools, and the configuration has no vector unit; set "
            "vector_bits to 8 or more, or use convolutions of stride 2."
        )
    side = max(base.kernel_w, base.kernel_h)
    if base.padded and side > config.padded_kernel:
        raise UserError(
            f"Layer {layer.name!r} has a padded kernel of side {side} and the configuration takes "
            f"up to {config.padded_kernel}; raise padded_kernel or use a smaller kernel."
        )
    taps = base.kernel_w * base.kernel_h
    bits = 8 + (taps - 1).bit_length()
    if base.op == Operation.AVG_POOL and bits > config.vector_bits:
        raise UserError(
            f"Layer {layer.name!r} averages {taps} pixels, whose sum takes {bits} bits, and the "
            f"configuration's vector unit has {config.vector_bits}; raise vector_bits."
        )


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


def pieces(channels: int, cut: Schedule, config: ArrayConfig) -> list[tuple[int, int]]:
    """First and last output channel (exclusive) of each descriptor of a convolution.

    Several chunks keep partial sums of all passes, so a layer with more output channels than their
    memory is cut evenly.
    """
    passes = -(-channels // config.columns)
    if cut.chunks == 1:
        return [(0, channels)]
    count = -(-passes // (config.partial_sum_channels // config.columns))
    step = -(-passes // count) * config.columns
    return [(first, min(first + step, channels)) for first in range(0, channels, step)]


def convolution(base: Descriptor, channels: int, cut: Schedule, config: ArrayConfig) -> Descriptor:
    """Descriptor `base` with the schedule of a convolution of `channels` output channels."""
    passes = -(-channels // config.columns)
    return replace(
        base,
        chunk_groups=cut.chunk_groups,
        last_chunk_groups=cut.last_chunk_groups,
        chunks=cut.chunks,
        last_positions=cut.last_positions,
        k=cut.k,
        k_last=cut.k_last,
        passes=passes,
        last_columns=channels - (passes - 1) * config.columns,
        weight_count=passes * cut.slots,
    )


def schedule(conv: Conv, base: Descriptor, k: int, bounds: Bounds, config: ArrayConfig) -> Schedule:
    """Cut of the weight groups into chunks.

    Balanced chunks, one if they fit, of at most the window memory: small ones load while the chunk
    before is in use, large ones drain more rarely. The cycle model chooses among all of them that
    cannot overflow an accumulator; chunks are halved further while each could.

    Raises
    ------
    DoesNotFit
        If a single group could overflow the accumulator; names the layer.
    """
    channels = len(conv.weight)
    positions = conv.weight[0].size
    groups = -(-positions // config.group)
    last_positions = positions - (groups - 1) * config.group

    def cut(chunk_groups: int) -> Schedule:
        return Schedule(
            groups=groups,
            k=k,
            k_last=min(k, last_positions),
            last_positions=last_positions,
            chunk_groups=chunk_groups,
        )

    def cost(candidate: Schedule) -> int:
        return sum(
            predict(convolution(base, last - first, candidate, config), config)
            for first, last in pieces(channels, candidate, config)
        )

    half = config.window_groups // 2
    limit = min(config.window_groups, MAX_CHUNK_GROUPS)
    counts = range(-(-groups // limit), -(-groups // half) + 1)
    candidates = [cut(size) for size in sorted({-(-groups // n) for n in counts}, reverse=True)]
    bits = config.accumulator_bits
    safe = [c for c in candidates if overflowing_channel(bounds, c.chunk_groups, bits) is None]
    chunk_groups = min(half, groups)
    while not safe and chunk_groups > 1:
        chunk_groups = -(-chunk_groups // 2)
        if overflowing_channel(bounds, chunk_groups, bits) is None:
            safe.append(cut(chunk_groups))
    if not safe:
        channel, needed = overflowing_channel(bounds, 1, bits) or (0, bits)
        raise DoesNotFit(
            f"Layer {conv.name!r} can overflow the accumulator: output channel {channel} needs "
            f"{needed} bits for one group of {config.group} weights and the configuration has "
            f"{bits}; raise accumulator_bits to {needed}."
        )
    return min(safe, key=cost) if len(safe) > 1 else safe[0]


def serial_scale(layer: str, multiplier: int, shift: int) -> tuple[int, int]:
    """Multiplier and shift that give every sum the same result, in the range of `SERIAL_SHIFTS`.

    Raises
    ------
    UserError
        If the scale is too small; names the layer.
    """
    least, most = SERIAL_SHIFTS
    up = MULTIPLIER_BITS - multiplier.bit_length()
    if multiplier == 0 or shift + up >= MULTIPLIER_BITS + 32:
        # Even the largest sum stays below one half.
        return 0, MULTIPLIER_BITS
    if shift + up < least:
        # At a scale of 256 or more all sums but 0 leave int8.
        return (1 << MULTIPLIER_BITS) - 1, least
    if shift + up > most:
        raise UserError(
            f"Layer {layer!r} scales a sum by {multiplier} / 2**{shift}, and requantizers of "
            f"several cycles need at least 2**{MULTIPLIER_BITS - 1 - most}; set requantizer_cycles "
            "to 1."
        )
    return multiplier << up, shift + up


def pool_parameters(network: Network, layer: Layer) -> list[tuple[int, int, int]]:
    """Parameter items (bias, multiplier, shift) of a layer without weights."""
    x = network.tensor(layer.inputs[0])
    if isinstance(layer, MaxPool):
        return [(0, 1 << 22, 22)] * x.shape[0]
    if isinstance(layer, AvgPool):
        taps = layer.kernel[0] * layer.kernel[1]
        return [(-taps * x.zero_point, layer.multiplier, layer.shift)] * x.shape[0]
    if not isinstance(layer, Add):
        raise TypeError(f"Layer {layer.name!r} has weights, not fixed parameters")
    other = network.tensor(layer.inputs[1])
    return [
        (-x.zero_point, layer.multiplier_a, layer.shift),
        (-other.zero_point, layer.multiplier_b, layer.shift),
    ]
