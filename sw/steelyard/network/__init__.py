"""Integer networks: the graph, its layer kinds, and the golden model that all hardware must equal.

`kinds` holds one module a layer kind, `golden` computes a network in numpy, `arrays` takes it to
files and back, `random` makes networks for tests.
"""

from .arithmetic import requantize
from .arrays import from_arrays, to_arrays
from .graph import Network
from .kinds import LAYER_KINDS, Add, AvgPool, Conv, MaxPool
from .layer import Layer, Rank
from .tensor import Shape, Tensor
from .window import Padding, Window, output_size

__all__ = [
    "LAYER_KINDS",
    "Add",
    "AvgPool",
    "Conv",
    "Layer",
    "MaxPool",
    "Network",
    "Padding",
    "Rank",
    "Shape",
    "Tensor",
    "Window",
    "from_arrays",
    "output_size",
    "requantize",
    "to_arrays",
]
