"""What a mapping costs in area, energy and time, under named constant sets.

Only ratios within one set are meant; every constant is a row with unit, node and source.
"""

from .constants import CONSTANTS, Constant, ConstantSet, constant_set
from .copies import Choice, Design, Work, frontier, most_images, one_copy
from .model import Cost, NetworkCost, Ratios, compare, price, price_layer, step_times
from .pipeline import Copies, Pipeline, Schedule, Stage, pipeline_of

__all__ = [
    "CONSTANTS",
    "Choice",
    "Constant",
    "ConstantSet",
    "Copies",
    "Cost",
    "Design",
    "NetworkCost",
    "Pipeline",
    "Ratios",
    "Schedule",
    "Stage",
    "Work",
    "compare",
    "constant_set",
    "frontier",
    "most_images",
    "one_copy",
    "pipeline_of",
    "price",
    "price_layer",
    "step_times",
]
