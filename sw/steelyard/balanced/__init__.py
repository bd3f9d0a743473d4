"""Balanced pruning without torch: of float ONNX graphs, in numpy and onnxruntime.

`layers` finds what a graph computes with, `running` measures it, `fit` chooses and repairs weights,
`atoms` and `channels` take out whole channels, `graph` does it all; `budget` is the arithmetic of
targets, for torch's networks too.
"""

from steelyard.balanced.budget import (
    GROUP,
    LayerReport,
    check_k,
    check_prunable,
    check_reachable,
    check_sparsity,
    descend,
    removed_share,
    removed_work,
    uniform,
)
from steelyard.balanced.channels import Thinned, remove_channels
from steelyard.balanced.float_graph import FloatGraph
from steelyard.balanced.graph import (
    GRAPH_METHODS,
    GraphPruneResult,
    graph_sensitivity,
    prune_graph,
    thinned,
)
from steelyard.balanced.layers import GraphLayer, GraphLayers

__all__ = [
    "GRAPH_METHODS", "GROUP", "FloatGraph", "GraphLayer", "GraphLayers", "GraphPruneResult",
    "LayerReport", "Thinned", "check_k", "check_prunable", "check_reachable", "check_sparsity",
    "descend", "graph_sensitivity", "prune_graph", "remove_channels", "removed_share",
    "removed_work", "thinned", "uniform",
]  # fmt: skip
