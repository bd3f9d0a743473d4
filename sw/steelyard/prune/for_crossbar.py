"""Pruning of a whole network for a crossbar in one call, with any constraint, without labels."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import nn

from steelyard.errors import UserError
from steelyard.progress import Progress
from steelyard.prune.admm import ROUNDS
from steelyard.prune.constraints import (
    USUAL,
    Balanced,
    Constraint,
    CrossbarShape,
    OuRows,
    Structured,
    Unstructured,
)
from steelyard.prune.crossbar_report import CrossbarPruneResult, report
from steelyard.prune.dependency import weight_dependency
from steelyard.prune.groups import finish
from steelyard.prune.layers import Structure, as_input
from steelyard.prune.layerwise import allocate_keeps, prune_layers
from steelyard.prune.mixed import MixedGranularity
from steelyard.prune.patterns import KernelPatterns
from steelyard.prune.solve import RIDGE
from steelyard.prune.tuning import RATE, Augment, check_following, finetune
from steelyard.prune.user_network import examined

Select = Literal["magnitude", "energy", "admm"]
SELECTIONS = ("magnitude", "energy", "admm")
CONSTRAINTS: dict[str, Callable[[CrossbarShape], Constraint]] = {
    "unstructured": lambda crossbar: Unstructured(),
    "structured": lambda crossbar: Structured(),
    "ou_row": OuRows,
    "balanced": lambda crossbar: Balanced(),
    "pattern": lambda crossbar: KernelPatterns(crossbar=crossbar),
    "mixed": MixedGranularity,
}
"""Constraints by name, each for a crossbar with the settings that serve as a rule."""


def constraint_of(name: str, crossbar: CrossbarShape = USUAL) -> Constraint:
    """The constraint of a name for a crossbar, with the settings that serve as a rule.

    Raises
    ------
    UserError
        If there is none of the name.
    """
    if name not in CONSTRAINTS:
        raise UserError(
            f"There is no constraint {name!r} for crossbars; choose one of "
            f"{', '.join(CONSTRAINTS)}."
        )
    return CONSTRAINTS[name](crossbar)


def name_of(constraint: Constraint) -> str:
    """Name of a constraint, whatever its settings; of one that has none, its class's."""
    for name, made in CONSTRAINTS.items():
        if type(constraint) is type(made(USUAL)):
            return name
    return type(constraint).__name__


