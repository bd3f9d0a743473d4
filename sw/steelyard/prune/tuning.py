"""Tuning of a pruned network under held masks, with labels or with the dense network as teacher."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from steelyard.errors import UserError
from steelyard.progress import Progress
from steelyard.prune.groups import GROUP, layer_mask
from steelyard.prune.layers import Structure, as_input
from steelyard.prune.repair import prune_balanced
from steelyard.prune.trial import reason

Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
BATCH = 50
RATE = 5e-4
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


def gradual(ks: Mapping[str, int], epochs: int, group: int = GROUP) -> list[dict[str, int]]:
    """K of every layer before each epoch, falling from ``group`` to ``ks`` by the cubic rule.

    The last half of the epochs, and the last epoch always, tune at the final K. The rule is that
    of Zhu and Gupta (2017): sparsity rises fast at first and slowly in the end.
    """
    ramp = max(1, epochs // 2)
    plan = []
    for epoch in range(epochs):
        progress = min(1.0, (epoch + 1) / ramp) if epochs > 1 else 1.0
        open_share = (1.0 - progress) ** 3
        plan.append({n: k + math.ceil((group - k) * open_share) for n, k in ks.items()})
    return plan


def finetune(
    model: nn.Module,
    images: torch.Tensor | np.ndarray,
    *,
    labels: torch.Tensor | np.ndarray | None = None,
    teacher: nn.Module | None = None,
    epochs: int = 10,
    schedule: Sequence[Mapping[str, int]] = (),
    structure: Structure | None = None,
    group: int = GROUP,
    augment: Augment | None = None,
    rate: float = RATE,
    batch_statistics: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
) -> None:
    """Tunes the weights that are left, in place; masks of torch's pruning are held.

    Parameters
    ----------
    model
        Network with held masks, or a dense one when a ``schedule`` prunes it on the way.
    images
        Network inputs, batch first.
    labels
        Classes (n,) for the cross entropy.
    teacher
        Network whose outputs are followed by least squares; with ``labels`` too, both count.
    epochs
        Passes over the images.
    schedule
        K of every layer before each of the first epochs, as :func:`gradual` gives it; the masks
        only ever shrink. Needs ``structure``.
    structure
        From :func:`steelyard.prune.inspect`.
    group
        Weights in a group.
    augment
        Function of a batch and a generator that gives a varied batch; none unless given.
    rate
        First learning rate of Adam, falling to 0 along a cosine.
    batch_statistics
        Whether batch normalization follows the statistics of each batch and their moving mean, as
        in training: better with many images. Otherwise it keeps its own, so few do no harm.
    seed
        Of the order of the images and of the augmentation.
    progress
        Called before every epoch.

    Raises
    ------
    UserError
        If there is nothing to follow, or the arguments do not fit each other.
    """
    x = as_input(images, "The set of images")
    classes = None if labels is None else torch.as_tensor(labels).long()
    _check(len(x), classes, teacher, epochs, schedule, structure)
    generator = torch.Generator().manual_seed(seed)
    model.eval()
    if teacher is not None:
        teacher.eval()
    if batch_statistics:
        for module in model.modules():
            module.train(isinstance(module, BatchNorm))
    steps = epochs * math.ceil(len(x) / BATCH)
    if schedule and structure is not None:
        prune_balanced(model, schedule[0], group, structure=structure)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=rate)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(epochs):
        if progress is not None:
            progress(epoch, epochs, "tune")
        tightens = 0 < epoch < len(schedule) and schedule[epoch] != schedule[epoch - 1]
        if tightens and structure is not None:
            prune_balanced(model, schedule[epoch], group, structure=structure)
        order = torch.randperm(len(x), generator=generator)
        for start in range(0, len(x), BATCH):
            chosen = order[start : start + BATCH]
            batch = x[chosen] if augment is None else augment(x[chosen], generator)
            known = None if classes is None else classes[chosen]
            optimizer.zero_grad()
            try:
                following_loss(model(batch.clone()), batch, known, teacher).backward()
            except RuntimeError as error:
                raise UserError(
                    f"The network cannot be tuned ({reason(error)}); prune it with another "
                    "method, which needs no gradients."
                ) from error
            optimizer.step()
            falling.step()
    # The product with the mask is formed in the forward pass: bring it up to the last step.
    with torch.no_grad():
        for layer in model.modules():
            mask = layer_mask(layer)
            if mask is not None:
                layer.weight = layer.get_parameter("weight_orig") * mask
    model.eval()


def check_following(count: int, classes: torch.Tensor | None, teacher: nn.Module | None) -> None:
    """Raises UserError unless there are labels for ``count`` images, or a teacher."""
    if classes is None and teacher is None:
        raise UserError("Tuning needs labels or a teacher to follow; give one of them.")
    if classes is not None and classes.shape != (count,):
        raise UserError(
            f"There are {tuple(classes.shape)} labels for {count} images; give one label an image."
        )


def _check(
    count: int,
    classes: torch.Tensor | None,
    teacher: nn.Module | None,
    epochs: int,
    schedule: Sequence[Mapping[str, int]],
    structure: Structure | None,
) -> None:
    check_following(count, classes, teacher)
    if epochs < 1 or len(schedule) > epochs:
        raise UserError(
            f"Tuning for {epochs} epochs cannot follow a schedule of {len(schedule)}; give at "
            "least one epoch and one for every step of the schedule."
        )
    if schedule and structure is None:
        raise UserError("A schedule needs the structure of the network; give that of inspect.")


def following_loss(
    output: torch.Tensor,
    batch: torch.Tensor,
    classes: torch.Tensor | None,
    teacher: nn.Module | None,
) -> torch.Tensor:
    """Cross entropy of ``classes`` and squared distance to the teacher's outputs, summed."""
    loss = output.new_zeros(())
    if teacher is not None:
        with torch.no_grad():
            wanted = teacher(batch)
        loss = loss + functional.mse_loss(output, wanted)
    if classes is not None:
        loss = loss + functional.cross_entropy(output, classes)
    return loss
