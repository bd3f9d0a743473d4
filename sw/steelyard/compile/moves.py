"""Descriptors of layers that move codes: walks over the planes that leave nothing to compute.

A walk visits pixels in three loops, images innermost, and adds a distance at the end of each. What
those loops stand for is free: rows of a map may take the place of images, and a distance may lead
into another channel's plane.
"""

from dataclasses import replace

from ..contract import AcceleratorConfig
from ..contract.descriptor import Descriptor, Operation
from ..network import Interleave, Layer, Network, Pad, Repeat, Shuffle, Tensor
from .memory import plane_pitch
from .step import Lowered, Step

__all__ = ["IDENTITY", "interleave", "pad", "repeat", "shuffle"]

IDENTITY = (0, 1 << 22, 22)
"""Parameter item (bias, multiplier, shift) that changes nothing."""


def _copy(
    x: Tensor, y: Tensor, batch: int, lanes: int, *, channels: int, images: int, columns: int
) -> Descriptor:
    """Copy of the first planes of a tensor, as a max pooling of single pixels.

    Parameters
    ----------
    images, columns : of the walk
    """
    pixels = y.shape[1] * y.shape[2] * batch
    tiles = -(-pixels // lanes)
    return Descriptor(
        op=Operation.MAX_POOL,
        in_pitch=plane_pitch(x.shape, batch, lanes),
        out_pitch=plane_pitch(y.shape, batch, lanes),
        out_tiles=tiles,
        last_lanes=pixels - (tiles - 1) * lanes,
        batch=images,
        out_w=columns,
        delta_pixel=1,
        delta_row=1,
        in_w=x.shape[2],
        in_h=x.shape[1],
        stride_w=1,
        stride_h=1,
        in_channels=channels,
        tap_row=x.shape[2] * batch,
        lo=-128,
        hi=127,
    )


def _ends(network: Network, layer: Layer) -> tuple[Tensor, Tensor]:
    return network.tensor(layer.inputs[0]), network.tensor(layer.output)


def pad(network: Network, layer: Pad, batch: int, config: AcceleratorConfig) -> Lowered:
    """One walk over the output's pixels, of which those outside give the zero point."""
    lanes = config.engine.lanes
    x, y = _ends(network, layer)
    channels, _, width = x.shape
    top, left, _, _ = layer.padding
    padded = max(layer.padding) > 0
    d = replace(
        _copy(x, y, batch, lanes, channels=channels, images=batch, columns=y.shape[2]),
        origin=-(top * width + left) * batch,
        delta_row=(width - y.shape[2]) * batch + 1,
        padded=int(padded),
        pad_value=x.zero_point if padded else 0,
        x_origin=-left if padded else 0,
        y_origin=-top if padded else 0,
    )
    return Lowered([Step(descriptor=d)], [IDENTITY] * channels)


def repeat(network: Network, layer: Repeat, batch: int, config: AcceleratorConfig) -> Lowered:
    """One walk that comes back to each pixel, or to each row."""
    lanes = config.engine.lanes
    x, y = _ends(network, layer)
    run = batch if layer.axis == 2 else batch * x.shape[2]
    d = _copy(x, y, batch, lanes, channels=x.shape[0], images=run, columns=layer.count)
    step = Step(descriptor=replace(d, delta_pixel=1 - run))
    return Lowered([step], [IDENTITY] * x.shape[0])


def interleave(
    network: Network, layer: Interleave, batch: int, config: AcceleratorConfig
) -> Lowered:
    """A walk a block, that goes from plane to plane for each pixel, or for each row."""
    lanes = config.engine.lanes
    x, y = _ends(network, layer)
    channels = y.shape[0] // layer.blocks
    run = batch if layer.axis == 2 else batch * x.shape[2]
    pitch = plane_pitch(x.shape, batch, lanes)
    # Blocks of one channel are channels whose phases lie beside each other.
    blocks, together = (1, layer.blocks) if channels == 1 else (layer.blocks, channels)
    phase = channels * pitch * lanes
    d = replace(
        _copy(x, y, batch, lanes, channels=together, images=run, columns=layer.count),
        in_pitch=pitch * (layer.count if channels == 1 else 1),
        delta_pixel=phase - (run - 1),
        delta_row=1 - (layer.count - 1) * phase,
    )
    steps = [
        Step(descriptor=d, reads=block * layer.count * channels, writes=block * channels)
        for block in range(blocks)
    ]
    return Lowered(steps, [IDENTITY] * together)


def shuffle(network: Network, layer: Shuffle, batch: int, config: AcceleratorConfig) -> Lowered:
    """A walk a group, that writes its channels a group apart."""
    lanes = config.engine.lanes
    x, y = _ends(network, layer)
    each = x.shape[0] // layer.groups
    pitch = plane_pitch(x.shape, batch, lanes)
    d = _copy(x, y, batch, lanes, channels=each, images=batch, columns=x.shape[2])
    d = replace(d, out_pitch=pitch * layer.groups)
    steps = [Step(descriptor=d, reads=group * each, writes=group) for group in range(layer.groups)]
    return Lowered(steps, [IDENTITY] * each)
