"""Accuracy of an integer network, and what it becomes with fewer weights."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError
from steelyard.network import Conv, Network, golden

__all__ = ["PRUNED_GROUP", "accuracy", "keep_largest"]

PRUNED_GROUP = 16
"""Weights of a group of which :func:`keep_largest` keeps some, whatever groups an array has."""
BLOCK = 1000
"""Images computed at a time."""


def keep_largest(network: Network, k: int) -> Network:
    """Network with the `k` largest weights of each group of 16 kept, in all layers but the first.

    What pruning of that strength does to time and size, exactly; pruning itself chooses better and
    repairs what is left, so its accuracy is higher.

    Raises
    ------
    UserError
        If `k` is no integer from 1 to 16.
    """
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= PRUNED_GROUP:
        raise UserError(
            f"K must be an integer from 1 to {PRUNED_GROUP}, not {k!r}; choose one of these."
        )
    layers, first = [], True
    for layer in network.layers:
        if isinstance(layer, Conv):
            layer = layer if first else replace(layer, weight=_largest(layer.weight, k))
            first = False
        layers.append(layer)
    return replace(network, layers=tuple(layers))


def _largest(weight: NDArray[np.int8], k: int) -> NDArray[np.int8]:
    """Weights int8 (out, in, height, width) with the `k` largest of each group along (ky, kx, in).

    Of equal ones the first stay.
    """
    channels, inputs, height, width = weight.shape
    flat = weight.transpose(0, 2, 3, 1).reshape(channels, -1)
    places = flat.shape[1]
    padded = np.zeros((channels, -(-places // PRUNED_GROUP) * PRUNED_GROUP), np.int8)
    padded[:, :places] = flat
    groups = padded.reshape(channels, -1, PRUNED_GROUP)
    order = np.argsort(-np.abs(groups.astype(np.int16)), axis=2, kind="stable")
    np.put_along_axis(groups, order[:, :, k:], np.int8(0), axis=2)
    flat = groups.reshape(channels, -1)[:, :places]
    kept = flat.reshape(channels, height, width, inputs).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(kept)


def accuracy(network: Network, images: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Share of images whose largest score is that of their label, by the golden model.

    No configuration changes it: they all compute the same integers.

    Parameters
    ----------
    images : real inputs, as where the network comes from, images first
    labels : class of each, integers (images,)

    Raises
    ------
    UserError
        If there is not one label for each image, or images have not the network's shape.
    """
    source = network.tensor(network.input)
    view = network.input_view
    if images.shape[1:] != tuple(view):
        raise UserError(
            f"Images have the shape {images.shape[1:]} and network {network.name!r} takes "
            f"{tuple(view)}; give images of that shape."
        )
    if labels.shape != (len(images),) or not len(images):
        raise UserError(
            f"There are {len(images)} images and labels of the shape {labels.shape}; give an "
            "integer for each image, and at least one image."
        )
    right = 0
    for start in range(0, len(images), BLOCK):
        planes = network.planes(network.input, images[start : start + BLOCK])
        scores = golden.run(network, source.quantize(planes))
        right += int(
            (scores.reshape(len(planes), -1).argmax(1) == labels[start : start + BLOCK]).sum()
        )
    return right / len(images)
