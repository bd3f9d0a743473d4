"""Weights of nine signed bits, as two weights of the same activation.

The accelerator's weights run from -127 to 127. torch's observers go to -128, and codes around a
zero point of their own go further. Such a layer reads every channel twice, and two weights of eight
bits add up to one: exact, at the price of a copy of its input and up to twice the multiplications.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.importer.naming import unused
from steelyard.network import Concat, NetworkBuilder, Shuffle, Tensor

LARGEST = 127
"""Of a weight that the accelerator multiplies with."""
WIDEST = 2 * LARGEST
"""Of a weight that two of them add up to."""


def split(weight: NDArray[Any]) -> NDArray[np.int8]:
    """Int8 weights (outputs, 2 * channels, ...) of an input whose channels stand there twice."""
    first = np.clip(weight, -LARGEST, LARGEST)
    pairs = np.stack((first, weight - first), axis=2)
    return pairs.reshape(len(weight), -1, *weight.shape[2:]).astype(np.int8)


def twice(builder: NetworkBuilder, source: Tensor) -> str:
    """Name of a tensor with every channel of another twice in a row; made once."""
    for layer in builder.layers:
        if isinstance(layer, Shuffle) and layer.groups == 2:
            joined = next(each for each in builder.layers if each.output == layer.inputs[0])
            if isinstance(joined, Concat) and joined.inputs == (source.name, source.name):
                return layer.output
    taken = {*builder.tensors, *(layer.name for layer in builder.layers)}
    names = [unused(f"{source.name}/{what}", taken) for what in ("joined", "twice")]
    builder.append(Concat, source.name, source.name, name=names[0])
    return builder.append(Shuffle, names[0], name=names[1], groups=2)
