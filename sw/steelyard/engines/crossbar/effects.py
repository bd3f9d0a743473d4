"""Effects of real devices as a user names them, in one or several levels."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from ...errors import UserError
from .analog import AnalogEffects
from .cells import DeviceEffects

__all__ = ["ANALOG_EFFECTS", "FAULTS", "EffectLevel", "effect_levels"]

FAULTS = tuple(each.name for each in fields(DeviceEffects) if each.name != "seed")
"""Effects that the tile shows too: what cells hold is whole levels."""
ANALOG_EFFECTS = tuple(
    each.name for each in fields(AnalogEffects) if each.name not in ("seed", "reads")
)
"""Effects that the golden model alone shows."""


@dataclass(frozen=True)
class EffectLevel:
    """Strengths of effects by name, those that are not named at their defaults.

    Raises
    ------
    UserError
        If one is out of range.
    """

    values: Mapping[str, Any]

    def __post_init__(self) -> None:
        self.faults(0)
        self.analog(0)

    def faults(self, seed: int) -> DeviceEffects | None:
        """Whole levels that are off, None if none is."""
        own = {name: value for name, value in self.values.items() if name in FAULTS}
        return DeviceEffects(seed=seed, **own) if own else None

    def analog(self, seed: int, reads: int = 0) -> AnalogEffects | None:
        """What leaves cells and sums between levels, None if nothing does."""
        own = {name: value for name, value in self.values.items() if name in ANALOG_EFFECTS}
        return AnalogEffects(seed=seed, reads=reads, **own) if own else None

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:g}" for name, value in self.values.items())


def effect_levels(values: Mapping[str, Any]) -> tuple[EffectLevel, ...]:
    """Levels of effects: the first of all lists together, the second, ...

    Parameters
    ----------
    values : strength of each effect by name, or a list of strengths; one that has a single strength
        has it in every level

    Raises
    ------
    UserError
        If there is no such effect, lists differ in length, or a strength is out of range.
    """
    if not values:
        return ()
    known = (*FAULTS, *ANALOG_EFFECTS)
    for name in values:
        if name not in known:
            raise UserError(f"Device effect {name!r} is unknown; use one of {', '.join(known)}.")
    lists = {name: value if isinstance(value, list) else [value] for name, value in values.items()}
    count = max(map(len, lists.values()))
    for name, own in lists.items():
        if len(own) not in (1, count) or not own:
            raise UserError(
                f"Device effect {name!r} has {len(own)} levels where others have {count}; give "
                f"one value for all of them, or {max(count, 1)}."
            )
    return tuple(
        EffectLevel({name: own[number % len(own)] for name, own in lists.items()})
        for number in range(count)
    )
