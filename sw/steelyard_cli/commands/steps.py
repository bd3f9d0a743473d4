"""The short commands: train, prune, quantize and generate."""

import math
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from steelyard.contract.tile import load_config
from steelyard.errors import UserError

from ..view.console import note, percent, progress, show, steps_of, table, warn
from ..view.files import beside, read_array, replacing, write_json, write_text

if TYPE_CHECKING:
    from rich.table import Table
    from torch import nn

    from steelyard.prune import CrossbarPruneResult, PruneResult
    from steelyard.quantize import Quantized

__all__ = ["generate_verilog", "prune_network", "quantize_network", "train_network"]

PORTS = {
    "clk": {"direction": "in", "width": 1},
    "rst": {"direction": "in", "width": 1},
    "i__valid": {"direction": "in", "width": 1},
    "i__ready": {"direction": "out", "width": 1},
    "i__payload": {"direction": "in", "width": 32},
    "o__valid": {"direction": "out", "width": 1},
    "o__ready": {"direction": "in", "width": 1},
    "o__payload": {"direction": "out", "width": 32},
    "busy": {"direction": "out", "width": 1},
}
"""Ports of the accelerator's top module, docs/architecture.md section 7."""
LEAST_RESET_CYCLES = 4
"""Cycles that ``rst`` must be held, of the same section."""


def one_thread() -> None:
    """Holds torch to one thread unless the environment asks for more.

    Layers of this size gain nothing from a second one, and on a loaded machine lose.
    """
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1") or "1"))


def train_network(data: Path | None, epochs: int, seed: int, output: Path) -> None:
    """``steelyard train``."""
    import torch  # noqa: F401 - a missing torch is to be told before data is fetched

    from steelyard import data as dataset
    from steelyard import zoo
    from steelyard.train import Epoch, train

    one_thread()
    found = dataset.find(data)
    note(found.source)
    with progress("training", epochs) as update:

        def report(epoch: Epoch) -> None:
            text = (
                f"epoch {epoch.number}/{epoch.of}: loss {epoch.loss:.4f}, "
                f"test accuracy {percent(epoch.accuracy)}, {epoch.seconds:.0f} CPU-s"
            )
            note(text)
            update(epoch.number, "")

        result = train(found, epochs=epochs, seed=seed, progress=report)
    zoo.save(result.model, output, accuracy=result.accuracy, seed=seed, epochs=epochs)
    show(f"{output}: test accuracy {percent(result.accuracy)}")


def prune_network(
    model: str,
    output: Path,
    json_file: Path | None,
    *,
    calibration: Path | None,
    weights: Path | None,
    sparsity: float,
    group: int | None,
    k_table: Sequence[str],
    exclude: Sequence[str],
    method: str,
    epochs: int,
    seed: int,
    engine: str,
    constraint: str | None,
    config_file: Path | None,
    keep: Sequence[str],
    width: int | None,
    work: float | None,
) -> None:
    """``steelyard prune``."""
    from steelyard.quantize import export_onnx

    from ..models import user_model

    one_thread()
    array = {"--group": group, "--k": k_table or None, "--work": work}
    crossbar = {"--constraint": constraint, "--config": config_file, "--keep": keep or None,
                "--width": width}  # fmt: skip
    other, wrong = ("crossbar", crossbar) if engine == "array" else ("array", array)
    for name, value in wrong.items():
        if value is not None:
            raise UserError(
                f"{name} prunes for the {other}, not for the {engine}; leave it out or add "
                f"--engine {other}."
            )
    images = _calibration(model, calibration)
    with user_model(model, weights) as network:
        ready = _ready(network, images)
        result: PruneResult | CrossbarPruneResult
        if engine == "array":
            result = _prune_array(
                ready, images, sparsity, method, group=group, k_table=k_table, exclude=exclude,
                epochs=epochs, seed=seed, work=work,
            )  # fmt: skip
            document, lines = prune_document(result), _prune_lines(output, result)
        else:
            from .prune_crossbar import crossbar_document, crossbar_lines, prune_crossbar

            result = prune_crossbar(
                ready, images, sparsity, method, constraint=constraint or "pattern",
                config_file=config_file, keep=keep, width=width, exclude=exclude, epochs=epochs,
                seed=seed,
            )  # fmt: skip
            document, lines = crossbar_document(result), crossbar_lines(output, result)
        export_onnx(result.model, images, output)
    report = json_file or beside(output, output.with_suffix(".json"))
    if report:
        write_json(report, document)
    show(*lines, *(f"dense: {name} ({reason})" for name, reason in result.left_dense))


def _ready(network: "nn.Module", images: NDArray[np.float32]) -> "nn.Module":
    """The network as pruning takes it; warns of everything that the compiler will refuse."""
    from steelyard.prune import as_input, prepared
    from steelyard.quantize import obstacles_of

    with progress("looking at the network") as update:
        update(0, "")
        ready = prepared(network, as_input(images))
        for sentence in obstacles_of(ready, images):
            warn(f"This network will not compile: {sentence}")
    return ready


