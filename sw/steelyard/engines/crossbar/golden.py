"""Golden crossbar model: layers and networks through programmed crossbars, exact integers.

Layers without weights go through :mod:`steelyard.network.golden`. With an ideal ADC and without
device effects every tensor equals that of the integer network.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...network import Conv, Network, golden, output_size, requantize
from ...progress import Progress
from .analog import AnalogEffects
from .arithmetic import Crossbars
from .blocks import LayerMapping
from .cells import DeviceEffects
from .converters import Converter
from .counts import Activity, Tally
from .mapping import NetworkMapping

__all__ = ["Result", "activity", "layer", "most_activity", "pixel_times", "run", "windows"]

WINDOW_BYTES = 1 << 25
"""Bytes of gathered inputs that a layer works on at once."""


@dataclass(frozen=True, eq=False)
class Result:
    """Network that went through crossbars."""

    tensors: dict[str, NDArray[np.int8]]
    """Every tensor by name, int8 (images, channels, height, width)."""
    output: NDArray[np.int8]
    layers: dict[str, Activity]
    """Work of every mapped layer, by name, over all images."""


def run(
    network: Network,
    mapping: NetworkMapping,
    x: NDArray[np.int8],
    *,
    effects: DeviceEffects | None = None,
    converters: Mapping[str, Converter] | None = None,
    analog: AnalogEffects | None = None,
    progress: Progress | None = None,
) -> Result:
    """Network through its crossbars.

    Parameters
    ----------
    mapping : of this network, as of :func:`.map_network`
    x : int8 (images, channels, height, width), codes of the network's input tensor
    effects : effects of real devices on the cells
    converters : of every mapped layer by name; the configuration's unless given
    analog : effects that leave cells and sums between levels, which no tile has
    progress : called after every layer with layers done, layers in all, and its name

    Raises
    ------
    UserError
        If the mapping is of another network or `x` is not of the input's shape.
    """
    tensors, layers = {network.input: x}, {}
    for done, each in enumerate(network.layers, start=1):
        inputs = [tensors[name] for name in each.inputs]
        if isinstance(each, Conv):
            own = _mapping_of(mapping, each)
            tensors[each.output], layers[each.name] = layer(
                network, each, own, inputs[0],
                effects=effects, converter=None if converters is None else converters[each.name],
                analog=analog,
            )  # fmt: skip
        else:
            tensors[each.output] = golden.layer(network, each, *inputs)
        if progress is not None:
            progress(done, len(network.layers), each.name)
    return Result(tensors, tensors[network.output], layers)


def layer(
    network: Network,
    conv: Conv,
    mapping: LayerMapping,
    x: NDArray[np.int8],
    *,
    effects: DeviceEffects | None = None,
    converter: Converter | None = None,
    analog: AnalogEffects | None = None,
) -> tuple[NDArray[np.int8], Activity]:
    """Output int8 (images, channels, height, width) and work of one layer.

    Parameters
    ----------
    conv : layer of `network`
    x : int8 (images, channels, height, width)
    effects, converter, analog : as :func:`run` takes them, of this layer

    Raises
    ------
    UserError
        If `x` is not of the layer's input shape.
    """
    z_x = network.tensor(conv.inputs[0]).zero_point
    z_y = network.tensor(conv.output).zero_point
    # Inputs carry 128 more than their code, so the bias takes back more than the zero point.
    weights = conv.weight.reshape(len(conv.weight), -1).sum(axis=1, dtype=np.int64)
    bias = conv.bias.astype(np.int64) - (z_x + 128) * weights
    crossbars = Crossbars(mapping, effects, converter, analog)
    tally = Tally(mapping, effects)
    height, width = network.tensor(conv.output).shape[1:]
    output = np.empty((len(x), len(conv.weight), height, width), np.int8)
    work = tally.count(np.zeros((mapping.positions, 0), np.uint8))
    for images, inputs in windows(network, conv, x):
        sums = crossbars.accumulate(inputs) + bias
        codes = requantize(sums, conv.multipliers(sums), conv.shift, z_y, conv.lo, conv.hi)
        output[images] = codes.reshape(-1, height, width, len(conv.weight)).transpose(0, 3, 1, 2)
        work += tally.count(inputs)
    return output, work


def activity(
    network: Network, mapping: NetworkMapping, tensors: dict[str, NDArray[np.int8]]
) -> dict[str, Activity]:
    """Work of every mapped layer on given tensors, without the arithmetic.

    Parameters
    ----------
    tensors : every tensor by name, as of ``golden.run(..., trace=True)`` or :class:`Result`

    Raises
    ------
    UserError
        If the mapping is of another network.
    """
    works = {}
    for each in network.layers:
        if isinstance(each, Conv):
            own = _mapping_of(mapping, each)
            tally = Tally(own)
            work = tally.count(np.zeros((own.positions, 0), np.uint8))
            for _, inputs in windows(network, each, tensors[each.inputs[0]]):
                work += tally.count(inputs)
            works[each.name] = work
    return works


def pixel_times(
    network: Network,
    mapping: NetworkMapping,
    tensors: dict[str, NDArray[np.int8]],
    times: NDArray[np.float64],
) -> dict[str, NDArray[np.float64]]:
    """Time of every output pixel in the crossbar that takes the longest for it, by layer name.

    Each float64 (sets, images, pixels).

    Parameters
    ----------
    tensors : as of :func:`activity`
    times : of a step by the most bits that a conversion in it resolves, float64 (sets, adc_bits +
        1)

    Raises
    ------
    UserError
        If the mapping is of another network.
    """
    found = {}
    for each in network.layers:
        if isinstance(each, Conv):
            tally, x = Tally(_mapping_of(mapping, each)), tensors[each.inputs[0]]
            parts = [tally.pixel_times(own, times) for _, own in windows(network, each, x)]
            found[each.name] = np.concatenate(parts, axis=1).reshape(len(times), len(x), -1)
    return found


def most_activity(network: Network, mapping: NetworkMapping) -> dict[str, Activity]:
    """Work of every mapped layer on one image in which no step is skipped.

    Raises
    ------
    UserError
        If the mapping is of another network.
    """
    works = {}
    for each in network.layers:
        if isinstance(each, Conv):
            own = _mapping_of(mapping, each)
            pixels = math.prod(network.tensor(each.output).shape[1:])
            works[each.name] = Tally(own).count(np.full((own.positions, 1), 255, np.uint8)) * pixels
    return works


def windows(
    network: Network, conv: Conv, x: NDArray[np.int8]
) -> Iterator[tuple[slice, NDArray[np.uint8]]]:
    """Inputs of the wordlines, some images at a time: which, and uint8 (positions, pixels).

    Pixels are those of the images in turn, row by row; padding holds the zero point.

    Raises
    ------
    UserError
        If `x` is not int8 of the layer's input shape.
    """
    tensor = network.tensor(conv.inputs[0])
    if x.dtype != np.int8 or x.ndim != 4 or x.shape[1:] != tensor.shape:
        raise UserError(
            f"Tensor {tensor.name!r} of network {network.name!r} must be int8 of shape "
            f"(images, {', '.join(map(str, tensor.shape))}), not {x.dtype} of {x.shape}; "
            "quantize it with the tensor's scale and zero point."
        )
    _, channels, high, wide = conv.weight.shape
    top, left, bottom, right = conv.padding
    rows, columns = output_size(tensor.shape[1:], (high, wide), conv.stride, conv.padding)
    bytes_each = channels * high * wide * rows * columns
    step = max(1, WINDOW_BYTES // bytes_each)
    for first in range(0, len(x), step):
        part = x[first : first + step]
        around = ((0, 0), (0, 0), (top, bottom), (left, right))
        raised = np.pad(part, around, constant_values=tensor.zero_point).view(np.uint8) ^ 0x80
        taps = np.lib.stride_tricks.sliding_window_view(raised, (high, wide), axis=(2, 3))
        taken = taps[:, :, :: conv.stride[0], :: conv.stride[1]]
        inputs = taken.transpose(4, 5, 1, 0, 2, 3).reshape(channels * high * wide, -1)
        yield slice(first, first + len(part)), inputs


def _mapping_of(mapping: NetworkMapping, conv: Conv) -> LayerMapping:
    own = mapping.layers.get(conv.name)
    if own is None or own.shape != conv.weight.shape:
        raise UserError(
            f"The mapping has no layer {conv.name!r} of shape {conv.weight.shape}; "
            "map this network."
        )
    return own
