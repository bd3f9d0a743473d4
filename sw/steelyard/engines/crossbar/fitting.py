"""Ranges of converters, fitted layer by layer to the bitline sums of calibration images."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...network import Conv, Network, golden
from ...progress import Progress
from .arithmetic import Crossbars
from .converters import Converter
from .golden import windows
from .mapping import NetworkMapping

__all__ = ["fit_converters", "fitted"]

BINS = 1 << 12
"""Bins of a layer's sums; where there are more possible sums, neighbours share one."""
CANDIDATES = 256
"""Steps that are tried for a width; where more are possible, these lie evenly by their ratio."""


def fit_converters(
    network: Network,
    mapping: NetworkMapping,
    codes: NDArray[np.int8],
    bits: Sequence[int],
    *,
    progress: Progress | None = None,
) -> dict[int, dict[str, Converter]]:
    """Converters of every mapped layer, by name, for each of some widths.

    A layer's converters round to the nearest code and have the step with the least squared error
    over all conversions of the images, each by the place that its code takes in the product
    (``2**(t*dac_bits + j*cell_bits)`` in step t and slice j). Inputs are those of the integer
    network.

    Parameters
    ----------
    codes : calibration images, int8 (images, channels, height, width), no labels
    bits : widths of the converters
    progress : called with layers done, layers in all, and the layer's name

    Raises
    ------
    UserError
        If a width is not possible, or the images are not the network's.
    """
    tensors = golden.run(network, codes, trace=True)
    layers = [each for each in network.layers if isinstance(each, Conv)]
    found: dict[int, dict[str, Converter]] = {each: {} for each in bits}
    for done, layer in enumerate(layers, start=1):
        crossbars = Crossbars(mapping.layers[layer.name])
        size = -(-(mapping.config.greatest_sum + 1) // BINS)
        weights = np.zeros(BINS)
        for _, inputs in windows(network, layer, tensors[layer.inputs[0]]):
            weights += crossbars.weighted_sums(inputs, size, BINS)
        # A bin's sums stand for the one in its middle.
        sums = np.arange(BINS) * size + size // 2
        for each in bits:
            found[each][layer.name] = fitted(sums, weights, each)
        if progress is not None:
            progress(done, len(layers), layer.name)
    return found


def fitted(sums: NDArray[np.int64], weights: NDArray[np.float64], bits: int) -> Converter:
    """Converter with the least weighted squared error on given sums, ascending; of equal ones that
    of the least step."""
    seen = sums[weights > 0]
    most = max(1, -(-int(seen.max(initial=0)) // ((1 << bits) - 1)))
    if most <= CANDIDATES:
        steps = np.arange(1, most + 1)
    else:
        steps = np.unique(np.geomspace(1, most, CANDIDATES).round().astype(np.int64))
    converters = [Converter(bits, int(step)) for step in steps]
    errors = [float((weights * (own.convert(sums) - sums) ** 2).sum()) for own in converters]
    return converters[int(np.argmin(errors))]
