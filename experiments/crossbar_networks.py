"""Quantized networks and test images that experiments with crossbars compare."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from steelyard import data, importer, zoo
from steelyard.network import Network
from steelyard.quantize import quantize

__all__ = ["compared"]

CALIBRATION = 500


def compared(
    model: str, networks: str, images: int, *, bundled: bool
) -> Iterator[tuple[str, str, str, Network, NDArray[np.int8]]]:
    """Each network: how it was named, its mapping and file, itself, and codes of test images.

    Parameters
    ----------
    model : a name of :data:`steelyard.zoo.TRAINABLE`
    networks : ``MAPPING[:FILE],...``; without a file the model's own weights
    images : test images, from the first on
    bundled : of the bundled ones alone, in place of all of Fashion-MNIST
    """
    if bundled:
        sample = zoo.sample()
        train, test = sample.calibration, sample.test
    else:
        whole = data.find(None)
        train, test = whole.train_images, whole.test_images
    calibration = zoo.to_input(train[:CALIBRATION])
    for item in networks.split(","):
        mapping, _, file = item.partition(":")
        network = importer.load(quantize(zoo.load(model, file or None), calibration))
        codes = network.tensor(network.input).quantize(zoo.to_input(test[:images]))
        yield item, mapping, file, network, codes
