"""``steelyard prune``: balanced groups for the array, or zeros that a crossbar can leave out."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError
from steelyard.files import replacing
from steelyard.report import (
    crossbar_prune_document,
    damage_document,
    graph_prune_document,
    prune_document,
)

from ..inputs.arrays import calibration_images
from ..inputs.configs import crossbar_config
from ..options import FILE, OUTPUT_FILE
from ..threads import one_thread
from ..view.console import activity, percent, progress, show, table, warn
from ..view.output import beside, write_json

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

    from steelyard.balanced import GraphPruneResult
    from steelyard.prune import CrossbarPruneResult, PruneResult

__all__ = ["command"]

ARRAY = {"group": "--group", "k_table": "--k", "work": "--work"}
CROSSBAR = {
    "constraint": "--constraint", "config_file": "--config", "keep": "--keep", "width": "--width"
}  # fmt: skip
"""Options of one engine alone."""
GRAPH = {"depthwise": "--depthwise", "sensitivity": "--sensitivity"}
"""Options of ONNX networks alone."""

Value = TypeVar("Value")


@click.command("prune")
@click.argument("model")
@click.option("-o", "--output", type=OUTPUT_FILE, metavar="OUT.onnx",
              help="Pruned network; may be left out with --sensitivity.")  # fmt: skip
@click.option(
    "--calibration", type=FILE, metavar="X.npy",
    help="float32 network inputs, batch first, no labels; for 'fashion' the bundled ones.",
)  # fmt: skip
@click.option("--weights", type=FILE, metavar="FILE",
              help="State of the model: .pt, .pth, .ckpt, .safetensors or .npz.")  # fmt: skip
@click.option("--sparsity", type=float, default=0.75, show_default=True,
              help="Share of the weights outside the first layer to remove.")  # fmt: skip
@click.option(
    "--engine", type=click.Choice(("array", "crossbar")), default="array", show_default=True,
    help="Balanced groups for the sparse array, or zeros that an RRAM crossbar can leave out.",
)  # fmt: skip
@click.option("--work", type=float,
              help="Of the array: share of the multiplications outside the first layer to remove; "
              "the sparsity unless given, 0 for no bound.")  # fmt: skip
@click.option("--group", type=int, help="Of the array: weights in a group.  [default: 16]")
@click.option("--k", "k_table", multiple=True, metavar="LAYER=K",
              help="Of the array: keep K of each group of a layer, in place of --sparsity; may "
              "be repeated, layers not named stay dense.")  # fmt: skip
@click.option(
    "--constraint", metavar="NAME",
    help="Of the crossbar: pattern (the default), mixed, ou_row, structured, balanced or "
    "unstructured.",
)  # fmt: skip
@click.option(
    "--config", "config_file", type=FILE, metavar="FILE.toml",
    help="Of the crossbar: a table [crossbar], or a tile's configuration.",
)  # fmt: skip
@click.option("--keep", multiple=True, metavar="LAYER=SHARE",
              help="Of the crossbar: share of a layer's weights to keep, in place of --sparsity; "
              "may be repeated, layers not named stay dense.")  # fmt: skip
@click.option("--width", type=int, metavar="N",
              help="Of mixed: columns of a strip, those of an operation unit unless given; "
              "narrower is more accurate and takes more index.")  # fmt: skip
@click.option("--exclude", multiple=True, metavar="LAYER", help="Leave a layer dense; repeatable.")
@click.option(
    "--method", default="reconstruct", show_default=True,
    metavar="magnitude|reconstruct|finetune|admm",
    help="Magnitude, which repairs nothing, is of the array alone; finetune of torch networks, "
    "admm of ONNX ones.",
)  # fmt: skip
@click.option("--channels", type=float, metavar="SHARE",
              help="Take whole channels out first, with this share of the weights outside the "
              "first layer; torch networks are exported before, --sparsity counts it.")  # fmt: skip
@click.option("--depthwise", is_flag=True,
              help="Of ONNX networks: prune depthwise convolutions too, which the array runs at "
              "K = 1 as they are.")  # fmt: skip
@click.option("--sensitivity", is_flag=True,
              help="Of ONNX networks: show what pruning each layer alone does to the "
              "outputs.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1), default=6, show_default=True,
              help="Of method finetune.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--json", "json_file", type=OUTPUT_FILE, metavar="FILE",
    help="Report; OUT.json beside the network unless given.",
)  # fmt: skip
def command(model: str, output: Path | None, json_file: Path | None, **options: Any) -> None:
    """Prune a network and write it as float ONNX.

    MODEL is a float ONNX file, for which torch is not needed; 'fashion', the bundled network; a
    Python file whose variable 'model' is a torch.nn.Module; or FILE.py:NAME or MODULE:NAME, a
    network or a function without arguments that returns one. The file or module runs as any Python
    program does, so give your own only. No labels are needed. What 'steelyard compile' would refuse
    is said before the work begins.

    \b
    Examples:
      steelyard prune fashion -o pruned.onnx
      steelyard prune float.onnx --calibration images.npy -o pruned.onnx
      steelyard prune float.onnx --calibration images.npy --sensitivity
      steelyard prune fashion --channels 0.15 -o pruned.onnx
      steelyard prune net.py --weights net.pt --calibration images.npy -o pruned.onnx
      steelyard prune mynets:small --calibration images.npy --sparsity 0.5 -o pruned.onnx
      steelyard prune fashion --engine crossbar --constraint mixed -o pruned.onnx
    """
    if Path(model).suffix.lower() == ".onnx":
        _check_graph(model, output, options)
        images = _calibration(model, options["calibration"])
        _prune_onnx(Path(model), images, output, json_file, options)
        return
    one_thread()
    output = _check_torch(output, options)
    from steelyard.quantize import export_onnx

    from ..inputs.models import user_model

    _check_engine(options)
    engine = options["engine"]
    images = _calibration(model, options["calibration"])
    with user_model(model, options["weights"]) as network:
        ready = _ready(network, images)
        if options["channels"] is not None:
            with tempfile.TemporaryDirectory() as folder:
                exported = Path(folder) / "network.onnx"
                export_onnx(ready, images, exported)
                _prune_onnx(exported, images, output, json_file, options)
            return
        result: PruneResult | CrossbarPruneResult
        if engine == "array":
            result = _prune_array(ready, images, options)
            document, layers = prune_document(result), _array_table(output, result)
            lines: list[str] = []
        else:
            result = _prune_crossbar(ready, images, options)
            document, layers = crossbar_prune_document(result), _crossbar_table(output, result)
            lines = [f"constraint {result.constraint}, seed {result.seed}"]
        export_onnx(result.model, images, output)
    report = json_file or beside(output, output.with_suffix(".json"))
    if report:
        write_json(report, document)
    show(layers, *lines, *(f"dense: {name} ({reason})" for name, reason in result.left_dense))


def _check_torch(output: Path | None, options: dict[str, Any]) -> Path:
    """Refuses options of ONNX networks; the output, which must be given."""
    for key, name in GRAPH.items():
        if options[key]:
            raise UserError(
                f"{name} is of ONNX networks, not of torch ones; leave it out, or export the "
                "network and give the .onnx file."
            )
    if output is None:
        raise UserError("There is no place for the pruned network; give -o OUT.onnx.")
    if options["channels"] is not None:
        _check_channels(options)
        if options["method"] == "finetune":
            raise UserError(
                "Whole channels are taken out of the exported network, which cannot be trained; "
                "choose --method reconstruct or admm, or leave --channels out."
            )
    return output


def _check_channels(options: dict[str, Any]) -> None:
    """Refuses the crossbar, whose constraints need a torch network as it was trained."""
    if options["engine"] != "array":
        raise UserError(
            "--channels goes with the groups of the array, not with a constraint of the crossbar; "
            "leave --engine out and give --sparsity 0 to remove whole channels alone, which suits "
            "either engine."
        )


def _prune_onnx(
    model: Path,
    images: NDArray[np.float32],
    output: Path | None,
    json_file: Path | None,
    options: dict[str, Any],
) -> None:
    """Prunes an ONNX network, without torch."""
    from steelyard.balanced import GROUP, FloatGraph, graph_sensitivity, prune_graph

    group = GROUP if options["group"] is None else options["group"]
    with activity("looking at the network") as log:
        log("")
        graph = FloatGraph(
            model, images, exclude=options["exclude"], depthwise=options["depthwise"], warn=warn
        )
    if output is None:
        with progress("measuring") as update:
            damage = graph_sensitivity(graph, group, seed=options["seed"], progress=update)
        if json_file is not None:
            write_json(json_file, {"group": group, "sensitivity": damage_document(damage)})
        show(_damage_table(model, damage, group))
        return
    with progress("pruning") as update:
        result = prune_graph(
            graph,
            images,
            options["sparsity"],
            group,
            options["method"],
            ks=_by_layer("--k", "K", "conv2=4", options["k_table"], _whole),
            work=options["work"],
            channels=options["channels"] or 0.0,
            seed=options["seed"],
            measured=options["sensitivity"],
            progress=update,
        )
    with replacing(output) as temporary:
        temporary.write_bytes(result.model.SerializeToString())
    report = json_file or beside(output, output.with_suffix(".json"))
    if report:
        write_json(report, graph_prune_document(result))
    tables = [_array_table(output, result)]
    if result.channels:
        names = ("layer", "channels", "left")
        tables.insert(0, table(f"{output}: whole channels removed", names, result.channels))
    if options["sensitivity"]:
        tables.append(_damage_table(model, result.damage, group))
    show(*tables, *(f"dense: {name} ({reason})" for name, reason in result.left_dense))


def _check_graph(model: str, output: Path | None, options: dict[str, Any]) -> None:
    """Refuses what is of torch networks or of the other engine, and no output."""
    if options["channels"] is not None:
        _check_channels(options)
    if options["engine"] != "array":
        raise UserError(
            f"Model {model!r} is an ONNX network, which is pruned for the array alone; leave "
            "--engine out, or give the torch network."
        )
    _check_engine(options)
    if options["weights"] is not None:
        raise UserError(
            f"Model {model!r} holds its weights itself; leave --weights out, or give the "
            "torch network."
        )
    if options["method"] == "finetune":
        raise UserError(
            f"Model {model!r} is an ONNX network, which cannot be trained; choose --method "
            "reconstruct, admm or magnitude, or give the torch network."
        )
    if output is None and not options["sensitivity"]:
        raise UserError(
            "There is no place for the pruned network; give -o OUT.onnx, or --sensitivity to "
            "measure alone."
        )


def _check_engine(options: dict[str, Any]) -> None:
    """Refuses options of the other engine."""
    engine = options["engine"]
    other, wrong = ("crossbar", CROSSBAR) if engine == "array" else ("array", ARRAY)
    for key, name in wrong.items():
        if options[key] not in (None, ()):
            raise UserError(
                f"{name} prunes for the {other}, not for the {engine}; leave it out or add "
                f"--engine {other}."
            )


def _calibration(model: str, path: Path | None) -> NDArray[np.float32]:
    """Images of a file, or the bundled ones of the bundled network."""
    if path is not None:
        return calibration_images(path)
    from steelyard import zoo

    from ..inputs.models import BUNDLED  # needs torch

    if model == BUNDLED:
        return zoo.sample().calibration_input
    raise UserError(
        f"Model {model!r} needs calibration images; give --calibration X.npy, float32 network "
        "inputs, batch first."
    )


def _ready(network: "nn.Module", images: NDArray[np.float32]) -> "nn.Module":
    """The network as pruning takes it; warns of everything that the compiler will refuse."""
    from steelyard.prune import as_input, prepared
    from steelyard.quantize import obstacles_of

    with activity("looking at the network") as log:
        log("")
        ready = prepared(network, as_input(images))
        for sentence in obstacles_of(ready, images):
            warn(f"This network will not compile: {sentence}")
    return ready


def _prune_array(
    network: "nn.Module", images: NDArray[np.float32], options: dict[str, Any]
) -> "PruneResult":
    from steelyard.prune import GROUP, prune

    group = options["group"]
    ks = _by_layer("--k", "K", "conv2=4", options["k_table"], _whole)
    with progress("pruning") as update:
        return prune(
            network,
            images,
            options["sparsity"],
            GROUP if group is None else group,
            options["method"],
            ks=ks,
            work=options["work"],
            exclude=options["exclude"],
            epochs=options["epochs"],
            seed=options["seed"],
            progress=update,
        )


def _prune_crossbar(
    network: "nn.Module", images: NDArray[np.float32], options: dict[str, Any]
) -> "CrossbarPruneResult":
    from steelyard.prune import MixedGranularity, constraint_of, prune_for_crossbar, shape_of

    method, width = options["method"], options["width"]
    constraint = options["constraint"] or "pattern"
    if method not in ("reconstruct", "finetune"):
        raise UserError(
            f"Pruning for the crossbar has no method {method!r}; choose reconstruct or finetune."
        )
    shape = shape_of(crossbar_config(options["config_file"]))
    rule = constraint_of(constraint, shape)
    if width is not None:
        if not isinstance(rule, MixedGranularity):
            raise UserError(
                f"--width is of strips of mixed granularity, not of {constraint!r}; leave it out "
                "or add --constraint mixed."
            )
        rule = replace(rule, width=width)
    with progress("pruning") as update:
        return prune_for_crossbar(
            network,
            images,
            rule,
            options["sparsity"],
            crossbar=shape,
            keeps=_by_layer("--keep", "SHARE", "c2=0.2", options["keep"], float),
            exclude=options["exclude"],
            epochs=options["epochs"] if method == "finetune" else 0,
            seed=options["seed"],
            progress=update,
        )


def _whole(text: str) -> int:
    if not text.isdigit():
        raise ValueError(f"{text!r} is no whole number")
    return int(text)


def _by_layer(
    option: str, value: str, example: str, entries: Sequence[str], read: Callable[[str], Value]
) -> dict[str, Value] | None:
    """Values of entries LAYER=VALUE; None without any.

    Parameters
    ----------
    value : what stands behind the layer's name
    read : the value of its text; raises ValueError if there is none
    """
    values: dict[str, Value] = {}
    for entry in entries:
        name, _, text = entry.rpartition("=")
        try:
            values[name] = read(text)
        except ValueError:
            name = ""
        if not name:
            raise UserError(
                f"{option} takes LAYER={value}, not {entry!r}; write for example {example!r}."
            )
    return values or None


def _damage_table(model: Path, damage: dict[str, dict[int, float]], group: int) -> "Table":
    """What each layer alone does to the outputs, a column for each number of kept weights."""
    tried = sorted({k for own in damage.values() for k in own if k < group})
    return table(
        f"{model}: change of the outputs over their variance with one layer pruned and repaired",
        ("layer", *(f"{k}/{group}" for k in tried)),
        [(name, *(own.get(k) for k in tried)) for name, own in damage.items()],
    )


def _array_table(output: Path, result: "PruneResult | GraphPruneResult") -> "Table":
    return table(
        f"{output}: {percent(result.sparsity)} of the weights and "
        f"{percent(result.work)} of the work outside the first layer removed",
        ("layer", "K", "weights", "kept", "MAC", "kept MAC", "error"),
        [
            (r.name, f"{r.k}/{result.group}", r.weights, r.kept, r.macs, r.kept_macs, r.error)
            for r in result.layers
        ],
    )


def _crossbar_table(output: Path, result: "CrossbarPruneResult") -> "Table":
    """What stays of each layer, and how it came about."""
    return table(
        f"{output}: {percent(result.sparsity)} of the weights outside the first layer removed",
        ("layer", "weights", "kept", "empty kernels", "kernel shapes", "removed columns", "error"),
        [
            (
                layer.name,
                layer.weights,
                layer.kept,
                percent(layer.empty_kernels),
                layer.patterns,
                percent(layer.removed_columns),
                layer.error,
            )
            for layer in result.layers
        ],
    )
