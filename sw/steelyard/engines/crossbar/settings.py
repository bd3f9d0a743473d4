"""What a program for the crossbar tile keeps of its compilation."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from ...errors import UserError
from .areas import MAPPINGS
from .cells import DeviceEffects

__all__ = ["CrossbarTileSettings"]


@dataclass(frozen=True, kw_only=True)
class CrossbarTileSettings:
    """How the crossbars hold the weights.

    Members
    -------
    mapping : ``traditional``, ``structured``, ``ou_row``, ``pattern`` or ``mixed``
    effects : faults of the cells, None for none

    Raises
    ------
    UserError
        If there is no such mapping.
    """

    mapping: str = "pattern"
    effects: DeviceEffects | None = None

    def __post_init__(self) -> None:
        if self.mapping not in MAPPINGS:
            raise UserError(
                f"Crossbar mapping {self.mapping!r} is unknown; use one of {', '.join(MAPPINGS)}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """Settings of plain values.

        Raises
        ------
        ValueError
            If they are not those of a mapping.
        """
        if not isinstance(values, Mapping) or set(values) != {"mapping", "effects"}:
            raise ValueError("its settings are not those of the crossbar tile")
        if values["mapping"] not in MAPPINGS:
            raise ValueError(
                f"its mapping {values['mapping']!r} does not belong to its configuration"
            )
        effects = values["effects"]
        return cls(
            mapping=values["mapping"],
            effects=None if effects is None else DeviceEffects(**effects),
        )
