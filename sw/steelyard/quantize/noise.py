"""Power of a signal and of what another one adds to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Noise:
    """Sums over as many arrays as are added.

    Members
    -------
    signal : of the squares of the values
    difference : of the squares of what the other values are off by
    """

    signal: float = 0.0
    difference: float = 0.0

    def add(self, values: NDArray[Any], others: NDArray[Any]) -> None:
        """Take values into the sums, and those that are compared with them."""
        exact = values.astype(np.float64)
        self.signal += float(np.sum(exact**2))
        self.difference += float(np.sum((exact - others) ** 2))

    @property
    def db(self) -> float:
        """Signal-to-noise ratio in dB; infinite where nothing differs."""
        if not self.difference:
            return float(np.inf)
        with np.errstate(divide="ignore"):
            return float(10 * np.log10(np.float64(self.signal) / np.float64(self.difference)))
