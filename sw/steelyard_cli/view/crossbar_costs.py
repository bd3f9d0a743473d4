"""Pictures of what a mapped network costs by layer and converter, and how accurate it is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from steelyard.cost import Cost
from steelyard.report import Spread, Width

from .pictures import WIDTH_INCHES, svg

__all__ = ["cost_pictures"]

MILLION = 1e6


def cost_pictures(
    widths: Sequence[Width], spreads: Sequence[Spread], constants: str
) -> dict[str, str]:
    """SVG texts by name: ``energy`` and ``area``, and ``accuracy`` where images were tried.

    Parameters
    ----------
    widths : of the converters, at least one; layers are those of the last
    spreads : what effects of real devices did, under the same widths
    constants : name of the constant set
    """

    def energy(cost: Cost, images: int) -> dict[str, float]:
        return {part: value / images / MILLION for part, value in cost.energy.items()}

    def area(cost: Cost, images: int) -> dict[str, float]:
        return {part: value / MILLION for part, value in cost.area.items()}

    made = {
        "energy": _by_part(widths, constants, energy, "energy of an image, uJ"),
        "area": _by_part(widths, constants, area, "area, mm2"),
    }
    if any(width.measured for width in widths):
        made["accuracy"] = _accuracies(widths, spreads)
    return {name: svg(figure) for name, figure in made.items()}


def _by_part(
    widths: Sequence[Width],
    constants: str,
    parts_of: Callable[[Cost, int], dict[str, float]],
    label: str,
) -> Figure:
    """Bars of the layers under the last width and, if there are several, bars of all widths."""
    last = widths[-1]
    layers = {
        name: parts_of(cost, last.images) for name, cost in last.prices[constants].layers.items()
    }
    rows = [(f"layers, {last.trial.bits} bits", layers)]
    if len(widths) > 1:
        rows.append(
            (
                "all layers, by bits of the converters",
                {
                    f"{each.trial.bits} bits": parts_of(each.prices[constants].total, each.images)
                    for each in widths
                },
            )
        )
    figure = Figure(figsize=(WIDTH_INCHES, 1.4 + 0.28 * max(len(bars) for _, bars in rows)))
    for axes, (title, bars) in zip(figure.subplots(1, len(rows), squeeze=False)[0], rows,
                                   strict=True):  # fmt: skip
        _stacked(axes, bars)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(f"{label} ({constants})")
    figure.axes[-1].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    return figure


def _stacked(axes: Any, bars: Mapping[str, Mapping[str, float]]) -> None:
    """A bar for each name, of its parts end to end."""
    parts = list(next(iter(bars.values()), {}))
    hues = matplotlib.colormaps["tab10"](np.arange(len(parts)))
    left = np.zeros(len(bars))
    for hue, part in zip(hues, parts, strict=True):
        values = np.array([bar[part] for bar in bars.values()])
        axes.barh(range(len(bars)), values, left=left, color=hue, label=part)
        left += values
    axes.set_yticks(range(len(bars)), list(bars))
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)


def _accuracies(widths: Sequence[Width], spreads: Sequence[Spread]) -> Figure:
    """Lines over the bits, one without effects and one for each level with its extremes."""
    figure = Figure(figsize=(0.6 * WIDTH_INCHES, 4.0))
    axes = figure.subplots()
    tried = [width for width in widths if width.measured]
    known = all(width.document()["accuracy"] is not None for width in tried)
    key = "accuracy" if known else "agreement"
    bits = [width.trial.bits for width in tried]
    axes.plot(bits, [100 * width.document()[key] for width in tried], marker="o",
              label="without effects")  # fmt: skip
    for level in dict.fromkeys(str(spread.level) for spread in spreads):
        own = [spread.document() for spread in spreads if str(spread.level) == level]
        mean, least, most = (
            100 * np.array([each[key][name] for each in own]) for name in ("mean", "least", "most")
        )
        # The mean of equal values may be off by a rounding.
        reach = np.maximum([mean - least, most - mean], 0)
        axes.errorbar([each["adc_bits"] for each in own], mean, yerr=reach, marker="o", capsize=3,
                      label=level)  # fmt: skip
    axes.set_xticks(bits)
    axes.set_xlabel("bits of the converters")
    axes.set_ylabel("accuracy, %" if known else "images of the integer network's class, %")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure
