"""Configurations that options name: files, boards, engines."""

from pathlib import Path

from steelyard.contract import AcceleratorConfig
from steelyard.driver.boards import find_board
from steelyard.engines.crossbar import CrossbarConfig
from steelyard.errors import UserError

__all__ = ["chosen_config", "crossbar_config"]


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
