"""What the layers of a network may keep under one target: shares, and the steps down to it.

Arithmetic on names and counts alone; who measures the damage is others' work.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from steelyard.errors import UserError

GROUP = 16


@dataclass(frozen=True)
class LayerReport:
    """What pruning left of one layer.

    Attributes
    ----------
    name
        In the network.
    k
        Weights kept in a group.
    weights, kept
        Weights of the layer, and how many of them may be nonzero.
    macs, kept_macs
        Multiplications for one sample before and after.
    error
        Share of the layer's output variance that it missed right after its repair; None without
        repair.
    """

    name: str
    k: int
    weights: int
    kept: int
    macs: int
    kept_macs: int
    error: float | None


class Prunable(Protocol):
    """A layer as the targets see it."""

    @property
    def name(self) -> str:
        """In the network."""
        ...

    @property
    def weights(self) -> int:
        """Weights of the layer."""
        ...

    @property
    def macs(self) -> int:
        """Multiplications for one sample."""
        ...

    def kept(self, k: int, group: int) -> int:
        """Weights that stay at ``k`` a group."""
        ...


class Layers(Protocol):
    """The layers of a network as the targets see them."""

    @property
    def prunable(self) -> Sequence[Prunable]:
        """Layers to prune."""
        ...

    @property
    def left_dense(self) -> Sequence[tuple[str, str]]:
        """(name, reason) of every other layer with a weight."""
        ...

    @property
    def weights_outside_first(self) -> int:
        """Weights of all layers but the first, those left dense included."""
        ...

    @property
    def macs_outside_first(self) -> int:
        """Multiplications of all layers but the first."""
        ...


def check_k(name: str, k: int, group: int) -> None:
    """Raises UserError unless ``k`` is an integer from 1 to ``group``."""
    if isinstance(group, bool) or not isinstance(group, int) or group < 1:
        raise UserError(f"The weight group must be an integer of at least 1, not {group!r}.")
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= group:
        raise UserError(
            f"Layer {name!r} asks for K = {k!r} weights of a group; "
            f"K must be an integer from 1 to {group}."
        )


def check_prunable(name: str, known: Sequence[str], left_dense: Mapping[str, str]) -> None:
    """Refuse the name of a layer that cannot be pruned.

    Parameters
    ----------
    known : names of the layers that can be
    left_dense : why others cannot

    Raises
    ------
    UserError
        Names the reason and the layers that can be.
    """
    if name not in known:
        reason = left_dense.get(name, "no such layer")
        raise UserError(
            f"Layer {name!r} cannot be pruned ({reason}); "
            f"choose among {', '.join(known) or 'none'}."
        )


def check_sparsity(sparsity: float) -> None:
    """Raises UserError unless ``sparsity`` is at least 0 and below 1."""
    if not 0.0 <= sparsity < 1.0:
        raise UserError(
            f"The target sparsity must be at least 0 and below 1, not {sparsity!r}; "
            "0.75 prunes three weights of four."
        )


def removed_share(structure: Layers, ks: Mapping[str, int], group: int) -> float:
    """Share of the weights outside the first layer that ``ks`` removes."""
    gone = sum(
        info.weights - info.kept(ks[info.name], group)
        for info in structure.prunable
        if info.name in ks
    )
    return gone / max(1, structure.weights_outside_first)


def removed_work(structure: Layers, ks: Mapping[str, int], group: int) -> float:
    """Share of the multiplications outside the first layer that ``ks`` removes."""
    gone = sum(
        info.macs * (1 - info.kept(ks[info.name], group) / info.weights)
        for info in structure.prunable
        if info.name in ks
    )
    return gone / max(1, structure.macs_outside_first)


def uniform(structure: Layers, sparsity: float, group: int = GROUP) -> dict[str, int]:
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


def descend(
    structure: Layers,
    damage: Mapping[str, Mapping[int, float]],
    sparsity: float,
    work: float | None,
    group: int,
) -> dict[str, int]:
    """K of every layer by the least damage a share removed, from the dense network down.

    ``damage`` is by layer and K; see :func:`steelyard.prune.allocate`.
    """
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
    structure: Layers,
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
    structure: Layers,
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
