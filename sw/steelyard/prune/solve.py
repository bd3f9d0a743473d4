"""Least squares on weight groups: which weights to keep, and their best values.

Everything works on one layer's second moments, all output channels at once.
"""

from __future__ import annotations

import math

import torch

from steelyard.errors import UserError
from steelyard.prune.groups import balanced_mask, group_rows
from steelyard.prune.statistics import Moments

RIDGE = 1e-3
FLOOR = 1e-9
"""Least ridge: below it rounding decides."""
MORE = (1e-12, 1e-9, 1e-6, 1e-3, 1.0)
"""What is added to the diagonal of a system in turn, relative to its mean."""
OBS_LENGTH_LIMIT = 1200
CHUNK_BYTES = 1 << 28


def regularize(
    moments: Moments, rows: torch.Tensor, ridge: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Normal equations (d, d) and (d, oc) of the ridge fit that pulls towards ``rows``.

    The ridge is relative to the mean power of the inputs. Inputs that never vary would leave
    their weights undetermined; the pull keeps those at the trained values.
    """
    power = moments.gram.diagonal()
    mean = float(power.mean())
    # Where inputs never vary, any pull keeps the weights; 1 keeps them to the last bit.
    strength = max(ridge, FLOOR) * mean if mean > 0 else 1.0
    gram = moments.gram + strength * torch.eye(len(power), dtype=torch.float64)
    return gram, moments.cross + strength * rows.double().T


def factor(system: torch.Tensor) -> torch.Tensor:
    """Lower Cholesky factor of symmetric systems (..., d, d), float64.

    What rounding has left without one gets as little on its diagonal as gives it one.

    Raises
    ------
    UserError
        If a system holds values that are no finite numbers or that no diagonal helps.
    """
    result: torch.Tensor
    result, failed = torch.linalg.cholesky_ex(system)
    mean = system.diagonal(dim1=-2, dim2=-1).abs().mean(-1)[..., None, None]
    unit = torch.eye(system.shape[-1], dtype=system.dtype)
    for more in MORE:
        if not bool(failed.any()):
            return result
        result, failed = torch.linalg.cholesky_ex(system + more * mean * unit)
    raise UserError(
        "The least squares of a layer have no solution for these calibration images; give images "
        "as the network meets them, more of them, or prune with --method magnitude."
    )


def product_score(moments: Moments, rows: torch.Tensor) -> torch.Tensor:
    """Size of a weight times the root mean square of its input, (oc, d)."""
    power = moments.gram.diagonal() + moments.input_mean.square()
    return rows.double().abs() * power.clamp_min(0.0).sqrt()


def solve(gram: torch.Tensor, cross: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Best weights (oc, d) where ``mask`` (oc, d) is not 0, exactly 0 elsewhere."""
    channels, length = mask.shape
    kept = int((mask != 0).sum(1).max())
    if kept == 0:
        return torch.zeros(channels, length, dtype=torch.float64)
    order = (mask != 0).to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :kept]
    live = mask.gather(1, order) != 0
    result = torch.zeros(channels, length, dtype=torch.float64)
    chunk = max(1, CHUNK_BYTES // (8 * kept * kept))
    for start in range(0, channels, chunk):
        part, alive = order[start : start + chunk], live[start : start + chunk]
        system = gram[part[:, :, None], part[:, None, :]]
        both = alive[:, :, None] & alive[:, None, :]
        # A row that keeps fewer weights gets unit equations for the places it has left over.
        system = torch.where(both, system, torch.eye(kept, dtype=torch.float64))
        channel = torch.arange(start, start + len(part))[:, None]
        wanted = torch.where(alive, cross[part, channel], 0.0)
        found = torch.cholesky_solve(wanted[:, :, None], factor(system))[:, :, 0]
        result[start : start + chunk].scatter_(1, part, torch.where(alive, found, 0.0))
    return result


def eliminate(gram: torch.Tensor, cross: torch.Tensor, k: int, group: int) -> torch.Tensor:
    """Mask (oc, d) by optimal-brain-surgeon elimination, one weight of every group a step.

    From the dense fit on, each step drops from every group the weight whose loss costs least
    after the others have adapted (w^2 / [H^-1]_jj, Hassibi and Stork 1993) and adapts the rest
    to the joint loss exactly. Every output channel has its own inverse, so memory and time grow
    with oc * d^2; use it up to ``OBS_LENGTH_LIMIT``.
    """
    length, channels = cross.shape
    padding = -length % group
    total = length + padding
    system = torch.eye(total, dtype=torch.float64)
    # In single precision inputs of a tiny or huge power would leave the range of numbers. A power
    # of 2 changes no digit.
    unit = 2.0 ** -math.frexp(float(gram.diagonal().mean()))[1]
    system[:length, :length] = gram * unit
    wide, cross = torch.cholesky_inverse(factor(system)), cross * unit
    # The steps only rank weights, for which single precision is enough and twice as fast.
    inverse, fit = wide.float(), (wide[:, :length] @ cross).float()
    mask = torch.zeros(channels, total, dtype=torch.float64)
    chunk = max(1, CHUNK_BYTES // (4 * total * total))
    for start in range(0, channels, chunk):
        count = min(chunk, channels - start)
        index = torch.arange(total).expand(count, total)
        covariance = inverse.expand(count, total, total)
        weights = fit[:, start : start + count].T
        for left in range(group, k, -1):
            saliency = weights.square() / covariance.diagonal(dim1=1, dim2=2)
            # Padding goes first.
            saliency = torch.where(index < length, saliency, -1.0)
            worst = saliency.reshape(count, -1, left).argmin(2)
            gone = worst + torch.arange(worst.shape[1]) * left
            stay_mask = torch.ones(count, index.shape[1], dtype=torch.bool)
            stay_mask.scatter_(1, gone, False)
            stay = stay_mask.nonzero()[:, 1].reshape(count, -1)
            covariance, weights = _drop(covariance, weights, gone, stay)
            index = index.gather(1, stay)
        mask[start : start + count].scatter_(1, index, 1.0)
    return mask[:, :length]


def _drop(
    covariance: torch.Tensor, weights: torch.Tensor, gone: torch.Tensor, stay: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverse and weights of the fits that lack the variables ``gone``, by block elimination."""
    rows = torch.arange(len(covariance))[:, None, None]
    removed = covariance[rows, gone[:, :, None], gone[:, None, :]]
    link = covariance[rows, gone[:, :, None], stay[:, None, :]]
    lower = factor(removed)
    half = torch.linalg.solve_triangular(lower, link, upper=False)
    lost = torch.linalg.solve_triangular(lower, weights.gather(1, gone)[:, :, None], upper=False)
    kept = covariance[rows, stay[:, :, None], stay[:, None, :]]
    return (
        kept - half.transpose(1, 2) @ half,
        weights.gather(1, stay) - (half.transpose(1, 2) @ lost)[:, :, 0],
    )


def choose(
    moments: Moments,
    rows: torch.Tensor,
    k: int,
    group: int,
    *,
    select: str,
    ridge: float,
    name: str,
) -> torch.Tensor:
    """Mask (oc, d) with ``k`` weights a group by elimination, input product or magnitude."""
    if select == "obs" and rows.shape[1] <= OBS_LENGTH_LIMIT:
        gram, cross = regularize(moments, rows, ridge)
        return eliminate(gram, cross, k, group)
    score = rows.double().abs() if select == "magnitude" else product_score(moments, rows)
    return balanced_mask(rows.double(), k, group, score, name=name)


def fit_error(moments: Moments, rows: torch.Tensor) -> float:
    """Share of the wanted outputs' variance that the weights ``rows`` miss, at least 0."""
    wide = rows.double()
    quadratic = ((wide @ moments.gram) * wide).sum(1)
    missed = moments.power - 2 * (wide.T * moments.cross).sum(0) + quadratic
    return float(missed.sum().clamp_min(0.0) / moments.power.sum().clamp_min(1e-300))


def most_in_group(mask: torch.Tensor, group: int) -> int:
    """Largest number of kept weights in any group of ``mask`` (oc, d)."""
    return int((group_rows(mask, group, 0.0) != 0).sum(2).max())
