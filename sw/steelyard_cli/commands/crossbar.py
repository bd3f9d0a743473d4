"""``steelyard crossbar``: a network in crossbars as table, JSON and pictures."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray
from rich.table import Table

from steelyard.cost import CONSTANTS, NetworkCost, compare, constant_set, price
from steelyard.engines.crossbar import (
    Activity,
    CrossbarConfig,
    NetworkMapping,
    activity,
    map_network,
    most_activity,
)
from steelyard.errors import UserError
from steelyard.importer import load
from steelyard.network import Network, golden

from ..view.console import note, percent, show, table, warn
from ..view.files import read_array, write_json, write_text
from ..view.pictures import WIDTH_INCHES, svg
from .prune_crossbar import crossbar_config
from .run import input_codes

__all__ = ["map_crossbars", "sheets"]

SHEET = (3, 4)
"""Rows and columns of crossbars in a picture."""
FREE = 245
"""Grey of cells that nothing uses."""
MILLION = 1e6
"""Picojoules in a microjoule, nanoseconds in a millisecond."""


def map_crossbars(
    source: Path, output: Path, method: str, config_file: Path | None, images: Path | None
) -> None:
    """``steelyard crossbar``."""
    config = crossbar_config(config_file)
    constant_set(config.constants).adc(config.adc_bits)
    for sentence in config.warnings():
        warn(sentence)
    network = load(source)
    mappings = [map_network(network, config, name) for name in (method, "traditional")]
    count, works = _works(network, mappings, images)
    prices: dict[str, tuple[NetworkCost, NetworkCost]] = {}
    for name in CONSTANTS:
        if _has_converter(name, config):
            own, other = (price(m, w, name) for m, w in zip(mappings, works, strict=True))
            prices[name] = own, other
    document = _document(network, config, prices, count)
    for number, sheet in enumerate(sheets(mappings[0])):
        write_text(output / f"crossbars-{number + 1}.svg", sheet + "\n")
    write_json(output / "crossbar.json", document)
    title = f"{network.name}: {method} mapping, {config.constants}"
    show(_layer_table(title, document, config.constants), _constants_table(document))
    filled = ", ".join(percent(fill) for fill in document["fills"][: SHEET[1]])
    more = ", ..." if len(document["fills"]) > SHEET[1] else ""
    show(
        f"Crossbars of {config.rows} x {config.columns}: {document['crossbars']}, "
        f"{document['traditional']['crossbars']} in the traditional mapping; filled "
        f"{filled or 'none'}{more}",
        f"{output}/crossbar.json; pictures: {-(-document['crossbars'] // (SHEET[0] * SHEET[1]))}",
    )


def _works(
    network: Network, mappings: list[NetworkMapping], images: Path | None
) -> tuple[int, list[dict[str, Activity]]]:
    """Number of images, and the work of each mapping on them."""
    if images is None:
        note("No --input: no step counts as skipped, so energy and time are the most possible.")
        return 1, [most_activity(network, mapping) for mapping in mappings]
    codes = input_codes(network, read_array(images, "Input"))
    tensors = golden.run(network, codes, trace=True)
    return len(codes), [activity(network, mapping, tensors) for mapping in mappings]


def _has_converter(name: str, config: CrossbarConfig) -> bool:
    try:
        CONSTANTS[name].adc(config.adc_bits)
    except UserError:
        return False
    return True


def _document(
    network: Network,
    config: CrossbarConfig,
    prices: Mapping[str, tuple[NetworkCost, NetworkCost]],
    images: int,
) -> dict[str, Any]:
    """All figures, as JSON holds them; energy and time of one image."""
    own, other = prices[config.constants]
    shares = own.mapping.shares()
    layers = []
    for name, mapping in own.mapping.layers.items():
        counts, reference = own.activities[name].counts, other.activities[name].counts
        layers.append(
            {
                "name": name,
                "weights": int(np.prod(mapping.shape)),
                "mapped_weights": mapping.weights,
                "crossbars": mapping.crossbar_numbers.tolist(),
                "crossbar_share": shares[name],
                "cells": mapping.cells,
                "index_bits": mapping.index_bits,
                "ou_steps": counts.ou_steps,
                "ou_skipped": counts.ou_skipped,
                "traditional_ou_steps": reference.ou_steps,
                "traditional_ou_skipped": reference.ou_skipped,
                "constants": {
                    key: _costs(mine.layers[name], theirs.layers[name], images)
                    for key, (mine, theirs) in prices.items()
                },
            }
        )
    return {
        "network": network.name,
        "method": own.mapping.method,
        "images": images,
        "config": json.loads(config.canonical()),
        "crossbars": own.mapping.crossbars,
        "fills": own.mapping.fills.tolist(),
        "index_bits": own.mapping.index_bits,
        "layers": layers,
        "constants": {
            key: {
                **_costs(mine.total, theirs.total, images),
                "ratios": {
                    k: v if np.isfinite(v) else None
                    for k, v in asdict(compare(mine, theirs)).items()
                },
            }
            for key, (mine, theirs) in prices.items()
        },
        "traditional": {
            "crossbars": other.mapping.crossbars,
            "fills": other.mapping.fills.tolist(),
            "ou_steps": other.ou_steps,
            "ou_skipped": other.ou_skipped,
        },
    }


def _costs(own: Any, other: Any, images: int) -> dict[str, float]:
    """Area in um2, energy in uJ and times in ms of an image, with those of the traditional."""
    made = {}
    for prefix, cost in (("", own), ("traditional_", other)):
        made[f"{prefix}area_um2"] = cost.total_area
        made[f"{prefix}energy_uj"] = cost.total_energy / images / MILLION
        made[f"{prefix}serial_ms"] = cost.serial_time / images / MILLION
        made[f"{prefix}parallel_ms"] = cost.parallel_time / images / MILLION
    return made


def _ratio(other: float, own: float) -> str:
    return f"{other / own:.2f}" if own else "-"


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


RATIOS = {
    "crossbars": "xbars x",
    "crossbar_area": "with index x",
    "area": "area x",
    "energy": "energy x",
    "speed": "speed x",
    "parallel_speed": "parallel x",
}
"""Ratios of the table and their headings."""


def sheets(mapping: NetworkMapping) -> Iterator[str]:
    """Pictures of filled crossbars, coloured by layer."""
    names = list(mapping.layers)
    hues = matplotlib.colormaps["turbo"](np.linspace(0.08, 0.92, max(1, len(names))))[:, :3]
    high, wide = SHEET
    for first in range(0, mapping.crossbars, high * wide):
        numbers = range(first, min(first + high * wide, mapping.crossbars))
        across = min(wide, len(numbers))
        down = -(-len(numbers) // across)
        figure = Figure(figsize=(WIDTH_INCHES, 0.8 + 2.7 * down))
        grid = figure.subplots(down, across, squeeze=False).ravel()
        for axes in grid:
            axes.set_axis_off()
        for axes, number in zip(grid, numbers, strict=False):
            axes.set_axis_on()
            axes.imshow(_picture(mapping, number, hues), interpolation="none")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(f"{number}: {percent(mapping.fills[number])}", fontsize=9)
        figure.legend(
            handles=[Patch(color=hue, label=name) for hue, name in zip(hues, names, strict=True)],
            loc="lower center", ncols=4, frameon=False, fontsize=8, bbox_to_anchor=(0.5, -0.08),
        )  # fmt: skip
        yield svg(figure)


def _picture(mapping: NetworkMapping, crossbar: int, hues: NDArray) -> NDArray[np.uint8]:
    """Pixels (rows, columns, 3) of a crossbar; blocks side by side differ in brightness."""
    config = mapping.config
    pixels = np.full((config.rows, config.columns, 3), FREE, np.uint8)
    for hue, layer in zip(hues, mapping.layers.values(), strict=True):
        blocks = layer.occupancy(crossbar)
        for shade, brightness in enumerate((1.0, 0.86, 0.72)):
            pixels[(blocks >= 0) & (blocks % 3 == shade)] = (255 * hue * brightness).astype(
                np.uint8
            )
    return pixels
