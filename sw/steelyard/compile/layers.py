"""One layer at a time: its walk over the planes, what it needs, and its parameters."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ..contract import AcceleratorConfig
from ..contract.descriptor import FIELDS, Descriptor, Operation
from ..contract.sections import SERIAL_SHIFTS
from ..errors import UserError
from ..network import (
    Add,
    AvgPool,
    Concat,
    Interleave,
    Layer,
    Lookup,
    MaxPool,
    Mul,
    Network,
    Pad,
    Repeat,
    Shuffle,
    Slice,
)
from .memory import plane_pitch
from .moves import IDENTITY, interleave, pad, repeat, shuffle
from .step import Lowered, Step

__all__ = ["LOWERINGS", "check_features", "serial_scale", "walk"]

MULTIPLIER_BITS = 24
MOST_WORDS = FIELDS["kernel_h"].maximum
"""Words of a map that are averaged together."""


def walk(network: Network, layer: Layer, op: Operation, batch: int, lanes: int) -> Descriptor:
    """Descriptor of a layer with windows, without addresses and weights."""
    channels, in_h, in_w = network.tensor(layer.inputs[0]).shape
    y = network.tensor(layer.output)
    _, out_h, out_w = y.shape
    window = layer.window
    kernel, (down, along), (top, left) = window.kernel, window.stride, window.padding[:2]
    below = (out_h - 1) * down - top + kernel[0] > in_h
    right = (out_w - 1) * along - left + kernel[1] > in_w
    padded = bool(top or left or below or right)
    zero = network.tensor(layer.inputs[0]).zero_point
    pad_value = -128 if op == Operation.MAX_POOL else zero
    pixels = out_h * out_w * batch
    tiles = -(-pixels // lanes)
    return Descriptor(
        op=op,
        step2=int(batch == 1 and along == 2),
        padded=int(padded),
        pad_value=pad_value if padded else 0,
        in_pitch=plane_pitch((channels, in_h, in_w), batch, lanes),
        out_pitch=plane_pitch(y.shape, batch, lanes),
        out_tiles=tiles,
        last_lanes=pixels - (tiles - 1) * lanes,
        batch=batch,
        out_w=out_w,
        origin=-(top * in_w + left) * batch,
        delta_pixel=along * batch - (batch - 1),
        delta_row=down * in_w * batch - (out_w - 1) * along * batch - (batch - 1),
        x_origin=-left,
        y_origin=-top,
        in_w=in_w,
        in_h=in_h,
        stride_w=along,
        stride_h=down,
        kernel_w=kernel[1],
        kernel_h=kernel[0],
        in_channels=channels,
        tap_row=(in_w - (kernel[1] - 1)) * batch,
        z_y=0 if op == Operation.MAX_POOL else y.zero_point,
        lo=layer.lo,
        hi=layer.hi,
    )


def check_features(layer: Layer, base: Descriptor, config: AcceleratorConfig) -> None:
    """Refuse a layer that needs what a configuration leaves out.

    Raises
    ------
    UserError
        If its padded kernel is too large, its average too long, or it is an addition, product,
        pooling, table or slope that there is no unit for; names layer and field.
    """
    if base.table and not config.output.tables:
        raise UserError(
            f"Layer {layer.name!r} looks up a table, which the configuration leaves out; set "
            "tables to true."
        )
    one = "" if config.output.requantizer_cycles == 1 else ", with requantizer_cycles = 1"
    if getattr(layer, "negative_multiplier", None) is not None and not config.output.slopes:
        raise UserError(
            f"Layer {layer.name!r} scales negative sums by a multiplier of their own, which the "
            f"configuration leaves out; set slopes to true{one}."
        )
    if base.op == Operation.ADD and not config.vector.additions:
        raise UserError(
            f"Layer {layer.name!r} is a residual addition, which the configuration leaves out; set "
            f"additions to true{one}."
        )
    if base.op == Operation.MUL and not config.vector.products:
        raise UserError(
            f"Layer {layer.name!r} multiplies two activations, which the configuration leaves out; "
            f"set products to true{one}."
        )
    if base.op in (Operation.MAX_POOL, Operation.AVG_POOL) and not config.vector.bits:
        raise UserError(
            f"Layer {layer.name!r} pools, and the configuration has no vector unit; set "
            "vector_bits to 8 or more, or use convolutions of stride 2."
        )
    side = max(base.kernel_w, base.kernel_h)
    if base.padded and side > config.load.padded_kernel:
        raise UserError(
            f"Layer {layer.name!r} has a padded kernel of side {side} and the configuration takes "
            f"up to {config.load.padded_kernel}; raise padded_kernel or use a smaller kernel."
        )
    taps = base.kernel_w * base.kernel_h
    if base.lane_sum:
        taps = (taps - 1) * config.engine.lanes + base.lane_sum
    bits = 8 + (taps - 1).bit_length()
    if base.op == Operation.AVG_POOL and bits > config.vector.bits:
        raise UserError(
            f"Layer {layer.name!r} averages {taps} pixels, whose sum takes {bits} bits, and the "
            f"configuration's vector unit has {config.vector.bits}; raise vector_bits."
        )


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


def _max_pool(network: Network, layer: MaxPool, batch: int, config: AcceleratorConfig) -> Lowered:
    d = walk(network, layer, Operation.MAX_POOL, batch, config.engine.lanes)
    return Lowered([Step(descriptor=d)], [IDENTITY] * d.in_channels)


def _avg_pool(network: Network, layer: AvgPool, batch: int, config: AcceleratorConfig) -> Lowered:
    d = walk(network, layer, Operation.AVG_POOL, batch, config.engine.lanes)
    taps = d.kernel_w * d.kernel_h
    whole = layer.kernel == network.tensor(layer.inputs[0]).shape[1:] and not d.padded
    if whole and batch == 1 and config.vector.adds_lanes:
        d = _across(d, taps, config.engine.lanes)
    zero = network.tensor(layer.inputs[0]).zero_point
    item = (-taps * zero, layer.multiplier, layer.shift)
    steps, items = [Step(descriptor=d)], [item] * d.in_channels
    return Lowered(steps, items, negative=layer.negative_multiplier)


def _across(d: Descriptor, pixels: int, lanes: int) -> Descriptor:
    """The average of a whole map, a word of its pixels a cycle in place of a pixel."""
    words = -(-pixels // lanes)
    if words > MOST_WORDS:
        return d
    last = pixels - (words - 1) * lanes
    # Of a stride of two every second pixel would be read.
    return replace(d, kernel_w=1, kernel_h=words, tap_row=lanes, lane_sum=last, step2=0)


def _lookup(network: Network, layer: Lookup, batch: int, config: AcceleratorConfig) -> Lowered:
    d = replace(walk(network, layer, Operation.MAX_POOL, batch, config.engine.lanes), table=1)
    return Lowered([Step(descriptor=d)], [IDENTITY] * d.in_channels, layer.table)


def _pair(
    network: Network, layer: Add | Mul, op: Operation, batch: int, config: AcceleratorConfig
) -> Step:
    """Walk over both operands of a layer, with their zero points."""
    a, b = network.inputs_of(layer)
    d = walk(network, layer, op, batch, config.engine.lanes)
    return Step(descriptor=replace(d, z_a=a.zero_point, z_b=b.zero_point))


def _add(network: Network, layer: Add, batch: int, config: AcceleratorConfig) -> Lowered:
    step = _pair(network, layer, Operation.ADD, batch, config)
    # The multiplier of operand b stands where other layers have their bias.
    return Lowered([step], [(layer.multiplier_b, layer.multiplier_a, layer.shift)])


def _mul(network: Network, layer: Mul, batch: int, config: AcceleratorConfig) -> Lowered:
    step = _pair(network, layer, Operation.MUL, batch, config)
    return Lowered([step], [(0, layer.multiplier, layer.shift)])


def _nothing(network: Network, layer: Layer, batch: int, config: AcceleratorConfig) -> Lowered:
    """A view: its tensor lies in another."""
    return Lowered([], [])


LOWERINGS: dict[type[Layer], Callable[[Network, Any, int, AcceleratorConfig], Lowered]] = {
    MaxPool: _max_pool,
    AvgPool: _avg_pool,
    Add: _add,
    Mul: _mul,
    Lookup: _lookup,
    Concat: _nothing,
    Slice: _nothing,
    Pad: pad,
    Repeat: repeat,
    Interleave: interleave,
    Shuffle: shuffle,
}
"""How each kind of layer without weights becomes descriptors, of network, layer, batch and
configuration;
what has weights is planned by the engine."""
