"""Constraints on whole networks: what each layer keeps, then layer by layer which weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from steelyard.balanced import check_reachable, check_sparsity, descend
from steelyard.progress import Progress
from steelyard.prune.admm import layer_admm
from steelyard.prune.allocation import sensitivity
from steelyard.prune.constraints import Constraint, MatrixShape
from steelyard.prune.groups import from_rows, to_rows
from steelyard.prune.layers import LayerInfo, Structure
from steelyard.prune.repair import hold, layer_moments, prunable_layer, set_fit
from steelyard.prune.solve import fit_error, regularize, solve
from steelyard.prune.statistics import Moments, Positions, wanted_outputs

LEVELS = 48
"""Steps in which the allocation counts what a layer keeps."""
TRIED = (1, 2, 3, 4, 6, 8, 12, 18, 24, 36)
LONG = 1200
TRIED_LONG = (1, 2, 3, 4, 6, 8, 12)
"""In networks with layers longer than ``LONG`` the fits of dense settings would take minutes."""


@dataclass(frozen=True)
class Found:
    """Mask (oc, d) of a layer, the constraint it meets, and what the repair missed."""

    mask: torch.Tensor
    constraint: Constraint
    error: float


def allocate_keeps(
    model: nn.Module,
    calibration: torch.Tensor | np.ndarray,
    sparsity: float,
    constraint: Constraint,
    structure: Structure,
    *,
    work: float | None = None,
    depends: Mapping[str, torch.Tensor] | None = None,
    damage: Mapping[str, Mapping[int, float]] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, float]:
    """Share of its weights that every layer keeps, by what pruning it does to the outputs.

    As :func:`steelyard.prune.allocate`, with the damage of this constraint; ``damage`` is that
    where it is known already, from :func:`damage_by_level`.

    Raises
    ------
    UserError
        If the target is out of range or cannot be reached.
    """
    check_sparsity(sparsity)
    check_reachable(structure, LEVELS, 1, sparsity, work, f"one weight of {LEVELS}")
    if damage is None:
        damage = damage_by_level(
            model, calibration, constraint, structure, depends=depends, seed=seed,
            progress=progress,
        )  # fmt: skip
    levels = descend(structure, damage, sparsity, work, LEVELS)
    return {name: level / LEVELS for name, level in levels.items()}


def damage_by_level(
    model: nn.Module,
    calibration: torch.Tensor | np.ndarray,
    constraint: Constraint,
    structure: Structure,
    *,
    depends: Mapping[str, torch.Tensor] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, dict[int, float]]:
    """Damage to the network's output by layer and by the 48ths of its weights that it keeps.

    See :func:`steelyard.prune.sensitivity`. One measurement serves every target.
    """

    def pick(found: Moments, rows: torch.Tensor, info: LayerInfo, level: int) -> torch.Tensor:
        shape = MatrixShape.of(prunable_layer(model, info.name).weight, info.source)
        factor = (depends or {}).get(info.name)
        return constraint.project(_energy(found, rows, "energy", factor), shape, level / LEVELS)

    longest = max((info.rows[1] for info in structure.prunable), default=0)
    return sensitivity(
        model,
        calibration,
        structure,
        LEVELS,
        tried=TRIED_LONG if longest > LONG else TRIED,
        pick=pick,
        seed=seed,
        progress=progress,
    )


def _energy(
    found: Moments, rows: torch.Tensor, select: str, factor: torch.Tensor | None
) -> torch.Tensor:
    """What every weight is worth, float64 (oc, d)."""
    energy = rows.double().square()
    power = found.gram.diagonal().clamp_min(0.0)
    largest = float(power.max())
    if select != "magnitude" and largest > 0:
        # The offset makes up for constant inputs, so only their variance counts. The power of 2
        # keeps energies of tiny inputs away from the least numbers.
        energy = energy * (power * 2.0 ** -math.frexp(largest)[1])
    return energy if factor is None else energy * factor[:, None]


def prune_layers(
    dense: nn.Module,
    sparse: nn.Module,
    images: torch.Tensor,
    structure: Structure,
    keeps: Mapping[str, float],
    constraints: Mapping[str, Constraint],
    depends: Mapping[str, torch.Tensor],
    select: str,
    rounds: int,
    ridge: float,
    seed: int,
    progress: Progress | None,
) -> dict[str, Found]:
    """Prunes and repairs the layers of ``sparse`` in the order in which they run."""
    infos = [info for info in structure.prunable if keeps.get(info.name, 1.0) < 1.0]
    positions = Positions(len(images), seed=seed)
    wanted = wanted_outputs(dense, infos, images, positions)
    results: dict[str, Found] = {}
    for number, info in enumerate(infos):
        if progress is not None:
            progress(number, len(infos), info.name)
        layer = prunable_layer(sparse, info.name)
        found = layer_moments(sparse, info, images, wanted[info.name], positions)
        rows = to_rows(layer.weight.detach(), info.source)
        shape = MatrixShape.of(layer.weight, info.source)
        search = _Search(
            found, rows, shape, keeps[info.name], select, rounds, ridge, depends.get(info.name)
        )
        mask, fitted, error, chosen = search.run(constraints[info.name])
        hold(sparse, {info.name: from_rows(mask, layer.weight.shape, info.source)})
        set_fit(sparse, info, fitted, found)
        results[info.name] = Found(mask, chosen, error)
    if progress is not None:
        progress(len(infos), len(infos), "done")
    return results


@dataclass(frozen=True)
class _Search:
    """Search of one layer's mask: the constraint's settings, then its weights."""

    found: Moments
    rows: torch.Tensor
    shape: MatrixShape
    keep: float
    select: str
    rounds: int
    ridge: float
    factor: torch.Tensor | None

    def run(self, constraint: Constraint) -> tuple[torch.Tensor, torch.Tensor, float, Constraint]:
        """Mask and fitted weights (oc, d), what they miss, and the constraint of these settings."""
        start = "energy" if self.select == "admm" else self.select
        energy = _energy(self.found, self.rows, start, self.factor)
        tried = []
        for variant in constraint.variants():
            mask = variant.project(energy, self.shape, self.keep)
            tried.append((*self._fit(mask), variant))
        best = min(tried, key=lambda one: one[2])
        if self.select == "admm":
            better = self._fit(self._admm(best[3]))
            if better[2] < best[2]:
                return (*better, best[3])
        return best

    def _fit(self, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
        fitted = solve(*regularize(self.found, self.rows, self.ridge), mask)
        return mask, fitted, fit_error(self.found, fitted)

    def _admm(self, constraint: Constraint) -> torch.Tensor:
        def project(energy: torch.Tensor) -> torch.Tensor:
            worth = energy if self.factor is None else energy * self.factor[:, None]
            return constraint.project(worth, self.shape, self.keep)

        return layer_admm(self.found, self.rows, project, ridge=self.ridge, rounds=self.rounds)
