"""Pruning in local weight groups, so that every processing element gets the same work.

Chooses what each layer keeps, prunes through torch's own pruning, and repairs the network
without labels. Needs torch.
"""

from steelyard.prune.allocation import (
    allocate,
    removed_share,
    removed_work,
    sensitivity,
    uniform,
)
from steelyard.prune.api import METHODS, LayerReport, PruneResult, prune
from steelyard.prune.groups import GROUP, BalancedGroups, balanced_mask, finish, verify
from steelyard.prune.layers import LayerInfo, Structure, inspect, prunable_layers
from steelyard.prune.repair import prune_balanced, prune_sequentially, reconstruct
from steelyard.prune.tuning import finetune, gradual

__all__ = [
    "GROUP",
    "METHODS",
    "BalancedGroups",
    "LayerInfo",
    "LayerReport",
    "PruneResult",
    "Structure",
    "allocate",
    "balanced_mask",
    "finetune",
    "finish",
    "gradual",
    "inspect",
    "prunable_layers",
    "prune",
    "prune_balanced",
    "prune_sequentially",
    "reconstruct",
    "removed_share",
    "removed_work",
    "sensitivity",
    "uniform",
    "verify",
]
