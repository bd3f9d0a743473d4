"""Reports: what is known of a program, a run, a mapping or a pruning, as documents for JSON.

The command line shows and writes what these functions give.
"""

from .check import check_document
from .compare import compare_document
from .crossbars import Comparison, compare_with_traditional, cost_over_dense
from .plan import plan_document
from .run import layer_rows, occupancy, read_run, speed_document
from .steps import (
    crossbar_prune_document,
    damage_document,
    graph_prune_document,
    prune_document,
    quantize_document,
)
from .timeline import timeline_document

__all__ = [
    "Comparison",
    "check_document",
    "compare_document",
    "compare_with_traditional",
    "cost_over_dense",
    "crossbar_prune_document",
    "damage_document",
    "graph_prune_document",
    "layer_rows",
    "occupancy",
    "plan_document",
    "prune_document",
    "quantize_document",
    "read_run",
    "speed_document",
    "timeline_document",
]
