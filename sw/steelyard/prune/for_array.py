"""Pruning of a whole network in one call."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn

from steelyard.balanced import LayerReport, removed_share, removed_work, uniform
from steelyard.errors import UserError
from steelyard.progress import Progress
from steelyard.prune.allocation import allocate
from steelyard.prune.groups import GROUP, Map, check_k, finish, verify
from steelyard.prune.layers import Structure
from steelyard.prune.repair import check_ks, prune_balanced, prune_sequentially
from steelyard.prune.solve import RIDGE
from steelyard.prune.tuning import Augment, finetune
from steelyard.prune.user_network import examined

Method = Literal["magnitude", "reconstruct", "finetune"]
METHODS = ("magnitude", "reconstruct", "finetune")
TUNE_EPOCHS = 6


@dataclass(frozen=True)
class PruneResult:
    """A pruned network and the account of it.

    Attributes
    ----------
    model
        Pruned copy in evaluation mode; pruned weights are exactly 0.
    ks
        Weights kept in a group, by layer.
    group
        Weights in a group.
    sparsity
        Share of the weights outside the first layer that was removed.
    work
        Share of the multiplications outside the first layer that was removed.
    left_dense
        (name, reason) of every layer that was not pruned.
    layers
        One report for every pruned layer, in the order in which they run.
    sources
        Maps that the inputs of pruned Linear layers were flattened from, for :func:`verify`.
    """

    model: nn.Module
    ks: dict[str, int]
    group: int
    sparsity: float
    work: float
    left_dense: tuple[tuple[str, str], ...]
    layers: tuple[LayerReport, ...]
    sources: dict[str, Map]


def prune(
    model: nn.Module,
    calibration: torch.Tensor | np.ndarray,
    sparsity: float = 0.75,
    group: int = GROUP,
    method: Method = "reconstruct",
    *,
    ks: Mapping[str, int] | None = None,
    work: float | None = None,
    least: int = 1,
    exclude: Collection[str] = (),
    augment: Augment | None = None,
    epochs: int = TUNE_EPOCHS,
    ridge: float = RIDGE,
    seed: int = 0,
    progress: Progress | None = None,
) -> PruneResult:
    """A copy of ``model`` in which every weight group keeps at most the K of its layer.

    Parameters
    ----------
    model
        Trained network; it is left as it is.
    calibration
        Network inputs without labels, batch first.
    sparsity
        Share of the weights outside the first layer that must go, at least 0 and below 1. Layers
        left dense count, so that the pruned ones make up for them.
    group
        Weights in a group.
    method
        ``magnitude`` keeps the largest weights, the same K everywhere, and looks at one
        calibration image only; ``reconstruct`` chooses K by sensitivity and weights by their
        loss, and repairs every layer by least squares; ``finetune`` then also tunes the network
        towards the outputs of the dense one.
    ks
        K by layer, in place of a target: layers that it does not name stay dense.
    work
        Share of the multiplications outside the first layer that must go as well; unless given,
        ``sparsity``, so that the speedup follows the sparsity; 0 bounds the weights alone.
    least
        Smallest K that the sensitivity may give a layer; see :func:`allocate`.
    exclude
        Layers to leave dense.
    augment
        For ``finetune``: function of a batch and a generator that gives a varied batch.
    epochs
        For ``finetune``: passes over the calibration images.
    ridge
        Of the least squares, relative to the mean power of a layer's inputs.
    seed
        Of every random choice.
    progress
        Called with the steps done, their number and what is being done.

    Raises
    ------
    UserError
        If an argument is out of range, the target cannot be reached, a weight is NaN, or a layer
        in ``ks`` cannot be pruned.
    """
    check_k("every layer", least, group)
    if method not in METHODS:
        raise UserError(
            f"There is no pruning method {method!r}; choose one of {', '.join(METHODS)}."
        )
    dense, images, structure = examined(model, calibration, sparsity, exclude)
    bound = sparsity if work is None else work
    if ks is not None:
        check_ks(structure, ks, group)
        chosen = dict(ks)
    elif method == "magnitude":
        chosen = uniform(structure, sparsity, group)
    else:
        chosen = allocate(
            dense,
            images,
            sparsity,
            group,
            work=bound,
            least=least,
            structure=structure,
            seed=seed,
            progress=progress,
        )
    chosen = {i.name: chosen[i.name] for i in structure.prunable if i.name in chosen}
    sparse = copy.deepcopy(dense)
    errors: dict[str, float] = {}
    if method == "magnitude":
        prune_balanced(sparse, chosen, group, structure=structure)
    else:
        errors = prune_sequentially(
            dense,
            sparse,
            images,
            structure,
            chosen,
            group,
            ridge=ridge,
            seed=seed,
            progress=progress,
        )
    if method == "finetune":
        finetune(
            sparse,
            images,
            teacher=dense,
            epochs=epochs,
            augment=augment,
            seed=seed,
            progress=progress,
        )
    finish(sparse)
    verify(sparse, chosen, group, structure.sources)
    return _report(sparse, structure, chosen, group, errors)


def _report(
    sparse: nn.Module,
    structure: Structure,
    ks: dict[str, int],
    group: int,
    errors: Mapping[str, float],
) -> PruneResult:
    reports = []
    dense = list(structure.left_dense)
    for info in structure.prunable:
        if info.name not in ks:
            dense.append((info.name, "not in the given table of K"))
            continue
        k = ks[info.name]
        kept = info.kept(k, group)
        positions = info.macs // info.weights
        reports.append(
            LayerReport(
                info.name,
                k,
                info.weights,
                kept,
                info.macs,
                positions * kept,
                errors.get(info.name),
            )
        )
    return PruneResult(
        sparse,
        ks,
        group,
        removed_share(structure, ks, group),
        removed_work(structure, ks, group),
        tuple(dense),
        tuple(reports),
        structure.sources,
    )
