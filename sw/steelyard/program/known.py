"""Known answer: an input that travels with a program, and what every layer must make of it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..network import Network

if TYPE_CHECKING:
    from .program import Program

__all__ = ["KnownAnswer", "layer_hash"]

SEED = 2024
"""Of the input, which is an image of random codes."""
INPUT, OUTPUT = "known/input", "known/output"
"""Arrays of a file; the outputs have numbers."""


def layer_hash(x: NDArray[np.int8]) -> str:
    """SHA-256 of a tensor of one image, int8 (1, channels, height, width)."""
    return hashlib.sha256(np.ascontiguousarray(x, np.int8).tobytes()).hexdigest()


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownAnswer:
    """What a device must compute of one image.

    Members
    -------
    input : int8 (1, channels, height, width)
    outputs : the same of each output, by name
    layers : :func:`layer_hash` of each layer's output
    """

    input: NDArray[np.int8]
    outputs: dict[str, NDArray[np.int8]]
    layers: tuple[str, ...]

    @classmethod
    def of(cls, program: "Program") -> "KnownAnswer":
        """That of a program, by its golden model."""
        from ..network.random import random_input  # Brings the golden model's threads along.

        network = program.network
        x = random_input(network, 1, SEED)
        tensors = program.golden(x)
        hashes = tuple(layer_hash(tensors[layer.output]) for layer in network.layers)
        outputs = {name: tensors[name] for name in network.outputs}
        return cls(input=x, outputs=outputs, layers=hashes)

    def arrays(self) -> dict[str, NDArray]:
        """Its arrays by their names in a file."""
        outputs = {f"{OUTPUT}{n}": values for n, values in enumerate(self.outputs.values())}
        return {INPUT: self.input} | outputs

    @classmethod
    def read(cls, network: Network, layers: Any, arrays: Mapping[str, NDArray]) -> "KnownAnswer":
        """That of a file.

        Raises
        ------
        ValueError
            If it is not one of this network.
        """
        places = {INPUT: network.input}
        places |= {f"{OUTPUT}{n}": name for n, name in enumerate(network.outputs)}
        for place, name in places.items():
            shape = (1, *network.tensor(name).shape)
            if arrays[place].dtype != np.int8 or arrays[place].shape != shape:
                raise ValueError(f"array {place!r} must be int8 {shape}")
        whole = isinstance(layers, list) and len(layers) == len(network.layers)
        if not whole or not all(isinstance(each, str) for each in layers):
            raise ValueError("the known answer must have a hash for each layer")
        outputs = {name: arrays[f"{OUTPUT}{n}"] for n, name in enumerate(network.outputs)}
        return cls(input=arrays[INPUT], outputs=outputs, layers=tuple(layers))
