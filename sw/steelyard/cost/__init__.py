"""What a mapping costs in area, energy and time, under named constant sets.

Only ratios within one set are meant; every constant is a row with unit, node and source.
"""

from .constants import CONSTANTS, Constant, ConstantSet, constant_set
from .model import Cost, NetworkCost, Ratios, compare, price, price_layer

__all__ = [
    "CONSTANTS",
    "Constant",
    "ConstantSet",
    "Cost",
    "NetworkCost",
    "Ratios",
    "compare",
    "constant_set",
    "price",
    "price_layer",
]
