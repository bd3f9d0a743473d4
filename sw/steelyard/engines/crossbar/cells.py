"""What the cells of mapped blocks hold: bit slices of the weights, and effects of real devices."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from .analog import AnalogEffects
from .blocks import LayerMapping
from .crossbar import CrossbarConfig

__all__ = ["DeviceEffects", "bit_slices", "block_cells", "block_conductances", "slice_factors"]

MILLION = 1_000_000
# What cells hold.
Held = TypeVar("Held", bound=np.integer)


@dataclass(frozen=True, kw_only=True)
class DeviceEffects:
    """Faults of cells, at places of the crossbars that only the seed decides.

    A cell has at most one of them. Unused cells have them too, to no effect.

    Raises
    ------
    UserError
        If a field is out of range.
    """

    seed: int = 0
    stuck_at_zero: int = 0
    """Cells per million that hold 0 whatever is written."""
    stuck_at_one: int = 0
    """Cells per million that hold the greatest level."""
    deviating: int = 0
    """Cells per million whose level is off."""
    deviation: int = 1
    """Greatest distance of a deviating cell from what was written, levels, up or down."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise UserError(
                    f"Device effect {field.name!r} must be a whole number from 0, not {value!r}; "
                    "give shares as cells per million."
                )
        total = self.stuck_at_zero + self.stuck_at_one + self.deviating
        if total > MILLION:
            raise UserError(
                f"Device effects must not touch more than {MILLION} cells in a million, "
                f"not {total}; lower one of them."
            )
        if not 1 <= self.deviation <= 255:
            raise UserError(
                f"Device effect 'deviation' must lie between 1 and 255, not {self.deviation}; "
                "it counts levels of a cell."
            )

    def apply(
        self, cells: NDArray[np.uint8], config: CrossbarConfig, crossbar: int
    ) -> NDArray[np.uint8]:
        """What a whole crossbar (rows, columns), by its number, holds when `cells` were written."""
        top = (1 << config.cell_bits) - 1
        rng = np.random.default_rng([self.seed, crossbar])
        fate = rng.integers(0, MILLION, cells.shape, dtype=np.int32)
        off = rng.integers(1, self.deviation + 1, cells.shape, dtype=np.int16)
        off *= rng.choice(np.array([-1, 1], np.int16), cells.shape)
        bounds = np.cumsum([self.stuck_at_zero, self.stuck_at_one, self.deviating])
        held = np.where((fate >= bounds[1]) & (fate < bounds[2]), cells + off, cells)
        held = np.clip(held, 0, top)
        held[fate < bounds[1]] = top
        held[fate < bounds[0]] = 0
        return held.astype(np.uint8)


def bit_slices(weights: NDArray[np.int8], config: CrossbarConfig) -> NDArray[np.uint8]:
    """Cells of weights (...), uint8 (..., weight_bitlines): levels in bitline order."""
    wide = weights.astype(np.int16)
    if config.signed == "offset":
        parts = [wide + 128]
    else:
        parts = [np.maximum(wide, 0), np.maximum(-wide, 0)]
    mask = (1 << config.cell_bits) - 1
    slices = [(part >> shift) & mask for part in parts for shift in _shifts(config)]
    return np.stack(slices, axis=-1).astype(np.uint8)


def slice_factors(config: CrossbarConfig) -> list[int]:
    """Signed factor of each bitline of a weight in its product."""
    factors = [1 << shift for shift in _shifts(config)]
    return factors if config.signed == "offset" else factors + [-factor for factor in factors]


def _shifts(config: CrossbarConfig) -> range:
    return range(0, 8, config.cell_bits)


def block_cells(
    mapping: LayerMapping, effects: DeviceEffects | None = None
) -> list[NDArray[np.uint8]]:
    """Levels of every block's cells, uint8 (rows, channels, weight_bitlines), after effects."""
    if effects is None:
        return [bit_slices(block.weights, mapping.config) for block in mapping.blocks]
    return _held(mapping, lambda cells, number: effects.apply(cells, mapping.config, number))


def block_conductances(
    mapping: LayerMapping, effects: DeviceEffects | None, analog: AnalogEffects
) -> list[NDArray[np.int32]]:
    """What every block's cells conduct after all effects, in parts of a level: int32 (rows,
    channels, weight_bitlines)."""

    def held(cells: NDArray[np.uint8], number: int) -> NDArray[np.int32]:
        if effects is not None:
            cells = effects.apply(cells, mapping.config, number)
        return analog.held(cells, mapping.config, number)

    return _held(mapping, held)


def _held(
    mapping: LayerMapping, apply: Callable[[NDArray[np.uint8], int], NDArray[Held]]
) -> list[NDArray[Held]]:
    """Cells of every block, (rows, channels, weight_bitlines), of whole crossbars after effects."""
    cells = [bit_slices(block.weights, mapping.config) for block in mapping.blocks]
    found: dict[int, NDArray[Held]] = {}
    config = mapping.config
    for crossbar in mapping.crossbar_numbers.tolist():
        members = np.flatnonzero(mapping.places[:, 0] == crossbar).tolist()
        written = np.zeros((config.rows, config.columns), np.uint8)
        for number in members:
            written[mapping.window(number)] = cells[number].reshape(len(cells[number]), -1)
        held = apply(written, crossbar)
        for number in members:
            found[number] = held[mapping.window(number)].reshape(cells[number].shape)
    return [found[number] for number in range(len(cells))]
