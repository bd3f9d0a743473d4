"""``steelyard explore``: the best configuration of a board for a network."""

import contextlib
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from steelyard.errors import UserError
from steelyard.network import Network

from ..errors import BadResult
from ..inputs.arrays import read_array
from ..inputs.explored import explored, pruned_networks, refined
from ..inputs.networks import load_network
from ..options import FILE, OUTPUT_FOLDER, cut_option
from ..view.console import note, percent, show
from ..view.explore_tables import best_lines, built_lines, document_text, front_tables
from ..view.output import write_text

if TYPE_CHECKING:
    from steelyard_explore import Cluster, Conclusion, Found, Variant

__all__ = ["command"]

FOLDER = Path("build") / "explore"
UNITS = {"s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType):
    """Seconds, or a number with a unit."""

    name = "TIME"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", str(value))
        if not match or float(match[1]) == 0:
            self.fail(f"{value!r} is no time; write 90s, 10m or 1h")
        return float(match[1]) * UNITS[match[2] or "s"]


@click.command("explore")
@click.argument("network", type=FILE, metavar="NET.onnx|NET.tflite")
@click.option("--board", "boards", multiple=True, metavar="NAME",
              help="Board to explore, or several; all boards unless given.")  # fmt: skip
@click.option("--objective", "objectives", multiple=True, default=("fps", "lut"),
              type=click.Choice(("fps", "latency", "accuracy", "lut")), show_default="fps, lut",
              help="What to look for, the most important first.")  # fmt: skip
@click.option("--batch", "batches", multiple=True, type=click.IntRange(1, 65535), default=(1,),
              show_default="1", help="Images run together, or several to try.")  # fmt: skip
@click.option("--k", "ks", multiple=True, type=click.IntRange(1, 16), metavar="N",
              help="Try also what is left with the N largest weights of each 16.")  # fmt: skip
@click.option("--float", "source", type=FILE, metavar="FLOAT.onnx",
              help="What NET.onnx was quantized from: --k prunes and repairs it.")  # fmt: skip
@click.option("--calibration", type=FILE, metavar="X.npy",
              help="float32 inputs of that network, for --float; no labels.")  # fmt: skip
@click.option("--images", type=FILE, metavar="X.npy",
              help="Inputs with known classes, for the accuracy.")  # fmt: skip
@click.option("--labels", type=FILE, metavar="Y.npy", help="Class of each of these, integers.")
@click.option("--max-lut", type=click.IntRange(1), metavar="N", help="LUTs at most.")
@click.option("--min-accuracy", type=click.FloatRange(0, 1), metavar="SHARE",
              help="Share of right answers at least; needs --images, --labels.")  # fmt: skip
@click.option("--meets-clock", is_flag=True,
              help="Leave out what is estimated to miss the board's clock.")  # fmt: skip
@click.option("--count", type=click.IntRange(1), metavar="N",
              help="Evaluate N configurations of each board, drawn evenly.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of that draw.")
@click.option("--limit", type=Duration(), metavar="TIME",
              help="End after 90s, 10m or 1h, say, with what is known by then.")  # fmt: skip
@click.option("--to", "stage", type=click.Choice(("cycles", "synthesis", "placement")),
              default="cycles", show_default=True,
              help="Last stage to run: synthesis takes about a minute a point, placement minutes a "
              "seed.")  # fmt: skip
@click.option("--points", type=click.IntRange(1), default=8, show_default=True,
              help="Of the front that are synthesized at most, evenly chosen.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1), show_default="3, Gowin 1",
              help="Placements to try of each.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=2, show_default=True,
              help="Processes of this machine that share the work.")  # fmt: skip
@click.option("--scheduler", metavar="ADDRESS",
              help="Dask scheduler whose workers do it all, such as tcp://host:8786.")  # fmt: skip
@click.option("-o", "--output", type=OUTPUT_FOLDER, default=FOLDER, show_default=True,
              metavar="DIR")  # fmt: skip
@cut_option
def command(
    network: Path, boards: tuple[str, ...], objectives: tuple[str, ...], batches: tuple[int, ...],
    ks: tuple[int, ...], source: Path | None, calibration: Path | None,
    images: Path | None, labels: Path | None, max_lut: int | None, min_accuracy: float | None,
    meets_clock: bool, count: int | None, seed: int, limit: float | None, stage: str, points: int,
    seeds: int | None, workers: int, scheduler: str | None, output: Path, cut: tuple[str, ...],
) -> None:  # fmt: skip
    """Find the configurations of a board that run a quantized network best.

    All shapes of the array that the board holds are planned as 'steelyard compile' plans them: how
    many lanes, columns and requantizers, how long groups are and how many a window memory holds,
    how activations are read, where residual additions are computed, and with the memories and
    operators that the network needs. Cycles and multipliers are exact, block RAMs too on the ECP5,
    and LUTs there at most 5 % off where that was measured. Frames a second are without transfers
    and at the board's clock; which clock a placement reaches is estimated on the ECP5 and told by
    '--to placement' and 'steelyard bitstream'. DIR receives explore.json with all points,
    explore.html with the front, best.toml, a configuration in DIR/front for each point of it, and
    record.sqlite, from which the same or another exploration into DIR takes what it knows.

    With --to synthesis or placement some of the front are built, the best among them, as far as
    'steelyard bitstream' would before its bitstream: cells as placement counts them, and the
    highest clock of each seed. The best is then the first that fits and meets its clock. With
    --scheduler all work is done where 'dask worker ADDRESS --nthreads 1' runs; scheduler and
    workers need Steelyard with the extras boards and explore, and no common files.

    With --k the weights of every layer but the first are thinned by size, only to see what pruning
    would bring. With --float and --calibration the float network is pruned to each K and repaired
    in their place, as 'steelyard prune' does, and quantized: DIR/pruned receives these networks,
    and the front has their accuracy and commands.

    \b
    Examples:
      steelyard explore int8.onnx --board ulx3s_85f
      steelyard explore int8.onnx --board ulx3s_85f --board ulx3s_25f --limit 5m -o found
      steelyard explore int8.onnx --board ulx3s_85f --batch 1 --batch 4 --objective latency
      steelyard explore int8.onnx --board ulx3s_25f --max-lut 15000 --count 2000 --seed 1
      steelyard explore int8.onnx --board ulx3s_25f --to synthesis --points 4
      steelyard explore int8.onnx --board ulx3s_25f --to placement --seeds 2 --limit 1h
      steelyard explore int8.onnx --board ulx3s_85f --scheduler tcp://host:8786 --to synthesis
      steelyard explore int8.onnx --board ulx3s_85f --k 2 --k 4 --images x.npy --labels y.npy \\
          --objective fps --objective accuracy --min-accuracy 0.9
      steelyard explore int8.onnx --board ulx3s_85f --k 2 --k 4 --float float.onnx \\
          --calibration images.npy --images x.npy --labels y.npy
    """
    from steelyard_boards import BOARDS
    from steelyard_boards import board as find_board
    from steelyard_explore import Record, conclude, explore_document

    from ..view.explore_page import explore_page

    begin = time.monotonic()
    chosen = [find_board(name) for name in dict.fromkeys(boards)] or list(BOARDS.values())
    objectives = tuple(dict.fromkeys(objectives))
    _check_labels(images, labels, objectives, min_accuracy)
    loaded, _ = load_network(network, cut)
    ks = tuple(dict.fromkeys(ks))
    _check_source(source, calibration, ks)
    with Record(output / "record.sqlite") as record, _cluster(stage, workers, scheduler) as cluster:
        pruned: dict[int | None, Path] = {}
        if source is not None and calibration is not None:
            pruned = pruned_networks(
                ks, source, calibration, cut, output / "pruned", record,
                cluster if scheduler else None,
            )  # fmt: skip
        variants = _variants(loaded, ks, images, labels, pruned, source, cut)
        explorations = explored(
            variants, chosen, limit, workers,
            batches=tuple(dict.fromkeys(batches)), count=count, seed=seed, record=record,
            cluster=cluster if scheduler else None,
        )  # fmt: skip
        conclusion = conclude(
            loaded, explorations,
            objectives=objectives, max_lut=max_lut, min_accuracy=min_accuracy,
            meets_clock=meets_clock,
        )  # fmt: skip
        interrupted = any(each.stopped == "interrupted" for each in explorations)
        if conclusion.front and stage != "cycles" and not interrupted:
            left = None if limit is None else max(limit - (time.monotonic() - begin), 0.0)
            conclusion = refined(
                conclusion, cluster, record, stage, points=points, seeds=seeds, seconds=left
            )
            interrupted = conclusion.stopped == "interrupted"
    if not conclusion.front:
        if interrupted:
            raise KeyboardInterrupt
        raise BadResult(_nothing(conclusion))
    networks = {None: network} | pruned
    commands = _write_configurations(conclusion, networks, cut, output)
    document = explore_document(conclusion, commands)
    write_text(output / "explore.json", document_text(document))
    write_text(output / "explore.html", explore_page(document))
    show(*front_tables(document))
    if stage != "cycles":
        show(*built_lines(document))
    show(*best_lines(document, str(output)))
    if interrupted:
        raise KeyboardInterrupt


def _cluster(
    stage: str, workers: int, scheduler: str | None
) -> "contextlib.AbstractContextManager[Cluster | None]":
    """Workers for what more than one process of this machine is needed for; else none."""
    from steelyard_explore import Cluster

    if stage == "cycles" and scheduler is None:
        return contextlib.nullcontext()
    return Cluster(scheduler, workers)


def _check_labels(
    images: Path | None, labels: Path | None, objectives: Sequence[str], least: float | None
) -> None:
    """Refuse what needs an accuracy that nothing tells."""
    if (images is None) != (labels is None):
        given, missing = ("--images", "--labels") if labels is None else ("--labels", "--images")
        raise UserError(f"Option {given} was given without {missing}; give both or none.")
    if images is not None:
        return
    wanted = "--min-accuracy" if least is not None else "--objective accuracy"
    if least is not None or "accuracy" in objectives:
        raise UserError(
            f"Option {wanted} needs inputs with known classes; give --images X.npy and --labels "
            "Y.npy too, or leave it out."
        )


def _check_source(source: Path | None, calibration: Path | None, ks: Sequence[int]) -> None:
    """Refuse a float network without what pruning needs."""
    if (source is None) != (calibration is None):
        given, missing = ("--float", "--calibration")[:: 1 if calibration is None else -1]
        raise UserError(f"Option {given} was given without {missing}; give both or none.")
    if source is not None and not ks:
        raise UserError(
            "Option --float is pruned to each --k, and there is none; give --k N, or leave --float "
            "and --calibration out."
        )


def _variants(
    network: Network, ks: Sequence[int], images: Path | None, labels: Path | None,
    pruned: Mapping[int | None, Path], source: Path | None, cut: Sequence[str],
) -> list["Variant"]:  # fmt: skip
    """The network as it is and pruned or thinned, with their accuracy if labels tell it."""
    from steelyard_explore import Variant, accuracy, check_same, keep_largest

    known = None
    if images is not None and labels is not None:
        known = read_array(images, "Image"), read_array(labels, "Label")
    made = []
    for k in (None, *ks):
        own = network
        if k in pruned:
            own, _ = load_network(pruned[k], cut)
            assert source is not None  # What is pruned has one.
            check_same(network, own, source)
        elif k is not None:
            own = keep_largest(network, k)
        share = None if known is None else accuracy(own, *known)
        if share is not None:
            repaired = "pruned and repaired" if k in pruned else "not repaired"
            what = "as it is" if k is None else f"with {k} of each 16 weights, {repaired}"
            note(f"accuracy {what}: {percent(share)}")
        made.append(Variant(network=own, k=k, accuracy=share))
    return made


def _write_configurations(
    conclusion: "Conclusion", networks: Mapping[int | None, Path], cut: Sequence[str], output: Path
) -> list[list[str]]:
    """Write the configurations of a front, and the best; the commands that build each.

    Those of a front that was written here before are removed.
    """
    commands, written = [], set()
    for number, each in enumerate(conclusion.front):
        file = output / ("best.toml" if each is conclusion.best else f"front/{number:03}.toml")
        each.point.config.to_toml(file)
        written.add(file)
        # What was only thinned has no file.
        network = networks.get(each.k)
        commands.append([] if network is None else _commands(each, network, cut, file))
    for old in [*output.glob("front/[0-9][0-9][0-9].toml"), output / "best.toml"]:
        if old not in written:
            old.unlink(missing_ok=True)
    return commands


def _commands(found: "Found", network: Path, cut: Sequence[str], file: Path) -> list[str]:
    """Commands that compile a network for a configuration and build its bitstream."""
    compiled = ["steelyard", "compile", str(network), "-o", str(file.with_suffix(".syp"))]
    compiled += ["--board", found.board, "--config", str(file)]
    if found.point.batch > 1:
        compiled += ["--batch", str(found.point.batch)]
    compiled += [word for name in cut for word in ("--cut", name)]
    folder = str(file.with_suffix(""))
    built = ["steelyard", "bitstream", found.board, "--config", str(file), "-o", folder]
    return [shlex.join(compiled), shlex.join(built)]


def _nothing(conclusion: "Conclusion") -> str:
    """Why there is no front."""
    if conclusion.found:
        given = {
            "--max-lut": ("allow more LUTs", conclusion.max_lut is not None),
            "--min-accuracy": ("allow less accuracy", conclusion.min_accuracy is not None),
            "--meets-clock": ("leave that out", conclusion.meets_clock),
        }
        options = [name for name, (_, wanted) in given.items() if wanted]
        remedies = [remedy for remedy, wanted in given.values() if wanted]
        return (
            f"{conclusion.found:,} configurations run network {conclusion.network.name!r}, but "
            f"none keeps to {' and '.join(options)}; {' or '.join(remedies)}."
        )
    names = ", ".join(each.board.name for each in conclusion.explorations) or "these boards"
    return (
        f"No configuration that was evaluated runs network {conclusion.network.name!r} on {names}; "
        "use a larger board, a smaller batch or a sparser network."
    )
