"""Configurations that options name: files, boards, engines."""

import tomllib
from pathlib import Path

from steelyard.contract.accelerator import ArrayConfig
from steelyard.contract.tile import TileConfig, load_config
from steelyard.driver.boards import find_board
from steelyard.engines.crossbar import CrossbarConfig
from steelyard.errors import UserError
from steelyard.reading import read_text

__all__ = ["chosen_config", "crossbar_config"]


def chosen_config(
    config_file: Path | None, board: str | None, engine: str | None = None
) -> ArrayConfig | None:
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
        config = load_config(config_file)
        if engine is not None and engine != _engine_of(config):
            raise UserError(
                f"--engine {engine} was given with {str(config_file)!r}, which configures the "
                f"{_engine_of(config)}; leave --engine out, for the file's tables say it."
            )
        if board is not None:
            find_board(board).check(config)
        return config
    if board is None:
        return None
    if engine == "crossbar":
        raise UserError(
            f"Board {board!r} has no configuration of the crossbar tile; give one with --config "
            "beside --board."
        )
    return find_board(board).default


def _engine_of(config: ArrayConfig) -> str:
    """Engine of a configuration as ``--engine`` names it."""
    return "crossbar" if isinstance(config, TileConfig) else "array"


def crossbar_config(path: Path | None) -> CrossbarConfig:
    """Configuration of a file with the crossbar's table, alone or in that of a tile; the default
    one without a file.

    Raises
    ------
    UserError
        If the file is missing, is not TOML, or holds a bad field.
    """
    if path is None:
        return CrossbarConfig()
    try:
        tables = tomllib.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        # Read again below, where errors get their sentence.
        tables = {}
    if "array" in tables and "crossbar" in tables:
        return TileConfig.from_toml(path).crossbar
    return CrossbarConfig.from_toml(path)
