"""Reports: what is known of a program, a run, a mapping or a pruning, as documents for JSON.

The command line shows and writes what these functions give.
"""

from .check import check_document
from .compare import compare_document
from .crossbars import Comparison, compare_with_traditional, cost_over_dense
from .curves import Curve, Estimate, at_loss, over
from .plan import plan_document
from .run import layer_rows, occupancy, read_run, speed_document
from .spreads import Spread, under_effects
from .steps import (
    crossbar_prune_document,
    damage_document,
    graph_prune_document,
    prune_document,
    quantize_document,
)
from .throughput import Plan, Throughput, throughput
from .timeline import timeline_document
from .trials import Measured, Trial, check_labels, try_all
from .widths import Width, check_widths, layer_costs, under_converters

__all__ = [
    "Comparison",
    "Curve",
    "Estimate",
    "Measured",
    "Plan",
    "Spread",
    "Throughput",
    "Trial",
    "Width",
    "at_loss",
    "check_document",
    "check_labels",
    "check_widths",
    "compare_document",
    "compare_with_traditional",
    "cost_over_dense",
    "crossbar_prune_document",
    "damage_document",
    "graph_prune_document",
    "layer_costs",
    "layer_rows",
    "occupancy",
    "over",
    "plan_document",
    "prune_document",
    "quantize_document",
    "read_run",
    "speed_document",
    "throughput",
    "timeline_document",
    "try_all",
    "under_converters",
    "under_effects",
]
