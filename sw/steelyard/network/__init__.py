"""Integer networks: the graph, its layer kinds, and the golden model that all hardware must equal.

`kinds` holds one module a layer kind, `builder` makes networks layer by layer, `golden` computes
them in numpy, `arrays` takes them to files and back, `random` makes networks for tests.
"""

from .arithmetic import requantize
from .arrays import from_arrays, to_arrays
from .averages import Run, average_runs, join_averages
from .borders import BORDERS, border
from .builder import NetworkBuilder
from .composing import compose_tables
from .graph import Network
from .grouped import ungroup
from .kinds import *  # noqa: F403 - what a kind's module gives is public here
from .kinds import __all__ as _kinds
from .layer import Layer, Rank
from .masks import mask_of, mask_sentences
from .scales import add_fixed_point, fixed_point
from .tensor import Shape, Tensor
from .window import Padding, Stride, Window, output_size

__all__ = [
    "BORDERS",
    "Layer",
    "Network",
    "NetworkBuilder",
    "Padding",
    "Rank",
    "Run",
    "Shape",
    "Stride",
    "Tensor",
    "Window",
    "add_fixed_point",
    "average_runs",
    "border",
    "compose_tables",
    "fixed_point",
    "from_arrays",
    "join_averages",
    "mask_of",
    "mask_sentences",
    "output_size",
    "requantize",
    "to_arrays",
    "ungroup",
]
__all__ += _kinds
