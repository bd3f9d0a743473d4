"""Integer networks: the graph, its check, and the golden model that all hardware must equal.

`golden` computes a network in numpy, `random` makes networks for tests.
"""

from .graph import (
    Add,
    AvgPool,
    Conv,
    Layer,
    MaxPool,
    Network,
    Tensor,
    from_arrays,
    output_size,
    to_arrays,
)

__all__ = [
    "Add",
    "AvgPool",
    "Conv",
    "Layer",
    "MaxPool",
    "Network",
    "Tensor",
    "from_arrays",
    "output_size",
    "to_arrays",
]
