"""What stands between an ONNX network and an accelerator, and what it would take.

`network` lists every obstacle of a graph; `estimate` plans the network for configurations, without
packing any weight.
"""

from steelyard.check.estimate import (
    BoardFit,
    Estimate,
    LayerCost,
    assess,
    fits,
    smallest,
)
from steelyard.check.network import Examined, examine, host_part, obstacles_of_file

__all__ = [
    "BoardFit",
    "Estimate",
    "Examined",
    "LayerCost",
    "assess",
    "examine",
    "fits",
    "host_part",
    "obstacles_of_file",
    "smallest",
]
