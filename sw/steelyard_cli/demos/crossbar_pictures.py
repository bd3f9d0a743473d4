"""Pictures of the crossbar demo."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from steelyard.engines.crossbar import NetworkMapping

from ..view.crossbar_pictures import sheets
from ..view.output import write_text
from ..view.pictures import WIDTH_INCHES, svg

__all__ = ["write_pictures"]

COLORS = ("#4878a8", "#c8c8c8", "#d89048")
RATIOS = (("area_ratio", "area"), ("energy_ratio", "energy"), ("speed_ratio", "speed"))


def write_pictures(
    rows: list[dict[str, Any]], mappings: Mapping[str, NetworkMapping], folder: Path
) -> list[str]:
    """Writes the pictures of a report's rows and of mapped networks, and names the files."""
    texts = {"ratios.svg": svg(_ratios(rows)), "converters.svg": svg(_converters(rows))}
    for way, mapping in mappings.items():
        for number, text in enumerate(sheets(mapping)):
            texts[f"crossbars-{way}{number or ''}.svg"] = text
    for name, text in texts.items():
        write_text(folder / name, text + "\n")
    return list(texts)


def _ratios(rows: list[dict[str, Any]]) -> Figure:
    """Bars of what each way saves, a field for each constant set."""
    sets = list(rows[0]["area_ratio"])
    figure = Figure(figsize=(WIDTH_INCHES, 0.8 + 0.45 * len(rows)))
    height = 0.8 / len(RATIOS)
    for axes, name in zip(figure.subplots(1, len(sets), sharey=True), sets, strict=True):
        for number, (key, word) in enumerate(RATIOS):
            places = [row + (number - 1) * height for row in range(len(rows))]
            values = [row[key][name] for row in rows]
            axes.barh(places, values, height=height, color=COLORS[number], label=word)
        axes.set_title(name)
        axes.set_yticks(range(len(rows)), [row["method"] for row in rows])
        axes.axvline(1, color="#404040", linewidth=0.8)
        axes.set_xlabel("times less than dense")
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].invert_yaxis()
    figure.axes[-1].legend(frameon=False)
    return figure


def _converters(rows: list[dict[str, Any]]) -> Figure:
    """Lines of accuracy over bits of the converter."""
    figure = Figure(figsize=(0.6 * WIDTH_INCHES, 4.0))
    axes = figure.subplots()
    for row in rows:
        points = row["accuracy_by_adc_bits"]
        values = [100 * value for value in points.values()]
        axes.plot([int(bits) for bits in points], values, marker="o", label=row["method"])
    axes.set_xlabel("bits of the converter")
    axes.set_ylabel("accuracy, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    return figure