def _prune_array(
    network: "nn.Module",
    images: NDArray[np.float32],
    sparsity: float,
    method: str,
    *,
    group: int | None,
    k_table: Sequence[str],
    exclude: Sequence[str],
    epochs: int,
    seed: int,
    work: float | None,
) -> "PruneResult":
    from steelyard.prune import GROUP, prune

    ks = _k_table(k_table)
    with progress("pruning") as update:
        return prune(
            network,
            images,
            sparsity,
            GROUP if group is None else group,
            cast(Any, method),
            ks=ks,
            work=work,
            exclude=exclude,
            epochs=epochs,
            seed=seed,
            progress=steps_of(update),
        )


def _prune_lines(output: Path, result: "PruneResult") -> "list[Table | str]":
    layers = table(
        f"{output}: {percent(result.sparsity)} of the weights and "
        f"{percent(result.work)} of the work outside the first layer removed",
        ("layer", "K", "weights", "kept", "MAC", "kept MAC", "error"),
        [
            (r.name, f"{r.k}/{result.group}", r.weights, r.kept, r.macs, r.kept_macs, r.error)
            for r in result.layers
        ],
    )
    return [layers]


def _calibration(model: str, path: Path | None) -> NDArray[np.float32]:
    """Images of a file, or the bundled ones of the bundled network."""
    from steelyard import zoo

    from ..models import BUNDLED

    if path is not None:
        return _images(path)
    if model == BUNDLED:
        return zoo.sample().calibration_input
    raise UserError(
        f"Model {model!r} needs calibration images; give --calibration X.npy, float32 network "
        "inputs, batch first."
    )


def prune_document(result: "PruneResult") -> dict[str, Any]:
    """Report of a pruning as JSON holds it."""
    return {
        "group": result.group,
        "sparsity": result.sparsity,
        "work": result.work,
        "layers": [asdict(layer) for layer in result.layers],
        "left_dense": [{"name": name, "reason": why} for name, why in result.left_dense],
    }


def _k_table(entries: Sequence[str]) -> dict[str, int] | None:
    table: dict[str, int] = {}
    for entry in entries:
        name, _, value = entry.rpartition("=")
        if not name or not value.isdigit():
            raise UserError(f"--k takes LAYER=K, not {entry!r}; write for example 'conv2=4'.")
        table[name] = int(value)
    return table or None


def _images(path: Path) -> NDArray[np.float32]:
    """Calibration images as float32; other floating-point types are converted."""
    images = read_array(path, "Calibration")
    if not np.issubdtype(images.dtype, np.floating):
        raise UserError(
            f"Calibration file {str(path)!r} holds {images.dtype}, float32 network inputs are "
            "needed; convert the array."
        )
    return images.astype(np.float32, copy=False)


def quantize_network(
    network: Path, calibration: Path, output: Path, method: str, json_file: Path | None
) -> None:
    """``steelyard quantize``."""
    from steelyard.quantize import quantize_measured

    images = _images(calibration)
    with progress("quantizing", len(np.atleast_1d(images))) as update:
        result = quantize_measured(
            network,
            images,
            method=method,
            progress=lambda done, _, now: update(done, now),
            warn=warn,
        )
    with replacing(output) as temporary:
        temporary.write_bytes(result.content)
    report = json_file or beside(output, output.with_suffix(".json"))
    if report is not None:
        write_json(report, quantize_document(result, method))
    if not result.layers:
        show(f"{output}: missing quantizers added, ranges of {result.images} images")
        return
    rows = [
        (e.name, e.operator, f"{e.low:.4g}", f"{e.high:.4g}", f"{e.scale:.4g}",
         percent(e.clipped), "exact" if math.isinf(e.snr_db) else f"{e.snr_db:.1f}")
        for e in result.layers
    ]  # fmt: skip
    show(
        table(
            f"{output}: int8, ranges by {method} of {len(images)} images; float against int8 on "
            f"{result.images} of them",
            ("layer", "operator", "least", "greatest", "step", "clipped", "SNR dB"),
            rows,
            left=2,
        )
    )


def quantize_document(result: "Quantized", method: str) -> dict[str, Any]:
    """Report of a quantization as JSON holds it; a layer without noise has no ratio."""
    layers = [asdict(each) for each in result.layers]
    for row in layers:
        row["snr_db"] = None if math.isinf(row["snr_db"]) else row["snr_db"]
    return {"method": method, "images_compared": result.images, "layers": layers,
            "warnings": result.warnings()}  # fmt: skip


def generate_verilog(config_file: Path, output: Path) -> None:
    """``steelyard generate``."""
    config = load_config(config_file)
    from steelyard_hw.verilog import TOP, convert

    with progress("generating Verilog") as update:
        update(0, config.outline)
        text = convert(config)
    write_text(output / "steelyard.sv", text)
    config.to_toml(output / "config.toml")
    write_json(
        output / "accelerator.json",
        {
            "top": TOP,
            "verilog": "steelyard.sv",
            "config_sha256": config.hash().hex(),
            "config": asdict(config),
            "ports": PORTS,
            "least_reset_cycles": LEAST_RESET_CYCLES,
        },
    )
    show(f"{output}: steelyard.sv, config.toml, accelerator.json ({config.hash().hex()[:16]})")
