"""Effects that leave cells and sums between levels; the golden model has them, the tile cannot.

All is drawn by seed and then computed in integers, in parts of a level.
"""

import math
import zlib
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from .crossbar import CrossbarConfig

__all__ = ["UNIT", "AnalogEffects"]

UNIT = 256
"""Parts of a level."""
SATURATION = 2
"""No cell conducts more than so many times the greatest level."""
LIMITS = {
    "variation": 2.0,
    "drift": 1.0,
    "drift_spread": 1.0,
    "drift_seconds": 1e12,
    "read_noise": 1000.0,
}
"""Greatest values; all begin at 0."""
SIGMAS = 6.0
"""Standard deviations at which noise is cut, so that sums have a bound."""


@dataclass(frozen=True, kw_only=True)
class AnalogEffects:
    """Effects of real devices in parts of a level.

    They act on what the cells hold after all faults (:class:`DeviceEffects`). A cell at level 0
    stays there: it conducts nothing.

    Raises
    ------
    UserError
        If a field is out of range.
    """

    seed: int = 0
    variation: float = 0.0
    """Standard deviation of the natural logarithm of a cell's conductance over its level: a
    lognormal factor, drawn once a cell, up to 2."""
    drift: float = 0.0
    """Exponent with which conductance falls over time, up to 1: ``seconds ** -drift``."""
    drift_spread: float = 0.0
    """Standard deviation of the exponent over cells, up to 1."""
    drift_seconds: float = 0.0
    """Time since one second after the cells were written; none up to 1."""
    read_noise: float = 0.0
    """Standard deviation of a bitline sum at the converter, in levels, drawn for each conversion,
    up to 1000."""
    reads: int = 0
    """Number of the sequence of reads: another one has other noise, and the same cells."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value, whole = getattr(self, field.name), field.name in ("seed", "reads")
            kinds = int if whole else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not value >= 0:
                raise UserError(
                    f"Device effect {field.name!r} must be a {'whole ' * whole}number from 0, not "
                    f"{value!r}; give 0 for none."
                )
            if not value <= LIMITS.get(field.name, math.inf):
                raise UserError(
                    f"Device effect {field.name!r} must not be above {LIMITS[field.name]:g}, but "
                    f"is {value:g}; lower it."
                )

    def held(
        self, cells: NDArray[np.uint8], config: CrossbarConfig, crossbar: int
    ) -> NDArray[np.int32]:
        """What a whole crossbar (rows, columns), by its number, conducts, in parts of a level.

        Parameters
        ----------
        cells : levels that it holds after faults
        """
        rng = np.random.default_rng([self.seed, crossbar, 1])
        # Both are drawn whatever is used, so that one effect does not change the other.
        logarithm = self.variation * rng.standard_normal(cells.shape)
        exponent = self.drift + self.drift_spread * rng.standard_normal(cells.shape)
        logarithm -= exponent * math.log(max(self.drift_seconds, 1.0))
        top = UNIT * SATURATION * ((1 << config.cell_bits) - 1)
        conducted = np.minimum(cells * (UNIT * np.exp(logarithm)), top)
        return np.rint(conducted).astype(np.int32)

    def noise(self, layer: str) -> np.random.Generator | None:
        """Source of the noise of a layer's conversions, None without any."""
        if not self.read_noise:
            return None
        return np.random.default_rng([self.seed, zlib.crc32(layer.encode()), 2, self.reads])

    def add_noise(self, sums: NDArray, rng: np.random.Generator) -> None:
        """Adds noise to sums in parts of a level, in place; none falls below 0."""
        drawn = rng.standard_normal(sums.shape, dtype=np.float32)
        np.clip(drawn, -SIGMAS, SIGMAS, out=drawn)
        drawn *= np.float32(self.read_noise * UNIT)
        np.rint(drawn, out=drawn)
        sums += drawn.astype(sums.dtype)
        np.maximum(sums, 0, out=sums)

    @property
    def greatest_noise(self) -> int:
        """What noise can add to a sum, in parts of a level."""
        return math.ceil(SIGMAS * self.read_noise * UNIT) + 1 if self.read_noise else 0
