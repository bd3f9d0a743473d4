"""How many weights of a group each layer keeps, under one target for the whole network."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

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


@dataclass(frozen=True)
class Budget:
    """What a network may keep outside its first layer.

    Attributes
    ----------
    weights
        Weights, those of layers left dense included.
    macs
        Multiplications for one sample, likewise; None for no bound.
    """

    weights: int
    macs: int | None


def check_sparsity(sparsity: float) -> None:
    """Raises UserError unless ``sparsity`` is at least 0 and below 1."""
    if not 0.0 <= sparsity < 1.0:
        raise UserError(
            f"The target sparsity must be at least 0 and below 1, not {sparsity!r}; "
            "0.75 prunes three weights of four."
        )


def removed_share(structure: Structure, ks: Mapping[str, int], group: int) -> float:
    """Share of the weights outside the first layer that ``ks`` removes."""
    gone = sum(
        info.weights - info.kept(ks[info.name], group)
        for info in structure.prunable
        if info.name in ks
    )
    return gone / max(1, structure.weights_outside_first)


def removed_work(structure: Structure, ks: Mapping[str, int], group: int) -> float:
    """Share of the multiplications outside the first layer that ``ks`` removes."""
    gone = sum(
        info.macs * (1 - info.kept(ks[info.name], group) / info.weights)
        for info in structure.prunable
        if info.name in ks
    )
    return gone / max(1, structure.macs_outside_first)


def uniform(structure: Structure, sparsity: float, group: int = GROUP) -> dict[str, int]:
    """The largest K that, the same in all layers, removes ``sparsity`` of the weights.

    Layers take one more, from the last back, as long as the target still holds.

    Raises
    ------
    UserError
        If K = 1 in every layer does not reach the target.
    """
    check_sparsity(sparsity)
    names = [info.name for info in structure.prunable]
    check_reachable(structure, group, 1, sparsity, None, f"K = 1 of {group}")
    k = group
    while removed_share(structure, dict.fromkeys(names, k), group) < sparsity:
        k -= 1
    ks = dict.fromkeys(names, k)
    for name in reversed(names):
        if ks[name] < group:
            ks[name] += 1
            if removed_share(structure, ks, group) < sparsity:
                ks[name] -= 1
    return ks


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


def descend(
    structure: Structure,
    damage: Mapping[str, Mapping[int, float]],
    sparsity: float,
    work: float | None,
    group: int,
) -> dict[str, int]:
    """K of every layer by the least damage a share removed; see :func:`allocate`."""
    infos = {info.name: info for info in structure.prunable}
    ks = dict.fromkeys(infos, group)

    def gain(name: str, k: int) -> float:
        info = infos[name]
        share = 1 / info.weights * (info.kept(ks[name], group) - info.kept(k, group))
        value = 0.0
        if removed_share(structure, ks, group) < sparsity:
            value += share * info.weights / structure.weights_outside_first
        if work is not None and removed_work(structure, ks, group) < work:
            value += share * info.macs / structure.macs_outside_first
        return value

    while True:
        best: tuple[float, str, int] | None = None
        for name in infos:
            # Looking over several steps passes by a step that happens to cost nothing less.
            for k in (k for k in damage[name] if k < ks[name]):
                won = gain(name, k)
                if won <= 0.0:
                    continue
                cost = max(damage[name][k] - damage[name][ks[name]], 1e-12) / won
                if best is None or cost < best[0]:
                    best = (cost, name, k)
        if best is None:
            break
        ks[best[1]] = best[2]
    return _give_back(structure, damage, ks, sparsity, work, group)


def _give_back(
    structure: Structure,
    damage: Mapping[str, Mapping[int, float]],
    ks: dict[str, int],
    sparsity: float,
    work: float | None,
    group: int,
) -> dict[str, int]:
    """``ks`` with weights returned to the most damaged layers as far as the targets allow."""
    for name in sorted(ks, key=lambda n: damage[n][ks[n]], reverse=True):
        while ks[name] < group:
            more = {**ks, name: ks[name] + 1}
            if removed_share(structure, more, group) < sparsity:
                break
            if work is not None and removed_work(structure, more, group) < work:
                break
            ks = more
    return ks


def check_reachable(
    structure: Structure,
    group: int,
    least: int,
    sparsity: float,
    work: float | None,
    unit: str,
) -> None:
    """Raises UserError if ``least`` of ``group`` in every layer removes less than the targets.

    ``unit`` says in the sentence what is least, such as "K = 1 of 16". What the sentence advises
    can be reached.
    """
    ones = {info.name: least for info in structure.prunable}
    most = {
        "weights": removed_share(structure, ones, group),
        "work": removed_work(structure, ones, group),
    }
    bounds = {"weights": sparsity} if work is None else {"weights": sparsity, "work": work}
    if all(most[what] >= bound for what, bound in bounds.items()):
        return
    dense = ", ".join(f"{name} ({reason})" for name, reason in structure.left_dense) or "nothing"
    if not structure.prunable:
        raise UserError(
            f"The target sparsity {sparsity:g} cannot be reached: no layer can be pruned, with "
            f"{dense} left dense; a sparsity of 0 takes the network as it is."
        )
    # Rounded down, so that it is reached.
    reach = {what: math.floor(1000 * most[what]) / 1000 for what in bounds}
    if work is None or work == sparsity:
        target = f"sparsity {sparsity:g}"
        advice = f"ask for a sparsity of at most {min(reach.values()):g}"
        if most["weights"] >= sparsity:
            advice += ", or for work of 0 (--work 0), which bounds the weights alone"
    else:
        names = {"weights": "sparsity", "work": "work"}
        missed = [what for what, bound in bounds.items() if most[what] < bound]
        target = " and ".join(f"{names[what]} {bounds[what]:g}" for what in missed)
        advice = "ask for at most " + " and ".join(f"{names[w]} {reach[w]:g}" for w in missed)
    if any(reason == "excluded" for _, reason in structure.left_dense):
        advice += ", or exclude fewer layers"
    raise UserError(
        f"The target {target} cannot be reached: {unit} in every layer removes "
        f"{100 * most['weights']:.1f} % of the weights and {100 * most['work']:.1f} % of the work "
        f"outside the first layer, with {dense} left dense; {advice}."
    )


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
