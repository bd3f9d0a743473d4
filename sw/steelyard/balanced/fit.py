"""Least squares of one layer in numpy: which weights to keep, and their best values.

The numpy side of :mod:`steelyard.prune.solve`, which works on torch's tensors: masks are the same.
Weights are rows (outputs, positions); a group is a run of positions, the last may be shorter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError

Array = NDArray[np.float64]

RIDGE = 1e-3
"""Pull towards the trained weights, relative to the mean power of a layer's inputs."""
FLOOR = 1e-9
"""Least ridge: below it rounding decides."""
MORE = (0.0, 1e-12, 1e-9, 1e-6, 1e-3, 1.0)
"""What is added to the diagonal of a system in turn, relative to its mean."""
ELIMINATED = 1200
"""Positions up to which weights are chosen by elimination: its time grows with their square."""
CHUNK_BYTES = 1 << 27
ROUNDS = 20
PULL = 0.03
GROWTH = 1.2
STEPS = 80
"""Steps of conjugate gradients where a direct solution would take longer."""


@dataclass(frozen=True)
class Moments:
    """What a least-squares fit of a layer needs, of inputs and outputs about their means.

    Members
    -------
    gram : mean product of inputs, float64 (positions, positions)
    cross : mean product of inputs and wanted outputs, float64 (positions, outputs)
    power : mean square of the wanted outputs, float64 (outputs,)
    input_mean, output_mean : float64 (positions,) and (outputs,); 0 where the layer has no offset
        that could adapt
    """

    gram: Array
    cross: Array
    power: Array
    input_mean: Array
    output_mean: Array


def regularize(moments: Moments, rows: Array, ridge: float = RIDGE) -> tuple[Array, Array]:
    """Normal equations (d, d) and (d, outputs) of the ridge fit that pulls towards ``rows``."""
    mean = float(moments.gram.diagonal().mean())
    # Where inputs never vary, any pull keeps the weights; 1 keeps them to the last bit.
    strength = max(ridge, FLOOR) * mean if mean > 0 else 1.0
    return (
        moments.gram + strength * np.eye(len(moments.gram)),
        moments.cross + strength * rows.T,
    )


def solved(system: Array, wanted: Array) -> Array:
    """Solution of symmetric systems (..., d, d) for (..., d, n).

    What rounding has left without one gets as little on its diagonal as gives it one.

    Raises
    ------
    UserError
        If a system holds values that are no finite numbers or that no diagonal helps.
    """
    mean = np.abs(np.diagonal(system, axis1=-2, axis2=-1)).mean(-1)[..., None, None]
    unit = np.eye(system.shape[-1], dtype=system.dtype)
    for more in MORE:
        try:
            found: Array = np.linalg.solve(system + more * mean * unit if more else system, wanted)
        except np.linalg.LinAlgError:
            continue
        if np.all(np.isfinite(found)):
            return found
    raise UserError(
        "The least squares of a layer have no solution for these calibration images; give images "
        "as the network meets them, more of them, or prune with --method magnitude."
    )


