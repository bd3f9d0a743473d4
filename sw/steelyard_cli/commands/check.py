"""``steelyard check``: everything that is against a network, and what it would take."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from steelyard.contract import AcceleratorConfig
from steelyard.driver.boards import find_board
from steelyard.network import mask_sentences
from steelyard.report import check_document

from ..inputs.configs import chosen_config
from ..inputs.networks import refuse
from ..options import FILE, cut_option, json_option
from ..view.check_tables import board_table, layer_table, memory_table, refusals
from ..view.console import note, percent, show
from ..view.output import write_json

if TYPE_CHECKING:
    from steelyard.check import BoardFit, Estimate, Examined

__all__ = ["command"]


@click.command("check")
@click.argument("network", type=FILE, metavar="NET.onnx|NET.tflite")
@click.option("--board", metavar="NAME",
              help="Board to run on; the smallest that holds it unless given.")  # fmt: skip
@click.option("--config", type=FILE, metavar="FILE.toml",
              help="Configuration to run on, of the board if one is named.")  # fmt: skip
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True,
              help="Images run together.")  # fmt: skip
@cut_option
@json_option
def command(
    network: Path, board: str | None, config: Path | None, batch: int, cut: tuple[str, ...],
    json_file: Path | None,
) -> None:  # fmt: skip
    """List all that is against a network at once, or say what it would take.

    NET.onnx is float or quantized, NET.tflite quantized. Every obstacle names the node, what is
    wrong with it, what is supported and what to do; where there is any, the exit status is 2.
    Otherwise the tables have the memories of the board's configuration, the cycles of each layer,
    what bounds it (the engine, loading its inputs, draining its sums, or the vector unit), and the
    frames a second at the board's clock, without transfers. A float network is taken with the
    weights that it has: what is not zero counts.

    \b
    Examples:
      steelyard check float.onnx
      steelyard check int8.onnx --board ulx3s_85f
      steelyard check int8.onnx --config array.toml --json check.json
      steelyard check float.onnx --cut Softmax
      steelyard check int8.tflite
    """
    from steelyard.check import examine

    chosen = chosen_config(config, board)
    examined = examine(network, cut, note)
    if examined.obstacles:
        if json_file:
            write_json(json_file, check_document(examined, None, None, board, (), ()))
        refuse(examined.obstacles, str(network))
    if examined.host is not None:
        note(f"The host computes {examined.host.title}.")
    if not examined.quantized:
        note(
            "A float network: its layers are estimated with the weights that are not zero now; "
            f"{_sparse(examined)}"
        )
    if chosen is None:
        _on_boards(examined, batch, json_file)
    else:
        own = board is not None and config is None
        _on_configuration(examined, chosen, board, batch, json_file, own=own)


def _sparse(examined: "Examined") -> str:
    from steelyard.network import Conv

    assert examined.network is not None  # There are no obstacles.
    weights = [layer.weight for layer in examined.network.layers if isinstance(layer, Conv)]
    total = sum(each.size for each in weights)
    zeros = total - sum(int((each != 0).sum()) for each in weights)
    if zeros * 20 < total:
        return "they are dense, and 'steelyard prune' makes it smaller and faster."
    return f"{100 * zeros / total:.0f} % of them are zero."


def _on_boards(examined: "Examined", batch: int, json_file: Path | None) -> None:
    """What each board of the catalogue says, and the tables of the smallest that fits."""
    from steelyard.check import fits, smallest
    from steelyard_boards import BOARDS

    assert examined.network is not None
    found = fits(examined.network, BOARDS.values(), batch=batch)
    best = smallest(found) or _nearest(found)
    cost = None if best is None else best.estimate
    if json_file:
        clock, name = (None, None) if best is None else (best.clock_hz, best.name)
        write_json(json_file, check_document(examined, cost, clock, name, found, ()))
    show(board_table(found), *refusals(found))
    external = [each.name for each in found if each.config.memory.external_words]
    if external:
        show(
            f"With SDRAM: 'steelyard boards {external[0]} --external -o FILE' writes the "
            "configuration, for --config of this command, compile and bitstream."
        )
    if best is None or cost is None:
        show("No board's own configuration runs the network.")
        return
    if best.problem is not None:
        note(
            "No board's own configuration holds the network. The tables are for board "
            f"{best.name!r} as if its memories were as large as needed."
        )
    _show(examined, cost, best.name, best.clock_hz)


def _nearest(found: Sequence["BoardFit"]) -> "BoardFit | None":
    """The board that would be fastest if its memories were larger."""
    known = [each for each in found if each.estimate is not None]
    return max(
        known,
        key=lambda each: each.estimate.frames_per_second(each.clock_hz) if each.estimate else 0.0,
        default=None,
    )


def _on_configuration(
    examined: "Examined",
    chosen: AcceleratorConfig,
    board: str | None,
    batch: int,
    json_file: Path | None,
    *,
    own: bool,
) -> None:
    """Tables of a configuration, `own` if it is the board's, or why it does not run the network."""
    from steelyard.check import assess

    assert examined.network is not None
    clock = None if board is None else find_board(board).clock_of(chosen)
    cost, problems = assess(examined.network, chosen, batch=batch)
    if json_file:
        write_json(json_file, check_document(examined, cost, clock, board, (), problems))
    if cost is not None:
        _show(examined, cost, board, clock)
    if problems and board is not None and own:
        external = find_board(board).external
        if external is not None and not assess(examined.network, external, batch=batch)[1]:
            note(
                f"The SDRAM of board {board!r} holds the network: write that configuration with "
                f"'steelyard boards {board} --external -o {board}.toml' and give '--board {board} "
                f"--config {board}.toml'."
            )
    refuse(problems, examined.name)


def _show(
    examined: "Examined", cost: "Estimate", board: str | None, clock_hz: float | None
) -> None:
    title = cost.config.outline if board is None else f"board {board}, {cost.config.outline}"
    show(layer_table(cost, f"{examined.name}: batch of {cost.batch} on {title}"))
    show(memory_table(cost))
    if examined.network is not None:
        ks = {layer.name: layer.k for layer in cost.layers if layer.k is not None}
        show(*mask_sentences(examined.network, ks, getattr(cost.config.engine, "group", 1)))
    most = "" if cost.exact else "about " if cost.moved_words or cost.stored_words else "at most "
    text = f"{most}{cost.cycles:,} cycles a batch"
    if clock_hz is not None:
        least = {"": "", "about ": "about ", "at most ": "at least "}[most]
        rate = cost.frames_per_second(clock_hz)
        text += f"; at {clock_hz / 1e6:g} MHz {least}{rate:.1f} frames a second"
    show(f"{text}, without transfers")
    if cost.moved_words or cost.stored_words:
        reached = percent(cost.roofline_cycles / cost.cycles)
        stored = f" and {4 * cost.stored_words:,} into it" * bool(cost.stored_words)
        show(
            f"{4 * cost.moved_words:,} bytes a batch from external memory{stored}; that is "
            f"{reached} of the roofline, {cost.roofline_cycles:,} cycles"
        )
