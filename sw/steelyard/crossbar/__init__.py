"""The RRAM crossbar in integers: configuration, mapping of weights, golden model.

Everything follows docs/crossbar.md to the bit; nothing here needs more than numpy.
"""

from .blocks import Block, LayerMapping, OperationUnit, matrix_of, operation_units, unmap
from .config import CrossbarConfig
from .index import Index
from .mapping import NetworkMapping, decode_index, map_layer, map_network
from .methods import METHODS
from .patterns import row_sets

__all__ = [
    "METHODS",
    "Block",
    "CrossbarConfig",
    "Index",
    "LayerMapping",
    "NetworkMapping",
    "OperationUnit",
    "decode_index",
    "map_layer",
    "map_network",
    "matrix_of",
    "operation_units",
    "row_sets",
    "unmap",
]
