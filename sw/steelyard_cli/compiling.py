"""``steelyard compile``: from quantized ONNX to a program, with the plan in a table."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from steelyard.compile import compile as compile_program
from steelyard.config import ArrayConfig
from steelyard.driver.boards import find_board
from steelyard.errors import UserError
from steelyard.network import Network
from steelyard.program import Program
from steelyard.tile import TileConfig

from .console import note, percent, progress, show, table, warn
from .files import write_json
from .layer_tables import plan_table

__all__ = [
    "chosen_config",
    "compile_network",
    "fitted",
    "memory_table",
    "plan_document",
]

ROUND_WORDS = 1024
"""Grown memories are a multiple of this many words, a block RAM's depth."""
LARGEST = {
    "activation_words": 1 << 24,
    "weight_words": 1 << 24,
    "parameter_words": 1 << 20,
    "max_layers": 1024,
}
"""Memories that grow, at the most a configuration allows."""


def fitted(
    network: Network,
    base: ArrayConfig,
    *,
    batch: int = 1,
    k: str | int | dict[str, int] = "auto",
    method: str = "pattern",
) -> Program:
    """Program for `base` with the memories grown that the network needs larger.

    Raises
    ------
    UserError
        If the network cannot be computed, or does not fit the largest memories.
    """
    program = compile_program(network, base.with_(**LARGEST), batch=batch, k=k, method=method)
    needs = dict(zip(LARGEST, (use.used for use in program.uses), strict=True))
    grown = {}
    for name, used in needs.items():
        have = getattr(base, name)
        grown[name] = have if used <= have else -(-used // ROUND_WORDS) * ROUND_WORDS
    # No schedule depends on the size of these memories, so the program stays the same.
    return replace(program, config=base.with_(**grown))


def chosen_config(config_file: Path | None, board: str | None) -> ArrayConfig | None:
    """Configuration of a file or of a board, None if neither is named.

    Raises
    ------
    UserError
        If both are, or the file or the board cannot be used.
    """
    if config_file is not None and board is not None:
        raise UserError(
            f"--config {str(config_file)!r} and --board {board!r} exclude each other; give one."
        )
    if config_file is not None:
        return ArrayConfig.from_toml(config_file)
    return find_board(board).default if board is not None else None


def tile_config(config_file: Path | None, board: str | None) -> TileConfig | None:
    """Configuration of the crossbar tile of a file, None if none is named.

    Raises
    ------
    UserError
        If a board is named, or the file cannot be used.
    """
    if board is not None:
        raise UserError(
            f"Board {board!r} has no configuration of the crossbar tile; give one with --config."
        )
    return None if config_file is None else TileConfig.from_toml(config_file)


def compile_network(
    source: Path,
    output: Path,
    config_file: Path | None,
    board: str | None,
    batch: int,
    k: str | int,
    json_file: Path | None,
    engine: str = "array",
    method: str = "pattern",
) -> None:
    """``steelyard compile``."""
    tile = engine == "crossbar"
    config = (tile_config if tile else chosen_config)(config_file, board)
    if isinstance(config, TileConfig):
        for sentence in config.crossbar.warnings():
            warn(sentence)
    from steelyard.importer import load

    network = load(source)
    if config is None:
        base = TileConfig() if tile else ArrayConfig()
        program = fitted(network, base, batch=batch, k=k, method=method)
        grown = base.differences(program.config)
        what = f"with grown memories ({'; '.join(grown)})" if grown else "as it is"
        note(f"No --config and no --board: the default configuration {what}.")
    else:
        with progress("compiling", len(network.layers)) as update:
            program = compile_program(
                network,
                config,
                batch=batch,
                k=k,
                method=method,
                progress=lambda done, _, name: update(done, name),
            )
    program.save(output)
    plan = plan_document(program)
    if json_file:
        write_json(json_file, plan)
    show(plan_table(program, plan["layers"], str(output)), memory_table(program))


def memory_table(program: Program) -> Table:
    """Used part of every memory."""
    return table(
        "Memories",
        ("memory", "used", "available", "share"),
        [(u.memory, u.used, u.available, percent(u.used / u.available)) for u in program.uses],
    )


def plan_document(program: Program) -> dict[str, Any]:
    """Plan of a program as JSON holds it."""
    if not program.layers:
        raise UserError("The program has no layers; compile a network that has some.")
    return {
        "network": program.network.name,
        "batch": program.batch,
        "config": asdict(program.config),
        "config_sha256": program.config.hash().hex(),
        "ideal_cycles": sum(entry.ideal_cycles for entry in program.layers),
        "predicted_cycles": sum(entry.predicted_cycles for entry in program.layers),
        "memories": [asdict(use) for use in program.uses],
        "layers": [asdict(each) for each in program.explain()],
    }
