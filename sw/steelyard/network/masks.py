"""N:M patterns in the weights of a layer: at most N of any M neighbouring weights are not zero."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .graph import Network
from .kinds import Conv

__all__ = ["mask_of", "mask_sentences"]

LENGTHS = (4, 8)
"""M that tools make masks of; 1:2 shows as 2:4 at most."""


def mask_of(weights: NDArray[np.int8]) -> tuple[int, int] | None:
    """Sparsest N:M with M of 4 or 8 that weights keep along their last axis, None for none.

    Parameters
    ----------
    weights : (..., inputs); a pattern needs inputs that M divides
    """
    best: tuple[int, int] | None = None
    for length in LENGTHS:
        if weights.shape[-1] % length or not weights.size:
            continue
        blocks = (weights != 0).reshape(-1, length).sum(1)
        most = max(1, int(blocks.max()))
        if most < length and _sparser((most, length), best):
            best = (most, length)
    return best


def _sparser(one: tuple[int, int], other: tuple[int, int] | None) -> bool:
    return other is None or one[0] * other[1] < other[0] * one[1]


def mask_sentences(network: Network, ks: Mapping[str, int], group: int) -> list[str]:
    """A sentence on every layer whose weights have an N:M pattern, with the K that it runs at.

    Along input channels such a pattern is one of the array's groups, which hold the channels of
    one pixel of the window. Along a flattened map it is none: there neighbours are pixels.

    Parameters
    ----------
    ks : K of the layers by name
    group : weights in a group
    """
    found = []
    for layer in network.layers:
        if not isinstance(layer, Conv) or layer.name not in ks:
            continue
        k = ks[layer.name]
        along = mask_of(layer.weight.transpose(0, 2, 3, 1))
        flat = mask_of(layer.weight.reshape(len(layer.weight), -1))
        pixels = layer.weight.shape[2] * layer.weight.shape[3]
        # Chance alone makes dense patterns of short blocks, and sparser groups than a pattern's.
        made = flat is not None and 2 * flat[0] <= flat[1]
        if layer.fully_connected and pixels > 1 and flat and made and _sparser(flat, along):
            channels = layer.weight.shape[1]
            found.append(
                f"{layer.name}: {flat[0]}:{flat[1]} along a flattened map, where a group holds "
                f"channels of one pixel and needs K = {k} of {group}; masked along axis 1 of "
                f"weight.reshape({len(layer.weight)}, {channels}, "
                f"{layer.weight.shape[2]}, {layer.weight.shape[3]}) it would be "
                f"{-(-flat[0] * group // flat[1])}"
            )
        elif along is not None and (
            k * along[1] == along[0] * min(group, layer.weight[0].size) or layer.groups > 1
        ):
            found.append(
                f"{layer.name}: {along[0]}:{along[1]} along input channels, K = {k} of {group}"
            )
    return found
