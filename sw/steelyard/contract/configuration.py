"""What all configurations share: checks of their fields, hash, and reading and writing TOML."""

import hashlib
import json
import os
import tomllib
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar, Self

from ..errors import UserError
from ..files import replacing
from ..reading import read_text

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
    """Frozen fields with one canonical text; subclasses add the fields and their limits."""

    _engine: ClassVar[str] = ""
    """What computes, in words."""
    _table: ClassVar[str]
    """Name of the TOML table that holds the fields."""
    _example: ClassVar[str]
    """A field as the user writes it, for errors."""
    _unhashed: ClassVar[tuple[str, ...]] = ()
    """Fields that change nothing of what the hardware computes."""

    def _integers(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise UserError(
                    f"Configuration field {name!r} must be an integer, not {shown(value)}; "
                    "write it without quotes or a decimal point."
                )
            if not -MOST <= value <= MOST:
                raise UserError(
                    f"Configuration field {name!r} is an integer of more than 64 bits; "
                    "choose a smaller value."
                )

    def _one_of(self, name: str, allowed: tuple[int, ...]) -> None:
        value = getattr(self, name)
        if value not in allowed:
            choices = ", ".join(map(str, allowed))
            raise UserError(
                f"Configuration field {name!r} must be one of {choices}, not {value}; "
                "choose the nearest."
            )

    def _between(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if not low <= value <= high:
            raise UserError(
                f"Configuration field {name!r} must lie between {low} and {high}, not {value}; "
                "choose a value in that range."
            )

    def canonical(self) -> str:
        """Canonical JSON text of the fields, the input of the hash."""
        values = {key: value for key, value in asdict(self).items() if key not in self._unhashed}
        return json.dumps(values, sort_keys=True, separators=(",", ":"))

    def hash(self) -> bytes:
        """SHA-256 of the canonical text, 32 bytes; also in the accelerator's registers."""
        return hashlib.sha256(self.canonical().encode()).digest()

    def differences(self, other: "Configuration") -> list[str]:
        """Fields in which `other` differs, as ``name: mine != theirs``; first the engine."""
        mine, theirs = _flat(asdict(self)), _flat(asdict(other))
        common = [name for name in mine if name in theirs]
        engines = (("engine", self._engine, other._engine),)
        fields = (*engines, *((name, mine[name], theirs[name]) for name in common))
        return [f"{name}: {own} != {their}" for name, own, their in fields if own != their]

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

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Self:
        """Configuration of a TOML file with the one table of this kind, ``[array]`` for the array.

        Raises
        ------
        UserError
            If the file is missing, is not TOML, or holds a bad field.
        """
        (table,) = cls._tables(path, cls._table)
        return cls.from_dict(table)

    @classmethod
    def _document(cls, path: str | os.PathLike[str]) -> dict[str, Any]:
        """All that a TOML file holds."""
        try:
            return tomllib.loads(read_text(path))
        except FileNotFoundError:
            raise UserError(
                f"Configuration file {str(path)!r} does not exist; give the path of a TOML file."
            ) from None
        except (OSError, ValueError, RecursionError) as error:
            reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
            raise UserError(
                f"Configuration file {str(path)!r} cannot be read as TOML ({reason}); "
                f"write fields as '{cls._example}' under a line '[{cls._table}]'."
            ) from None

    @classmethod
    def _tables(cls, path: str | os.PathLike[str], *names: str) -> list[dict[str, Any]]:
        """Tables of a TOML file that holds just those named."""
        brackets = " and ".join(f"'[{name}]'" for name in names)
        document = cls._document(path)
        tables = [document.get(name) for name in names]
        found = [table for table in tables if isinstance(table, dict)]
        if len(found) < len(names) or len(document) != len(names):
            number = {1: "one table", 2: "two tables"}[len(names)]
            raise UserError(
                f"Configuration file {str(path)!r} must hold {number} {brackets}, "
                f"not {sorted(document)}; put all fields under {brackets}."
            )
        return found

    def to_toml(self, path: str | os.PathLike[str]) -> None:
        """Write all fields as TOML, atomically."""
        lines = self._lines(asdict(self))
        with replacing(path, "Configuration file") as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def _lines(self, values: dict[str, Any]) -> list[str]:
        """A table as TOML."""
        # A JSON integer or plain string reads the same in TOML.
        fields = (f"{name} = {json.dumps(value)}" for name, value in values.items())
        return [f"[{self._table}]", *fields]


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Fields of a dictionary and, with a dot in their names, those of the ones inside."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": own for inner, own in _flat(value).items()}
        else:
            flat[name] = value
    return flat
