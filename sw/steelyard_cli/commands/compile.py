"""``steelyard compile``: from quantized ONNX to a program, with the plan in a table."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from steelyard.compile import compile as compile_program
from steelyard.compile.cycles import predict_program
from steelyard.contract.accelerator import MEMORIES, ArrayConfig
from steelyard.contract.tile import TileConfig, load_config
from steelyard.driver.boards import find_board
from steelyard.errors import DoesNotFit, UserError
from steelyard.network import Network
from steelyard.program import Program
from steelyard_sim.build.library import BUILD_TIME

from ..view.console import note, percent, progress, show, table, warn
from ..view.files import write_json
from ..view.layer_tables import plan_table

__all__ = [
    "chosen_config",
    "compile_network",
    "fitted",
    "memory_table",
    "plan_document",
]


def fitted(
    network: Network,
    base: ArrayConfig,
    *,
    batch: int = 1,
    k: str | int | dict[str, int] = "auto",
    method: str = "pattern",
) -> Program:
    """Program for `base` with the memories grown that the network needs larger, to powers of two:
    networks of like sizes then share a configuration, and with it a compiled simulation.

    Raises
    ------
    UserError
        If the network cannot be computed, or does not fit the largest memories.
    """
    program = compile_program(network, base.with_(**MEMORIES), batch=batch, k=k, method=method)
    needs = dict(zip(MEMORIES, (use.used for use in program.uses), strict=True))
    grown = {}
    for name, used in needs.items():
        have = getattr(base, name)
        grown[name] = have if used <= have else 1 << (used - 1).bit_length()
    # No schedule depends on the size of these memories, so the program stays the same.
    return replace(program, config=base.with_(**grown))


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
        if engine is not None and engine != engine_of(config):
            raise UserError(
                f"--engine {engine} was given with {str(config_file)!r}, which configures the "
                f"{engine_of(config)}; leave --engine out, for the file's tables say it."
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


def engine_of(config: ArrayConfig) -> str:
    """Engine of a configuration as ``--engine`` names it."""
    return "crossbar" if isinstance(config, TileConfig) else "array"


def compile_network(
    source: Path,
    output: Path,
    config_file: Path | None,
    board: str | None,
    batch: int,
    k: str | int,
    json_file: Path | None,
    engine: str | None = None,
    method: str = "pattern",
) -> None:
    """``steelyard compile``."""
    config = chosen_config(config_file, board, engine)
    if isinstance(config, TileConfig):
        for sentence in config.crossbar.warnings():
            warn(sentence)
    from steelyard.importer import load

    network = load(source)
    if config is None:
        base = TileConfig() if engine == "crossbar" else ArrayConfig()
        program = fitted(network, base, batch=batch, k=k, method=method)
        grown = base.differences(program.config)
        what = f"with grown memories ({'; '.join(grown)})" if grown else "as it is"
        note(
            f"No --config and no --board: the default configuration {what}. Its first run on 'sim' "
            f"builds its simulation, {BUILD_TIME}; 'steelyard run --device golden' starts at once."
        )
    else:
        try:
            with progress("compiling", len(network.layers)) as update:
                program = compile_program(
                    network,
                    config,
                    batch=batch,
                    k=k,
                    method=method,
                    progress=lambda done, _, name: update(done, name),
                )
        except DoesNotFit as error:
            if board is None or not error.needs:
                raise
            advice = _board_advice(board, config, config_file, error)
            raise DoesNotFit(error.problem, advice) from None
    program.save(output)
    plan = plan_document(program)
    if json_file:
        write_json(json_file, plan)
    show(plan_table(program, plan["layers"], str(output)), memory_table(program))
    if board is not None:
        _show_speed(program, board, config_file)


def _board_advice(
    name: str, config: ArrayConfig, config_file: Path | None, error: DoesNotFit
) -> str:
    """What to do about a network that a board's configuration is too small for.

    Parameters
    ----------
    config : that of the file, or the board's own without one
    """
    smaller = "a smaller batch or a sparser network"
    try:
        find_board(name).check(config.with_(**error.needs))
    except DoesNotFit as refusal:
        return (
            f"nor does board {name!r} hold the memories for it ({refusal.problem}); use {smaller} "
            "or a larger board."
        )
    fields = " and ".join(f"{field} = {value}" for field, value in error.needs.items())
    if config_file is not None:
        return f"set {fields} in {str(config_file)!r}, which the board holds too, or use {smaller}."
    return (
        f"write the board's configuration with 'steelyard boards {name} -o {name}.toml', set "
        f"{fields} in it and give '--board {name} --config {name}.toml', or use {smaller}."
    )


def _show_speed(program: Program, name: str, config_file: Path | None) -> None:
    """Speed at the board's clock, and what its bitstream needs."""
    clock_hz = find_board(name).clock_hz
    cycles = predict_program(program)
    most = "at most " * isinstance(program.config, TileConfig)
    rate = clock_hz / cycles * program.batch
    show(
        f"board {name} at {clock_hz / 1e6:g} MHz: {most}{cycles / clock_hz * 1e3:.3g} ms a batch, "
        f"{'at least ' if most else ''}{rate:.0f} images a second, without transfers"
    )
    if config_file is not None:
        note(
            "Its bitstream needs the same configuration: 'steelyard bitstream "
            f"{name} --config {config_file}'."
        )


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