def prune_for_crossbar(
    model: nn.Module,
    calibration: torch.Tensor | np.ndarray,
    constraint: str | Constraint = "pattern",
    sparsity: float = 0.85,
    *,
    crossbar: CrossbarShape = USUAL,
    constraints: Mapping[str, Constraint] | None = None,
    keeps: Mapping[str, float] | None = None,
    work: float | None = None,
    select: Select = "admm",
    rounds: int = ROUNDS,
    epochs: int = 0,
    stages: Sequence[tuple[float, int]] = (),
    tuning: torch.Tensor | np.ndarray | None = None,
    labels: torch.Tensor | np.ndarray | None = None,
    augment: Augment | None = None,
    rate: float = RATE,
    batch_statistics: bool = False,
    exclude: Collection[str] = (),
    ridge: float = RIDGE,
    seed: int = 0,
    progress: Progress | None = None,
) -> CrossbarPruneResult:
    """A copy of ``model`` whose zeros have the shape that a crossbar can leave out.

    Every layer is pruned in turn and repaired by least squares towards the dense layer's outputs.

    Parameters
    ----------
    model
        Trained network; it is left as it is.
    calibration
        Network inputs without labels, batch first.
    constraint
        Shape of the zeros: ``pattern``, ``mixed``, or one to compare with, ``unstructured``,
        ``structured``, ``ou_row`` or ``balanced``; or a constraint with settings of its own.
    sparsity
        Share of the weights outside the first layer that must go, at least 0 and below 1, by
        layer as the sensitivity of the network's outputs says.
    crossbar
        Sizes of crossbar and operation unit; 512 x 512 cells, 9 x 8 of 4 bits unless given.
    constraints
        With ``keeps``, other constraints for some layers, by name.
    keeps
        Share of the weights that stays by layer, in place of a target; other layers stay dense.
    work
        Share of the multiplications outside the first layer that must go as well.
    select
        How weights are judged: by ``magnitude``, by ``energy`` (weight times input), or by energy
        while the layer's fit is driven towards the constraint (``admm``).
    rounds
        Of ``admm``.
    epochs
        Passes of tuning after the repair, masks held, towards the dense network's outputs, and
        the labels if there are any.
    stages
        Steps before that, so that weights leave a few at a time: (factor, images). A step prunes
        every layer to ``factor`` times the share that it keeps in the end, repairs it, and tunes
        for one pass over so many of the tuning images, chosen at random; with 0 images it leaves
        the tuning out. Factors fall and are above 1.
    tuning
        Images for it, the calibration unless given.
    labels
        Classes of the images for tuning.
    augment
        Function of a batch and a generator that gives a varied batch for tuning.
    rate
        First learning rate of tuning, falling to 0 along a cosine.
    batch_statistics
        Whether batch normalization follows the batches of tuning; see :func:`finetune`.
    exclude
        Layers to leave dense.
    ridge
        Of the least squares, relative to the mean power of a layer's inputs.
    seed
        Of every random choice.
    progress
        Called with the steps done, their number and what is being done.

    Raises
    ------
    UserError
        If an argument is out of range, the target cannot be reached, a weight is NaN, a layer in
        ``keeps`` or ``constraints`` cannot be pruned, or there are constraints by layer and no
        ``keeps``.

    Notes
    -----
    Pruning in stages follows Zhu & Gupta, "To prune, or not to prune" (arXiv 1710.01878).
    """
    if select not in SELECTIONS:
        raise UserError(
            f"There is no selection {select!r} of weights; choose one of {', '.join(SELECTIONS)}."
        )
    rule = constraint_of(constraint, crossbar) if isinstance(constraint, str) else constraint
    given = constraints or {}
    dense, images, structure = examined(model, calibration, sparsity, exclude)
    rules = {info.name: given.get(info.name, rule) for info in structure.prunable}
    structured = any(isinstance(own, Structured) for own in rules.values())
    depends = weight_dependency(dense, structure) if structured else {}
    if keeps is None:
        if given:
            raise UserError(
                "Constraints by layer need the shares that the layers keep; give these too."
            )
        shares = allocate_keeps(
            dense, images, sparsity, rule, structure, work=work, depends=depends, seed=seed,
            progress=progress,
        )  # fmt: skip
    else:
        _check_keeps(structure, keeps)
        for name in given:
            structure.check_prunable(name)
        shares = dict(keeps)
    follow = images if tuning is None else as_input(tuning, "The set of tuning images")
    _check_stages(stages, len(follow))
    classes = None if labels is None else torch.as_tensor(labels)
    check_following(len(follow), classes, dense)
    sparse = dense
    for number, (factor, count) in enumerate((*stages, (1.0, len(follow)))):
        last = number == len(stages)
        before, sparse = sparse, copy.deepcopy(sparse)
        scaled = {name: min(1.0, factor * share) for name, share in shares.items()}
        found = prune_layers(
            before, sparse, images, structure, scaled, rules, depends, select, rounds, ridge, seed,
            progress,
        )  # fmt: skip
        passes = epochs if last else min(1, count)
        if passes:
            generator = torch.Generator().manual_seed(seed + number)
            drawn = torch.randperm(len(follow), generator=generator)[:count]
            some = slice(None) if last else drawn
            finetune(
                sparse,
                follow[some],
                labels=None if classes is None else classes[some],
                teacher=dense,
                epochs=passes,
                augment=augment,
                rate=rate,
                batch_statistics=batch_statistics,
                seed=seed + number,
                progress=progress,
            )
        finish(sparse)
    return report(sparse, name_of(rule), structure, shares, found, crossbar, seed)


def _check_stages(stages: Sequence[tuple[float, int]], images: int) -> None:
    bound = math.inf
    for factor, count in stages:
        if not 1.0 < factor < bound:
            raise UserError(
                f"Stages of pruning keep {', '.join(f'{f:g}' for f, _ in stages)} times what stays "
                "in the end; give factors above 1, each less than the one before."
            )
        if not 0 <= count <= images:
            raise UserError(
                f"A stage of pruning cannot tune on {count} of {images} images; give from 0 to "
                f"{images}."
            )
        bound = factor


def _check_keeps(structure: Structure, keeps: Mapping[str, float]) -> None:
    for name, keep in keeps.items():
        if not 0.0 < keep <= 1.0:
            raise UserError(
                f"Layer {name!r} is to keep the share {keep!r} of its weights; give a share above "
                "0 and up to 1."
            )
        structure.check_prunable(name)


def sparsest(
    attempt: Callable[[float], CrossbarPruneResult],
    accuracy: Callable[[nn.Module], float],
    least: float,
    low: float,
    high: float,
    steps: int = 5,
) -> tuple[CrossbarPruneResult, float] | None:
    """The sparsest network found that is still accurate, and its accuracy; None if none is.

    Bisects the sparsity between ``low`` and ``high``.

    Parameters
    ----------
    attempt
        Function of a sparsity that prunes to it.
    accuracy
        Of a network.
    least
        Accuracy that must be reached.
    steps
        Sparsities to try after ``low``.
    """
    found = attempt(low)
    reached = accuracy(found.model)
    if reached < least:
        return None
    good = (found, reached)
    for _ in range(steps):
        middle = (low + high) / 2
        found = attempt(middle)
        reached = accuracy(found.model)
        if reached >= least:
            low, good = middle, (found, reached)
        else:
            high = middle
    return good
