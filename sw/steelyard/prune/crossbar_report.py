"""What pruning for a crossbar left of a network and of each of its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from steelyard.prune.constraints import Constraint, CrossbarShape, MatrixShape
from steelyard.prune.groups import from_rows
from steelyard.prune.layers import Structure
from steelyard.prune.layerwise import Found
from steelyard.prune.repair import prunable_layer


@dataclass(frozen=True)
class CrossbarLayerReport:
    """What pruning for a crossbar left of one layer.

    Attributes
    ----------
    name
        In the network.
    keep
        Share of the weights that was allowed.
    weights, kept
        Weights of the layer, and how many the mask leaves.
    error
        Share of the layer's output variance that it missed right after its last repair, which
        follows the network as it was before the last pruning.
    empty_kernels
        Share of the kernels without weights.
    patterns
        Different shapes of the other kernels.
    removed_columns, kept_columns
        Share of the columns of crossbar-sized parts without weights, and without zeros.
    constraint
        What was used, with its thresholds.
    """

    name: str
    keep: float
    weights: int
    kept: int
    error: float
    empty_kernels: float
    patterns: int
    removed_columns: float
    kept_columns: float
    constraint: Constraint


@dataclass(frozen=True)
class CrossbarPruneResult:
    """A network pruned for a crossbar and the account of it.

    Attributes
    ----------
    model
        Pruned copy in evaluation mode; pruned weights are exactly 0.
    constraint
        Name of the constraint.
    masks
        Bool, in the shape of each pruned layer's weight: which weights may be nonzero.
    keeps
        Share of the weights that was allowed, by layer.
    sparsity
        Share of the weights outside the first layer that the masks removed.
    left_dense
        (name, reason) of every layer that was not pruned.
    layers
        One report for every pruned layer, in the order in which they run.
    seed
        With which the same comes out again.
    """

    model: nn.Module
    constraint: str
    masks: dict[str, torch.Tensor]
    keeps: dict[str, float]
    sparsity: float
    left_dense: tuple[tuple[str, str], ...]
    layers: tuple[CrossbarLayerReport, ...]
    seed: int


def report(
    sparse: nn.Module,
    constraint: str,
    structure: Structure,
    keeps: Mapping[str, float],
    found: Mapping[str, Found],
    size: CrossbarShape,
    seed: int,
) -> CrossbarPruneResult:
    """The account of what ``prune_layers`` found in the last step.

    Parameters
    ----------
    sparse
        The pruned network; it becomes the result's own.
    constraint
        Name of the constraint.
    structure
        Of the dense network.
    keeps
        Share of the weights that was allowed, by layer.
    found
        By layer, masks (oc, d); layers without an entry keep all weights.
    size
        Of the crossbar.
    seed
        With which it was pruned.
    """
    reports, masks, gone = [], {}, 0
    left = list(structure.left_dense)
    for info in structure.prunable:
        if info.name not in found:
            left.append((info.name, "keeps all its weights"))
            continue
        own = found[info.name]
        weight = prunable_layer(sparse, info.name).weight
        masks[info.name] = from_rows(own.mask, weight.shape, info.source)
        kept = int(own.mask.sum())
        gone += info.weights - kept
        reports.append(
            CrossbarLayerReport(
                info.name,
                keeps[info.name],
                info.weights,
                kept,
                own.error,
                *_describe(own.mask, MatrixShape.of(weight, info.source), size),
                own.constraint,
            )
        )
    return CrossbarPruneResult(
        sparse,
        constraint,
        masks,
        {name: keeps[name] for name in found},
        gone / max(1, structure.weights_outside_first),
        tuple(left),
        tuple(reports),
        seed,
    )


def _describe(
    mask: torch.Tensor, shape: MatrixShape, size: CrossbarShape
) -> tuple[float, int, float, float]:
    """Share of empty kernels, shapes of others, shares of removed and of kept columns."""
    padded = torch.cat([mask, torch.zeros(len(mask), 1, dtype=torch.bool)], 1)
    sets = shape.row_sets(size)
    kernels = padded[:, sets].reshape(-1, sets.shape[1])
    masks = (kernels * (1 << torch.arange(sets.shape[1]))).sum(1)
    columns = [mask[channels, rows] for channels, rows in shape.parts(size)]
    removed = torch.cat([~part.any(1) for part in columns]).double().mean()
    whole = torch.cat([part.all(1) for part in columns]).double().mean()
    shapes = int((masks.unique() != 0).sum())
    return float((masks == 0).double().mean()), shapes, float(removed), float(whole)
