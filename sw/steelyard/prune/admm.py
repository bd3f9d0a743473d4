"""Alternating directions (ADMM) with any constraint of this room, after StructADMM.

Zhang et al., StructADMM (arXiv 1807.11091): the weights W follow a loss and are pulled towards
their own projection Z, which follows them; the dual variable U collects what still keeps the
two apart. Here the loss of a single layer is the least squares of its outputs, whose W-step is
exact and needs no label, or that of the whole network, by gradient descent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from steelyard.errors import UserError
from steelyard.progress import Progress
from steelyard.prune.constraints import Constraint, MatrixShape
from steelyard.prune.groups import stored_weight, to_rows
from steelyard.prune.layers import Structure, as_input
from steelyard.prune.repair import prunable_layer
from steelyard.prune.solve import factor, regularize
from steelyard.prune.statistics import Moments
from steelyard.prune.tuning import BATCH, RATE, Augment, check_following, following_loss

ROUNDS = 20
LAYER_PULL = 0.03
LAYER_GROWTH = 1.2


def layer_admm(
    found: Moments,
    rows: torch.Tensor,
    project: Callable[[torch.Tensor], torch.Tensor],
    *,
    ridge: float,
    rounds: int = ROUNDS,
    pull: float = LAYER_PULL,
    growth: float = LAYER_GROWTH,
) -> torch.Tensor:
    """Mask (oc, d) of one layer by the least squares of its outputs.

    Parameters
    ----------
    found
        Moments of the layer.
    rows
        Its weights (oc, d).
    project
        Function of the weights' energy (oc, d) that gives a mask of the constraint.
    ridge
        See :func:`steelyard.prune.solve.regularize`.
    rounds
        Steps of all three variables.
    pull
        First weight of the projection, relative to the power of an input.
    growth
        Factor on the weight of the projection after every round.
    """
    gram, cross = regularize(found, rows, ridge)
    # With inputs of equal power the energy of a weight is just its square.
    scale = gram.diagonal().sqrt()
    system = gram / torch.outer(scale, scale)
    wanted = cross / scale[:, None]
    unit = torch.eye(len(scale), dtype=torch.float64)
    weights = torch.cholesky_solve(wanted, factor(system))
    mask = project(weights.T.square()).T
    near, dual = weights * mask, torch.zeros_like(weights)
    for _ in range(rounds):
        lower = factor(system + pull * unit)
        weights = torch.cholesky_solve(wanted + pull * (near - dual), lower)
        mask = project((weights + dual).T.square()).T
        near = (weights + dual) * mask
        dual = (dual + weights - near) / growth
        pull *= growth
    return mask.T


def admm(
    model: nn.Module,
    images: torch.Tensor | np.ndarray,
    constraint: Constraint,
    keeps: Mapping[str, float],
    structure: Structure,
    *,
    labels: torch.Tensor | np.ndarray | None = None,
    teacher: nn.Module | None = None,
    powers: Mapping[str, torch.Tensor] | None = None,
    rounds: int = 4,
    epochs: int = 1,
    pull: float = 1e-2,
    growth: float = 2.0,
    augment: Augment | None = None,
    rate: float = RATE,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, torch.Tensor]:
    """Drives the whole network towards a constraint, in place, and returns the masks it found.

    Weights outside the masks are small afterwards but not 0: prune them, and repair or tune.

    Parameters
    ----------
    model
        Dense network.
    images
        Network inputs, batch first.
    constraint
        Shape of the zeros.
    keeps
        Share of the weights that stays, by layer.
    structure
        From :func:`steelyard.prune.inspect`.
    labels, teacher
        What the loss follows, as in :func:`steelyard.prune.finetune`; at least one.
    powers
        Mean square of the layers' inputs (d,) by layer, to judge weights by; 1 unless given.
    rounds
        Steps of projection and dual variable.
    epochs
        Passes over the images in every round.
    pull
        First weight of the squared distance to the projection in the loss.
    growth
        Factor on that weight after every round.
    augment
        Function of a batch and a generator that gives a varied batch; none unless given.
    rate
        Learning rate of Adam, falling to 0 along a cosine over all rounds.
    seed
        Of the order of the images and of the augmentation.
    progress
        Called before every epoch.

    Returns
    -------
    dict
        Masks, bool (oc, d), by layer.

    Raises
    ------
    UserError
        If there is nothing to follow, or a number is out of range.
    """
    x = as_input(images, "The set of images")
    classes = None if labels is None else torch.as_tensor(labels).long()
    check_following(len(x), classes, teacher)
    if rounds < 1 or epochs < 1:
        raise UserError(
            f"ADMM needs at least one round of one epoch, not {rounds} of {epochs}; give more."
        )
    generator = torch.Generator().manual_seed(seed)
    model.eval()
    infos = {info.name: info for info in structure.prunable if info.name in keeps}
    weights = {name: stored_weight(prunable_layer(model, name)) for name in infos}
    shapes = {name: MatrixShape.of(weights[name], infos[name].source) for name in infos}

    def split(name: str, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Projection (oc, d) of a layer's weights, and its mask."""
        power = 1.0 if powers is None else powers[name]
        mask = constraint.project(values.double().square() * power, shapes[name], keeps[name])
        return values * mask, mask

    rows = {name: to_rows(weights[name].detach(), infos[name].source) for name in infos}
    near = {name: split(name, rows[name])[0] for name in infos}
    dual = {name: torch.zeros_like(rows[name]) for name in infos}
    masks: dict[str, torch.Tensor] = {}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    steps = rounds * epochs * math.ceil(len(x) / BATCH)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for number in range(rounds):
        for epoch in range(epochs):
            if progress is not None:
                progress(number * epochs + epoch, rounds * epochs, "admm")
            order = torch.randperm(len(x), generator=generator)
            for start in range(0, len(x), BATCH):
                chosen = order[start : start + BATCH]
                batch = x[chosen] if augment is None else augment(x[chosen], generator)
                known = None if classes is None else classes[chosen]
                loss = following_loss(model(batch.clone()), batch, known, teacher)
                for name, info in infos.items():
                    apart = to_rows(weights[name], info.source) - near[name] + dual[name]
                    loss = loss + pull / 2 * apart.square().sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                falling.step()
        for name, info in infos.items():
            moved = to_rows(weights[name].detach(), info.source) + dual[name]
            near[name], masks[name] = split(name, moved)
            dual[name] = (moved - near[name]) / growth
        pull *= growth
    return masks
