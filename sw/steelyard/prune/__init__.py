"""Pruning in local weight groups, so that every processing element gets the same work, or in
shapes that a crossbar can leave out.

Chooses what each layer keeps, prunes through torch's own pruning, and repairs the network
without labels. Needs torch.
"""

from steelyard.balanced import LayerReport, removed_share, removed_work, uniform
from steelyard.prune.admm import admm, layer_admm
from steelyard.prune.allocation import allocate, sensitivity
from steelyard.prune.constraints import (
    Balanced,
    Constraint,
    CrossbarShape,
    MatrixShape,
    OuRows,
    Structured,
    Unstructured,
)
from steelyard.prune.crossbar_report import CrossbarLayerReport, CrossbarPruneResult
from steelyard.prune.dependency import weight_dependency
from steelyard.prune.for_array import METHODS, PruneResult, prune
from steelyard.prune.for_crossbar import (
    CONSTRAINTS,
    constraint_of,
    prune_for_crossbar,
    sparsest,
)
from steelyard.prune.groups import GROUP, BalancedGroups, balanced_mask, finish, verify
from steelyard.prune.layers import LayerInfo, Structure, as_input, inspect, prunable_layers
from steelyard.prune.layerwise import allocate_keeps, damage_by_level
from steelyard.prune.mixed import MixedGranularity
from steelyard.prune.ordering import order_channels, pair_channels
from steelyard.prune.patterns import KernelPatterns
from steelyard.prune.repair import prune_balanced, prune_sequentially, reconstruct
from steelyard.prune.shape import shape_of
from steelyard.prune.tuning import finetune, gradual
from steelyard.prune.user_network import prepared, unwrapped

__all__ = [
    "CONSTRAINTS",
    "GROUP",
    "METHODS",
    "Balanced",
    "BalancedGroups",
    "Constraint",
    "CrossbarLayerReport",
    "CrossbarPruneResult",
    "CrossbarShape",
    "KernelPatterns",
    "LayerInfo",
    "LayerReport",
    "MatrixShape",
    "MixedGranularity",
    "OuRows",
    "PruneResult",
    "Structure",
    "Structured",
    "Unstructured",
    "admm",
    "allocate",
    "allocate_keeps",
    "as_input",
    "balanced_mask",
    "constraint_of",
    "damage_by_level",
    "finetune",
    "finish",
    "gradual",
    "inspect",
    "layer_admm",
    "order_channels",
    "pair_channels",
    "prepared",
    "prunable_layers",
    "prune",
    "prune_balanced",
    "prune_for_crossbar",
    "prune_sequentially",
    "reconstruct",
    "removed_share",
    "removed_work",
    "sensitivity",
    "shape_of",
    "sparsest",
    "uniform",
    "unwrapped",
    "verify",
    "weight_dependency",
]
