"""``steelyard crossbar``: a network in crossbars as table, JSON and pictures."""

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from steelyard.driver import float_codes
from steelyard.report import compare_with_traditional

from ..inputs.arrays import read_array
from ..inputs.configs import crossbar_config
from ..inputs.networks import load_network
from ..options import FILE, OUTPUT_FOLDER
from ..view.console import note, percent, show, table, warn
from ..view.output import write_json, write_text

__all__ = ["command"]

FILLS = 4
"""Crossbars whose fill the last line says."""
RATIOS = {
    "crossbars": "xbars x",
    "crossbar_area": "with index x",
    "area": "area x",
    "energy": "energy x",
    "speed": "speed x",
    "parallel_speed": "parallel x",
}
"""Ratios of the table and their headings."""


@click.command("crossbar")
@click.argument("network", type=FILE, metavar="NET.onnx|NET.tflite")
@click.option("-o", "--output", type=OUTPUT_FOLDER, required=True, metavar="DIR")
@click.option(
    "--mapping", metavar="NAME", default="pattern", show_default=True,
    help="How crossbars hold the weights: traditional, structured, ou_row, pattern or mixed.",
)  # fmt: skip
@click.option("--config", type=FILE, metavar="FILE.toml",
              help="Crossbar: a table [crossbar], or a crossbar tile's configuration.")  # fmt: skip
@click.option("--input", "source", type=FILE, metavar="X.npy",
              help="Images whose activations count; without, no step is skipped.")  # fmt: skip
def command(
    network: Path, output: Path, mapping: str, config: Path | None, source: Path | None
) -> None:
    """Map a quantized ONNX or TFLite network onto RRAM crossbars and price it.

    Prints for each layer what it takes of the crossbars, its index, its work, and what energy and
    time are to those of the traditional mapping of the same network. DIR receives crossbar.json and
    pictures of the filled crossbars.

    \b
    Examples:
      steelyard crossbar int8.onnx -o crossbars
      steelyard crossbar int8.onnx -o crossbars --mapping mixed --input images.npy
      steelyard crossbar int8.onnx -o crossbars --config crossbar.toml
    """
    # Pictures need a package of their own.
    from ..view.crossbar_pictures import sheets

    configured = crossbar_config(config)
    for sentence in configured.warnings():
        warn(sentence)
    loaded, _ = load_network(network, ())
    if source is None:
        note("No --input: no step counts as skipped, so energy and time are the most possible.")
        codes = None
    else:
        codes = float_codes(loaded, read_array(source, "Input"))
    found = compare_with_traditional(loaded, configured, mapping, codes)
    document = found.document()
    pictures = list(sheets(found.mapping))
    for number, sheet in enumerate(pictures):
        write_text(output / f"crossbars-{number + 1}.svg", sheet + "\n")
    write_json(output / "crossbar.json", document)
    title = f"{loaded.name}: {mapping} mapping, {configured.constants}"
    show(_layer_table(title, document, configured.constants), _constants_table(document))
    filled = ", ".join(percent(fill) for fill in document["fills"][:FILLS])
    more = ", ..." if len(document["fills"]) > FILLS else ""
    show(
        f"Crossbars of {configured.rows} x {configured.columns}: {document['crossbars']}, "
        f"{document['traditional']['crossbars']} in the traditional mapping; filled "
        f"{filled or 'none'}{more}",
        f"{output}/crossbar.json; pictures: {len(pictures)}",
    )


def _layer_table(title: str, document: dict[str, Any], constants: str) -> Table:
    rows: list[tuple[object, ...]] = []
    for layer in document["layers"]:
        cost = layer["constants"][constants]
        own = layer["ou_steps"] + layer["ou_skipped"]
        all_steps = layer["traditional_ou_steps"] + layer["traditional_ou_skipped"]
        rows.append(
            (
                layer["name"],
                f"{layer['crossbar_share']:.2f}",
                layer["cells"],
                layer["index_bits"],
                layer["ou_steps"],
                percent(layer["ou_skipped"] / own) if own else None,
                cost["energy_uj"],
                cost["serial_ms"],
                _ratio(layer["weights"], layer["mapped_weights"]),
                _ratio(all_steps, own),
                _ratio(cost["traditional_energy_uj"], cost["energy_uj"]),
                _ratio(cost["traditional_serial_ms"], cost["serial_ms"]),
            )
        )
    return table(
        title,
        ("layer", "xbars", "cells", "index b", "OU steps", "skipped", "energy uJ", "time ms",
         "cells x", "steps x", "energy x", "speed x"),
        rows,
    )  # fmt: skip


def _ratio(other: float, own: float) -> str:
    return f"{other / own:.2f}" if own else "-"


def _constants_table(document: dict[str, Any]) -> Table:
    rows: list[tuple[object, ...]] = []
    for name, cost in document["constants"].items():
        ratios = cost["ratios"]
        found = [None if ratios[key] is None else f"{ratios[key]:.2f}" for key in RATIOS]
        costs = (cost[key] for key in ("area_um2", "energy_uj", "serial_ms", "parallel_ms"))
        rows.append((name, *costs, *found))
    return table(
        "An image, and ratios of the traditional mapping to this one (x)",
        ("constants", "area um2", "energy uJ", "serial ms", "parallel ms", *RATIOS.values()),
        rows,
    )
