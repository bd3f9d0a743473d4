"""Configurations as TOML files."""

import json
import os
import tomllib
from typing import Any

from ..errors import UserError
from ..files import replacing
from ..reading import read_text

__all__ = ["read_toml", "write_toml"]


def read_toml(path: str | os.PathLike[str], example: str, table: str) -> dict[str, Any]:
    """All that a TOML file holds.

    Parameters
    ----------
    example, table : a field and the table it stands under, as errors show them

    Raises
    ------
    UserError
        If the file is missing or is not TOML.
    """
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
            f"write fields as '{example}' under a line '{table}'."
        ) from None


def write_toml(path: str | os.PathLike[str], tables: dict[str, dict[str, Any]]) -> None:
    """Write tables with plain values and tables inside them, atomically."""
    lines = [line for name, values in tables.items() for line in _table(name, values)]
    with replacing(path, "Configuration file") as temporary:
        temporary.write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def _table(name: str, values: dict[str, Any]) -> list[str]:
    """A table as TOML, with those inside it."""
    # A JSON number, truth value or plain string reads the same in TOML.
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    lines = [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in plain.items()), ""]
    for key, value in values.items():
        if isinstance(value, dict):
            lines += _table(f"{name}.{key}", value)
    return lines
