"""``steelyard compile``: from quantized ONNX or TFLite to a program, with the plan in a table."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from steelyard.check import assess
from steelyard.compile import compile as compile_program
from steelyard.compile import compile_with_memories
from steelyard.compile.cycles import predict_program
from steelyard.contract import AcceleratorConfig, configure, registry
from steelyard.driver.boards import find_board
from steelyard.errors import DoesNotFit, UserError
from steelyard.network import mask_sentences
from steelyard.program import Program
from steelyard.report import plan_document
from steelyard_sim.build.library import BUILD_TIME

from ..inputs.configs import chosen_config
from ..inputs.explored import best_config
from ..inputs.networks import load_network
from ..options import FILE, OUTPUT_FILE, cut_option, json_option
from ..view.console import note, percent, progress, show, table, warn
from ..view.layer_tables import plan_table
from ..view.output import beside, write_json

__all__ = ["command"]


class Letters(click.ParamType):
    """``dense``, ``auto`` or a number."""

    name = "dense|auto|N"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | int:
        if isinstance(value, int) or value in ("dense", "auto"):
            return value
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither 'dense', 'auto' nor a whole number")


@click.command("compile")
@click.argument("network", type=FILE, metavar="NET.onnx|NET.tflite")
@click.option("-o", "--output", type=OUTPUT_FILE, required=True, metavar="NET.syp")
@click.option("--config", type=FILE, metavar="FILE.toml", help="Configuration of the accelerator.")
@click.option("--board", metavar="NAME",
              help="Take the default configuration of a board; with --config, check that the board "
              "holds that one.")  # fmt: skip
@click.option("--auto", is_flag=True,
              help="Take the fastest configuration that the board holds, see 'steelyard explore'; "
              "NET.toml receives it.")  # fmt: skip
@click.option("--batch", type=int, default=1, show_default=True, help="Images run together.")
@click.option(
    "--k", type=Letters(), default="auto", show_default=True,
    help="Weights kept of each group: each layer's smallest, all, or N in every layer.",
)  # fmt: skip
@click.option(
    "--engine", type=click.Choice(registry.kinds()),
    show_default="that of FILE.toml, or array",
    help="Sparse array, or tile that emulates an RRAM crossbar.",
)  # fmt: skip
@click.option(
    "--mapping", metavar="NAME", default="pattern", show_default=True,
    help="How the crossbar holds the weights: traditional, structured, ou_row, pattern or mixed.",
)  # fmt: skip
@cut_option
@json_option
def command(
    network: Path, output: Path, config: Path | None, board: str | None, auto: bool, batch: int,
    k: str | int, engine: str | None, mapping: str, cut: tuple[str, ...], json_file: Path | None,
) -> None:  # fmt: skip
    """Compile a quantized ONNX or TFLite network for the accelerator and print the plan.

    Without --config and --board the accelerator is the default one (16 lanes, 16 columns, groups of
    16), with its memories grown where the network needs more. With --engine crossbar that is the
    default tile (16 lanes, crossbars of 512 x 512 cells, operation units of 9 x 8, groups of 32
    activations), a FILE.toml says kind = "crossbar", and --k changes nothing: the
    mapping keeps what the weights need. --mapping is of the crossbar alone. What --cut leaves to
    the host goes into the program, and 'steelyard run' computes it with onnxruntime.

    \b
    Examples:
      steelyard compile int8.onnx -o net.syp
      steelyard compile int8.tflite -o net.syp
      steelyard compile int8.onnx -o net.syp --config accelerator.toml --batch 8
      steelyard compile int8.onnx -o net.syp --board ulx3s_85f
      steelyard compile int8.onnx -o net.syp --board ulx3s_85f --config larger.toml
      steelyard compile int8.onnx -o net.syp --board ulx3s_85f --auto
      steelyard compile int8.onnx -o net.syp --cut Softmax
      steelyard compile int8.onnx -o dense.syp --k dense
      steelyard compile int8.onnx -o tile.syp --engine crossbar --mapping mixed
    """
    if auto:
        _check_auto(config, board, k, engine)
    chosen = chosen_config(config, board, engine)
    for sentence in () if chosen is None else chosen.engine.warnings():
        warn(sentence)
    loaded, host = load_network(network, cut)
    if auto and board is not None:
        chosen = best_config(loaded, board, batch)
        config = beside(output, output.with_suffix(".toml"))
        if config is not None:
            chosen.to_toml(config)
    if chosen is None:
        base = configure(engine or "array")
        options = _options(base, k=k, mapping=mapping)
        program = compile_with_memories(loaded, base, batch=batch, **options)
        grown = base.differences(program.config)
        what = f"with grown memories ({'; '.join(grown)})" if grown else "as it is"
        note(
            f"No --config and no --board: the default configuration {what}. Its first run on 'sim' "
            f"builds its simulation, {BUILD_TIME}; 'steelyard run --device golden' starts at once."
        )
    else:
        try:
            with progress("compiling", len(loaded.layers)) as update:
                program = compile_program(
                    loaded,
                    chosen,
                    batch=batch,
                    **_options(chosen, k=k, mapping=mapping),
                    progress=update,
                )
        except DoesNotFit as error:
            if board is None or not error.needs:
                raise
            external = find_board(board).external if config is None else None
            held = (
                external is not None
                and not assess(
                    loaded, external, batch=batch, **_options(external, k=k, mapping=mapping)
                )[1]
            )
            advice = _board_advice(board, chosen, config, error, held)
            raise DoesNotFit(error.problem, advice) from None
    program = replace(program, host=host)
    program.save(output)
    plan = plan_document(program)
    if json_file:
        write_json(json_file, plan)
    ks = {layer.name: layer.k for layer in program.layers if layer.k is not None}
    show(
        plan_table(program, plan["layers"], str(output)),
        _memory_table(program),
        *mask_sentences(program.network, ks, getattr(program.config.engine, "group", 1)),
    )
    if len(plan["outputs"]) > 1:
        ends = (f"{each['name']!r} {tuple(each['shape'])}" for each in plan["outputs"])
        show(f"outputs of an image: {', '.join(ends)}")
    if host is not None:
        show(f"the host computes {host.title}")
    if board is not None:
        _show_speed(program, board, config)


def _check_auto(config: Path | None, board: str | None, k: str | int, engine: str | None) -> None:
    """Refuse --auto beside options that choose what it would."""
    if board is None:
        raise UserError(
            "Option --auto looks for the best configuration of a board; name one with --board."
        )
    taken = {"--config": config is not None, "--k": k != "auto", "--engine": engine == "crossbar"}
    given = [name for name, there in taken.items() if there]
    if given:
        raise UserError(
            f"Option --auto chooses what {given[0]} would fix; leave one of the two out."
        )


def _options(config: AcceleratorConfig, **given: Any) -> dict[str, Any]:
    """Those of the options that the configuration's engine has."""
    known = registry.engine(config.engine.kind).options
    return {name: value for name, value in given.items() if name in known}


def _board_advice(
    name: str,
    config: AcceleratorConfig,
    config_file: Path | None,
    error: DoesNotFit,
    external: bool,
) -> str:
    """What to do about a network that a board's configuration is too small for.

    Parameters
    ----------
    config : that of the file, or the board's own without one
    external : whether the board's configuration with external memory holds the network
    """
    smaller = "a smaller batch or a sparser network"
    try:
        find_board(name).check(config.with_(**error.needs))
    except DoesNotFit as refusal:
        if external:
            return (
                f"the SDRAM of board {name!r} holds it: write that configuration with 'steelyard "
                f"boards {name} --external -o {name}.toml' and give '--board {name} --config "
                f"{name}.toml', or use {smaller}."
            )
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
    clock_hz = find_board(name).clock_of(program.config)
    cycles = predict_program(program)
    most = "at most " * (not program.engine.exact)
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


def _memory_table(program: Program) -> Table:
    """Used part of every memory."""
    return table(
        "Memories",
        ("memory", "used", "available", "share"),
        [(u.memory, u.used, u.available, percent(u.used / u.available)) for u in program.uses],
    )
