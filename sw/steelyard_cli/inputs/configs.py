"""Configurations that options name: files, boards, engines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steelyard.contract import AcceleratorConfig
from steelyard.contract.toml import read_toml
from steelyard.driver.boards import find_board
from steelyard.engines.crossbar import CrossbarConfig
from steelyard.errors import UserError

__all__ = ["chosen_config", "crossbar_config", "device_effects"]


def chosen_config(
    config_file: Path | None, board: str | None, engine: str | None = None
) -> AcceleratorConfig | None:
    """Configuration of a file, which a board must hold if one is named, or of the board itself.

    Parameters
    ----------
    config_file : names the engine by its tables
    board : name of the board
    engine : ``array`` or ``crossbar`` if the user asks for one

    Returns
    -------
    None if neither is named

    Raises
    ------
    UserError
        If the file or the board cannot be used, the file is of another engine, or the board cannot
        hold what the file says.
    """
    if config_file is not None:
        config: AcceleratorConfig = AcceleratorConfig.from_toml(config_file)
        kind = config.engine.kind
        if engine is not None and engine != kind:
            raise UserError(
                f"--engine {engine} was given with {str(config_file)!r}, which configures the "
                f"{kind}; leave --engine out, for the file says it."
            )
        if board is not None:
            find_board(board).check(config)
        return config
    if board is None:
        return None
    default: AcceleratorConfig = find_board(board).default
    if engine not in (None, default.engine.kind):
        raise UserError(
            f"Board {board!r} has no configuration with the engine {engine!r}; give one with "
            "--config beside --board."
        )
    return default


def crossbar_config(path: Path | None) -> CrossbarConfig:
    """Configuration of a file with the crossbar's table, alone or in that of a tile; the default
    one without a file.

    Raises
    ------
    UserError
        If the file is missing, is not TOML, or holds a bad field.
    """
    return CrossbarConfig() if path is None else CrossbarConfig.from_toml(path)


def device_effects(path: Path | None, given: Sequence[str]) -> dict[str, Any]:
    """Strengths of effects by name, or lists of them: of a file's table ``[effects]``, and of
    options ``NAME=VALUE[,VALUE...]``, which go first.

    Raises
    ------
    UserError
        If the table is none, or an option has another form.
    """
    found: dict[str, Any] = {}
    if path is not None:
        found = read_toml(path, "stuck_at_zero = 1000", "[effects]").get("effects", {})
        if not isinstance(found, dict):
            raise UserError(
                f"Configuration file {str(path)!r} has 'effects' that are no table; write them "
                "as 'stuck_at_zero = 1000' under a line '[effects]'."
            )
    for text in given:
        name, _, values = text.partition("=")
        try:
            found[name] = [_number(each) for each in values.split(",")]
        except ValueError:
            raise UserError(
                f"--effect must be a name and one or several numbers, not {text!r}; write for "
                "example 'stuck_at_zero=1000,10000'."
            ) from None
    return found


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        return float(text)