def fitted(gram: Array, cross: Array, mask: NDArray[np.bool_]) -> Array:
    """Best weights (outputs, d) where ``mask`` (outputs, d) is set, exactly 0 elsewhere."""
    channels, length = mask.shape
    kept = int(mask.sum(1).max(initial=0))
    result = np.zeros((channels, length))
    if kept == 0:
        return result
    if kept**3 / 3 > 2 * STEPS * length**2:
        return descended(gram, cross, mask)
    order = np.argsort(~mask, axis=1, kind="stable")[:, :kept]
    live = np.take_along_axis(mask, order, 1)
    chunk = max(1, CHUNK_BYTES // (8 * kept * kept))
    unit = np.eye(kept)
    for start in range(0, channels, chunk):
        part, alive = order[start : start + chunk], live[start : start + chunk]
        both = alive[:, :, None] & alive[:, None, :]
        # A row that keeps fewer weights gets unit equations for the places it has left over.
        system = np.where(both, gram[part[:, :, None], part[:, None, :]], unit)
        channel = np.arange(start, start + len(part))[:, None]
        wanted = np.where(alive, cross[part, channel], 0.0)
        found = solved(system, wanted[:, :, None])[:, :, 0]
        np.put_along_axis(result[start : start + chunk], part, np.where(alive, found, 0.0), axis=1)
    return result


def descended(gram: Array, cross: Array, mask: NDArray[np.bool_]) -> Array:
    """As :func:`fitted`, by conjugate gradients of all outputs side by side."""
    scale = 1 / np.sqrt(np.maximum(gram.diagonal(), 1e-300))
    system = gram * scale[:, None] * scale
    wanted = np.where(mask, cross.T * scale, 0.0)
    weights = np.zeros_like(wanted)
    rest = wanted.copy()
    way = rest.copy()
    size = np.einsum("ij,ij->i", rest, rest)
    first = np.maximum(size, 1e-300)
    for _ in range(STEPS):
        ahead = np.where(mask, way @ system, 0.0)
        slope = np.maximum(np.einsum("ij,ij->i", way, ahead), 1e-300)
        step = (size / slope)[:, None]
        weights += step * way
        rest -= step * ahead
        new = np.einsum("ij,ij->i", rest, rest)
        if float((new / first).max()) < 1e-12:
            break
        way = rest + (new / np.maximum(size, 1e-300))[:, None] * way
        size = new
    return np.where(mask, weights * scale, 0.0)


def balanced(score: Array, k: int, group: int) -> NDArray[np.bool_]:
    """Mask (outputs, d) of the ``k`` best scores of every group; of equal ones the earlier."""
    channels, length = score.shape
    padded = np.pad(score, ((0, 0), (0, -length % group)), constant_values=-1.0)
    grouped = padded.reshape(channels, -1, group)
    best = np.argsort(-grouped, axis=2, kind="stable")[:, :, :k]
    mask = np.zeros(grouped.shape, bool)
    np.put_along_axis(mask, best, True, axis=2)
    return mask.reshape(channels, -1)[:, :length]


def eliminate(gram: Array, cross: Array, k: int, group: int) -> NDArray[np.bool_]:
    """Mask (outputs, d) by optimal-brain-surgeon elimination, one weight of every group a step.

    From the dense fit on, each step drops from every group the weight whose loss costs least
    after the others have adapted (w^2 / [H^-1]_jj, Hassibi and Stork 1993) and adapts the rest
    to the joint loss exactly. Every output has its own inverse, so memory and time grow with
    outputs * d^2; use it up to ``ELIMINATED``.
    """
    length, channels = cross.shape
    total = length + -length % group
    system = np.eye(total)
    # In single precision inputs of a tiny or huge power would leave the range of numbers. A power
    # of 2 changes no digit.
    unit = 2.0 ** -math.frexp(float(gram.diagonal().mean()))[1]
    system[:length, :length] = gram * unit
    wide = solved(system, np.eye(total))
    # The steps only rank weights, for which single precision is enough and twice as fast.
    inverse = ((wide + wide.T) / 2).astype(np.float32)
    fit = (wide[:, :length] @ (cross * unit)).T.astype(np.float32)
    mask = np.zeros((channels, total), bool)
    chunk = max(1, CHUNK_BYTES // (4 * total * total))
    for start in range(0, channels, chunk):
        weights = fit[start : start + chunk]
        count = len(weights)
        index = np.broadcast_to(np.arange(total), (count, total))
        covariance = np.broadcast_to(inverse, (count, total, total))
        for left in range(group, k, -1):
            saliency = weights**2 / np.diagonal(covariance, axis1=1, axis2=2)
            # Padding goes first.
            saliency = np.where(index < length, saliency, -1.0)
            worst = saliency.reshape(count, -1, left).argmin(2)
            gone = worst + np.arange(worst.shape[1]) * left
            staying = np.ones(index.shape, bool)
            np.put_along_axis(staying, gone, False, axis=1)
            stay = np.nonzero(staying)[1].reshape(count, -1)
            covariance, weights = _drop(covariance, weights, gone, stay)
            index = np.take_along_axis(index, stay, 1)
        np.put_along_axis(mask[start : start + count], index, True, axis=1)
    return mask[:, :length]


def _drop(
    covariance: NDArray[np.float32],
    weights: NDArray[np.float32],
    gone: NDArray[np.intp],
    stay: NDArray[np.intp],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Inverse and weights of the fits that lack the variables ``gone``, by block elimination."""
    kept = np.empty((len(weights), stay.shape[1], stay.shape[1]), np.float32)
    left = np.empty((len(weights), stay.shape[1]), np.float32)
    for row, (out, own) in enumerate(zip(gone, stay, strict=True)):
        strip = covariance[row][out]
        link, removed = strip[:, own], strip[:, out]
        beside = np.concatenate([link, weights[row, out, None]], axis=1)
        found = solved(removed, beside)
        kept[row] = covariance[row][np.ix_(own, own)] - link.T @ found[:, :-1]
        left[row] = weights[row, own] - link.T @ found[:, -1]
    return kept, left


def alternate(moments: Moments, rows: Array, k: int, group: int, ridge: float) -> NDArray[np.bool_]:
    """Mask (outputs, d) by alternating directions (ADMM) under the groups' constraint.

    The weights follow the least squares of the outputs and are pulled ever more towards their own
    projection (StructADMM, arXiv 1807.11091); see :func:`steelyard.prune.layer_admm`.
    """
    gram, cross = regularize(moments, rows, ridge)
    # With inputs of equal power the energy of a weight is just its square.
    scale = np.sqrt(gram.diagonal())
    system, wanted = gram / np.outer(scale, scale), cross / scale[:, None]
    values, vectors = np.linalg.eigh(system)
    turned = vectors.T @ wanted
    weights = vectors @ (turned / np.maximum(values, FLOOR)[:, None])
    pull = PULL
    mask = balanced((weights.T) ** 2, k, group)
    near, dual = weights * mask.T, np.zeros_like(weights)
    for _ in range(ROUNDS):
        weights = vectors @ (
            (turned + pull * (vectors.T @ (near - dual))) / (values + pull)[:, None]
        )
        mask = balanced(((weights + dual).T) ** 2, k, group)
        near = (weights + dual) * mask.T
        dual = (dual + weights - near) / GROWTH
        pull *= GROWTH
    return mask


def product_score(moments: Moments, rows: Array) -> Array:
    """Size of a weight times the root mean square of its input, (outputs, d)."""
    power = moments.gram.diagonal() + moments.input_mean**2
    score: Array = np.abs(rows) * np.sqrt(np.maximum(power, 0.0))
    return score


def fit_error(moments: Moments, rows: Array) -> tuple[float, float]:
    """Energy of the outputs that the weights ``rows`` miss, at least 0, and the outputs' own."""
    quadratic = np.einsum("ij,ij->", rows @ moments.gram, rows)
    missed = moments.power.sum() - 2 * np.einsum("ij,ji->", rows, moments.cross) + quadratic
    return max(0.0, float(missed)), float(moments.power.sum())
