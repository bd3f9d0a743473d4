"""What all parts of a configuration share: checks of their fields, and their plain values."""

from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, Self

from ..errors import UserError

__all__ = ["Configuration", "shown"]

MOST = (1 << 63) - 1
"""Largest integer of TOML."""
MOST_SHOWN = 80
"""Characters of a wrong value that an error repeats."""


def shown(value: object) -> str:
    """A wrong value for an error's sentence; what is long or nested deeply is cut."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        return "one too large to show"
    return text if len(text) <= MOST_SHOWN else text[:MOST_SHOWN] + " ..."


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """Frozen fields with their limits; subclasses add both."""

    unhashed: ClassVar[tuple[str, ...]] = ()
    """Fields that change nothing of what the hardware computes."""
    part: ClassVar[str] = ""
    """Name of the part in a configuration."""
    short: ClassVar[tuple[str, ...]] = ()
    """Fields whose names say too little without that of the part."""

    @classmethod
    def label(cls, name: str) -> str:
        """Plain name of a field, without its part unless it says too little alone."""
        return f"{cls.part}_{name}" if name in cls.short else name

    def _integers(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise UserError(
                    f"Configuration field {self.label(name)!r} must be an integer, "
                    f"not {shown(value)}; write it without quotes or a decimal point."
                )
            if not -MOST <= value <= MOST:
                raise UserError(
                    f"Configuration field {self.label(name)!r} is an integer of more than 64 "
                    "bits; choose a smaller value."
                )

    def _booleans(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, bool):
                raise UserError(
                    f"Configuration field {self.label(name)!r} must be true or false, "
                    f"not {shown(value)}; write one of these without quotes."
                )

    def _one_of(self, name: str, allowed: tuple[int, ...]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            choices = ", ".join(map(str, allowed))
            raise UserError(
                f"Configuration field {self.label(name)!r} must be one of {choices}, "
                f"not {value}; choose the nearest."
            )

    def _between(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            raise UserError(
                f"Configuration field {self.label(name)!r} must lie between {low} and {high}, "
                f"not {value}; choose a value in that range."
            )

    def _multiple_of_16(self, name: str) -> None:
        if getattr(self, name) % 16:
            raise UserError(
                f"Configuration field {self.label(name)!r} must be a multiple of 16, "
                f"not {getattr(self, name)}; round it up."
            )

    def values(self, *, hashed: bool = False) -> dict[str, Any]:
        """Plain values of the fields, as JSON and TOML hold them.

        Parameters
        ----------
        hashed : only those of the hash
        """
        plain = {}
        for each in fields(self):
            if hashed and each.name in self.unhashed:
                continue
            value = getattr(self, each.name)
            nested = isinstance(value, Configuration)
            plain[each.name] = value.values(hashed=hashed) if nested else value
        return plain

    def with_(self, **changes: Any) -> Self:
        """Copy with some fields changed, validated again."""
        return replace(self, **changes)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Configuration of a plain dictionary; missing fields take their defaults.

        Raises
        ------
        UserError
            If a key is no field, or a value is out of range.
        """
        names = [field.name for field in fields(cls)]
        for key in values:
            if key not in names:
                raise UserError(
                    f"Configuration has no field {key!r}; allowed are {', '.join(names)}."
                )
        return cls(**values)
