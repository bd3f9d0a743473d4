"""Accuracy of a mapped network under effects of real devices, over several draws of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..engines.crossbar import EffectLevel
from ..network import Network
from ..progress import Progress
from .trials import Measured, Trial, try_all

__all__ = ["Spread", "under_effects"]


@dataclass(frozen=True, eq=False)
class Spread:
    """What draws of one level of effects gave under converters of one width.

    Members
    -------
    bits : of the converters
    level : of the effects
    seeds : of the draws
    draws : what each gave
    """

    bits: int
    level: EffectLevel
    seeds: tuple[int, ...]
    draws: tuple[Measured, ...]

    def document(self) -> dict[str, Any]:
        """All figures, as JSON holds them."""
        accuracies = [each.accuracy for each in self.draws if each.accuracy is not None]
        return {
            "adc_bits": self.bits,
            "effects": dict(self.level.values),
            "seeds": list(self.seeds),
            "accuracy": _spread(accuracies) if accuracies else None,
            "agreement": _spread([each.agreement for each in self.draws]),
        }


def under_effects(
    network: Network,
    trials: Sequence[Trial],
    levels: Sequence[EffectLevel],
    codes: NDArray[np.int8],
    labels: NDArray[np.integer] | None = None,
    *,
    draws: int = 3,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[Spread]:
    """Every level of effects under every trial's converters, drawn several times.

    Parameters
    ----------
    trials : without effects, as those of :func:`under_converters`
    codes, labels, workers, progress : as :func:`try_all` takes them
    draws : devices of each level; each trial and level has the same seeds, from `seed` on

    Raises
    ------
    UserError
        As :func:`try_all` does.
    """
    seeds = tuple(range(seed, seed + draws))
    pairs = [(trial, level) for trial in trials for level in levels]
    drawn = [replace(trial, level=level, seed=each) for trial, level in pairs for each in seeds]
    found = try_all(network, drawn, codes, labels, workers=workers, progress=progress)
    return [
        Spread(trial.bits, level, seeds, tuple(found[number * draws : (number + 1) * draws]))
        for number, (trial, level) in enumerate(pairs)
    ]


def _spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean, standard deviation over draws (None of one), extremes, and each."""
    return {
        "mean": float(np.mean(values)),
        "deviation": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "least": min(values),
        "most": max(values),
        "each": list(values),
    }
