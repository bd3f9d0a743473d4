"""Methods compared at equal accuracy, by interpolation on their curves."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curve", "Estimate", "at_loss", "over"]

Array = NDArray[np.float64]
SEEN = 0.9
"""Share of the redrawn samples in which curves must reach an accuracy for it to have an error."""
ROUNDING = 1e-9
"""By which sums of weighted images may differ from a whole number of them."""
LEVELS = 50
"""Accuracies of an interval that a mean is over."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Accuracy against a gain, such as how much less energy a network takes.

    Members
    -------
    gains : float64 (points, seeds), above 0, more is better
    hits : bool (points, seeds, images), which test images are recognized, the same images in
        every curve
    """

    gains: Array
    hits: NDArray[np.bool_]

    @property
    def accuracies(self) -> Array:
        """Mean accuracy of each point, (points,)."""
        return np.asarray(self.hits.mean(axis=(1, 2)))

    def drawn(self, seeds: NDArray[np.int64], weights: Array) -> tuple[Array, Array]:
        """Gains (geometric means) and accuracies (points,) of some seeds and weighted images."""
        accuracies = self.hits[:, seeds].mean(axis=1) @ weights
        return np.exp(np.log(self.gains[:, seeds]).mean(axis=1)), accuracies


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error, None where there is none.

    Members
    -------
    value : None where the curves do not reach
    error : standard deviation over samples of images and seeds drawn anew
    """

    value: float | None
    error: float | None


def at_loss(curve: Curve, dense: NDArray[np.bool_], loss: float, *, draws: int = 200) -> Estimate:
    """Gain of a curve at an accuracy so much below the dense network's.

    Parameters
    ----------
    dense : bool (images,), which images the dense network recognizes
    loss : share of the images, 0.01 for a point
    draws : samples of images and seeds for the error, with a fixed seed; 0 for no error
    """

    def read(drawn: list[tuple[Array, Array]], base: float) -> float:
        return _gain(*drawn[0], base - loss)

    return _estimate([curve], dense, read, draws)


def over(
    own: Curve, other: Curve, dense: NDArray[np.bool_], loss: float | None, *, draws: int = 200
) -> Estimate:
    """Gain of a curve over that of another at equal accuracy.

    Parameters
    ----------
    dense, loss, draws : as :func:`at_loss` has them; without a loss the geometric mean over all
        accuracies that both curves reach
    """
    ends = [(curve.accuracies.min(), curve.accuracies.max()) for curve in (own, other)]
    low, high = max(end[0] for end in ends), min(end[1] for end in ends)

    def read(drawn: list[tuple[Array, Array]], base: float) -> float:
        if loss is not None:
            return _gain(*drawn[0], base - loss) / _gain(*drawn[1], base - loss)
        logs = [
            np.log(_gain(*drawn[0], each) / _gain(*drawn[1], each))
            for each in np.linspace(low, high, LEVELS)
        ]
        # The same images and seeds at both ends: samples shift, and the last few may be outside.
        inside = [each for each in logs if np.isfinite(each)]
        return float(np.exp(np.mean(inside))) if len(inside) > LEVELS / 2 else np.nan

    if low > high:
        return Estimate(None, None)
    return _estimate([own, other], dense, read, draws)


def _estimate(
    curves: list[Curve],
    dense: NDArray[np.bool_],
    read: Callable[[list[tuple[Array, Array]], float], float],
    draws: int,
) -> Estimate:
    images = len(dense)
    even = np.full(images, 1 / images)
    all_seeds = [np.arange(curve.gains.shape[1]) for curve in curves]
    whole = [curve.drawn(each, even) for curve, each in zip(curves, all_seeds, strict=True)]
    value = read(whole, float(dense.mean()))
    if not np.isfinite(value):
        return Estimate(None, None)
    generator = np.random.default_rng(0)
    values = []
    for _ in range(draws):
        # Curves share images, so these are drawn once for all; each has seeds of its own.
        weights = generator.multinomial(images, even) / images
        some = [
            curve.drawn(generator.choice(each, len(each)), weights)
            for curve, each in zip(curves, all_seeds, strict=True)
        ]
        values.append(read(some, float(dense @ weights)))
    reached = [each for each in values if np.isfinite(each)]
    if len(reached) < max(2, SEEN * draws):
        return Estimate(value, None)
    return Estimate(value, float(np.std(reached, ddof=1)))


def _gain(gains: Array, accuracies: Array, wanted: float) -> float:
    """Gain at which a curve falls to an accuracy, NaN outside; gains are interpolated as powers."""
    order = np.argsort(gains, kind="stable")
    logs, falling = np.log(gains[order]), _falling(accuracies[order])
    if not falling[-1] - ROUNDING <= wanted <= falling[0] + ROUNDING:
        return np.nan
    wanted = min(max(wanted, falling[-1]), falling[0])
    last = int(np.flatnonzero(falling >= wanted)[-1])
    if last + 1 == len(falling):
        return float(np.exp(logs[last]))
    share = (falling[last] - wanted) / (falling[last] - falling[last + 1])
    return float(np.exp(logs[last] + share * (logs[last + 1] - logs[last])))


def _falling(values: Array) -> Array:
    """The nearest values, by least squares, that never rise: neighbours that do are averaged."""
    runs: list[tuple[float, int]] = []
    for value in values.tolist():
        total, count = value, 1
        while runs and runs[-1][0] / runs[-1][1] < total / count:
            before = runs.pop()
            total, count = total + before[0], count + before[1]
        runs.append((total, count))
    return np.concatenate([np.full(count, total / count) for total, count in runs])
