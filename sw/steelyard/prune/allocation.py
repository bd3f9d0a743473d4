"""How many weights of a group each layer keeps, under one target for the whole network."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence

import numpy as np
import torch
from torch import nn

from steelyard.balanced import check_reachable, check_sparsity, descend
from steelyard.errors import UserError
from steelyard.progress import Progress
from steelyard.prune.groups import GROUP, check_finite, check_k, to_rows
from steelyard.prune.layers import LayerInfo, Structure, as_input, inspect
from steelyard.prune.repair import layer_moments, prunable_layer, set_fit
from steelyard.prune.solve import RIDGE, choose, regularize, solve
from steelyard.prune.statistics import Moments, Positions, wanted_outputs
from steelyard.prune.trial import forwarded

SENSITIVITY_IMAGES = 128
SENSITIVITY_ROWS = 8192
STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 12)

Pick = Callable[[Moments, torch.Tensor, LayerInfo, int], torch.Tensor]
"""Mask (oc, d) of a layer by its moments, weights (oc, d) and K."""


def sensitivity(
    model: nn.Module,
    calibration: torch.Tensor | np.ndarray,
    structure: Structure,
    group: int = GROUP,
    *,
    tried: Sequence[int] = STEPS,
    pick: Pick | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, dict[int, float]]:
    """Damage to the network's output when one layer alone is pruned and repaired.

    For every prunable layer and every K tried: the mean square change of the outputs over their
    variance, on the first 128 calibration images. ``pick`` chooses the weights, those of most
    input product in every group unless given.
    """
    images = as_input(calibration)[:SENSITIVITY_IMAGES]
    trial = copy.deepcopy(model)
    trial.eval()
    positions = Positions(len(images), SENSITIVITY_ROWS, seed)
    wanted = wanted_outputs(model, structure.prunable, images, positions)
    clean = _output(trial, images)
    power = float((clean - clean.mean(0)).square().mean()) or 1.0
    damage: dict[str, dict[int, float]] = {}
    for number, info in enumerate(structure.prunable):
        if progress is not None:
            progress(number, len(structure.prunable), info.name)
        layer = prunable_layer(trial, info.name)
        check_finite(info.name, layer.weight)
        found = layer_moments(trial, info, images, wanted[info.name], positions)
        rows = to_rows(layer.weight.detach(), info.source)
        undo = _snapshot(trial, info)
        damage[info.name] = {group: 0.0}
        for k in (k for k in tried if k < group):
            if pick is None:
                mask = choose(found, rows, k, group, select="product", ridge=RIDGE, name=info.name)
            else:
                mask = pick(found, rows, info, k)
            set_fit(trial, info, solve(*regularize(found, rows, RIDGE), mask), found)
            change = (_output(trial, images) - clean).square().mean()
            damage[info.name][k] = float(change) / power
            undo()
    return damage


def allocate(
    model: nn.Module,
    calibration: torch.Tensor | np.ndarray,
    target_sparsity: float,
    group: int = GROUP,
    *,
    work: float | None = None,
    least: int = 1,
    exclude: Collection[str] = (),
    structure: Structure | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, int]:
    """K of every prunable layer, by what pruning the layer alone does to the network's output.

    Starting dense, the step that costs least damage for what it removes is taken until the
    target is met.

    Parameters
    ----------
    model
        Trained network.
    calibration
        Network inputs without labels, batch first.
    target_sparsity
        Share of the weights outside the first layer that must go, at least 0 and below 1.
    group
        Weights in a group.
    work
        Share of the multiplications outside the first layer that must go as well; None bounds
        the weights alone, which may leave most of the work in early layers of large maps.
    least
        Smallest K to give a layer; an array that takes longer to load a group than to use it
        gains nothing from a smaller one.
    exclude
        Layers to leave dense.
    structure
        Of the model, if it is known already.
    seed
        Of the choice of output positions.
    progress
        Called before every layer.

    Raises
    ------
    UserError
        If a target is out of range or cannot be reached, or a weight is NaN.
    """
    check_sparsity(target_sparsity)
    check_k("every layer", least, group)
    if work is not None:
        check_sparsity(work)
    images = as_input(calibration)
    known = structure or inspect(model, images, exclude)
    check_reachable(known, group, least, target_sparsity, work, f"K = {least} of {group}")
    tried = [k for k in STEPS if least <= k < group]
    damage = sensitivity(model, images, known, group, tried=tried, seed=seed, progress=progress)
    return descend(known, damage, target_sparsity, work, group)


def _output(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        result = forwarded(model, images.clone())
    if not bool(torch.isfinite(result).all()):
        raise UserError(
            f"The network gives scores that are NaN or infinite for one of the first {len(images)} "
            "calibration images; leave such images out, or check their scale and the weights."
        )
    return result.double()


def _snapshot(model: nn.Module, info: LayerInfo) -> Callable[[], None]:
    """A function that puts the layer and the norm behind it back as they are now."""
    layer = prunable_layer(model, info.name)
    touched: list[torch.Tensor] = list(layer.parameters())
    if info.norm is not None:
        touched += model.get_submodule(info.norm).buffers()
    saved = [(tensor, tensor.detach().clone()) for tensor in touched]

    def undo() -> None:
        with torch.no_grad():
            for tensor, value in saved:
                tensor.copy_(value)

    return undo
