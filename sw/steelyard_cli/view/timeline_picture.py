"""Picture of a run's timeline: spans of the layers on the left, how each is spent on the right."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .pictures import WIDTH_INCHES, Picture, svg

__all__ = ["timeline_figure", "timeline_picture"]

SHARES = {
    "engine": ("engine at work", "#4878a8"),
    "vector": ("vector unit at work", "#6aa58c"),
    "wait_load": ("waits for activations", "#d89048"),
    "wait_weights": ("waits for weights", "#b03030"),
    "wait_memory": ("waits for external memory", "#202020"),
    "wait_drain": ("waits for sums to leave", "#8c6bb1"),
    "other": ("fills, empties, copies tables", "#c8c8c8"),
    "unknown": ("waits and all else, not told apart", "#e6dcc8"),
}
"""Label and colour of each share of a layer's cycles, in the order in which they are drawn."""
BETWEEN = ("between layers", "#606060")
MOVED = {"loading": ("loading", "#a85c10"), "storing": ("storing", "#5a3d85")}
"""Label and colour of what goes on meanwhile, in the order of their bars."""
ROW_INCHES = 0.3
TALL = 20
"""Rows from which on the axes have numbers above, too."""
LEAST_ROOM = 0.15
"""Share of the width that the number of a layer's cycles needs."""
LONGEST = 32
"""Characters of a layer's name."""
HIGH, THIN = 0.42, 0.15
"""Height of a layer's bar and of one of those below it, in rows."""


def timeline_picture(timeline: dict[str, Any]) -> Picture:
    """Picture of a timeline, as :func:`~steelyard.report.timeline_document` gives it."""
    layers = _drawn(timeline)
    known = not any(layer["shares"]["unknown"] for layer in layers)
    word = "measured" if timeline["measured"] else "predicted" if known else "predicted at most"
    caption = (
        f"On the left the cycles of one batch from START on, {word}: a bar spans a layer, dark "
        "grey is the time between two, in which counters are stored and a descriptor is taken. On "
        "the right the same cycles of each layer as shares. A layer's colours are sums, drawn one "
        "after the other: when in the layer each of these cycles was is not told, they alternate "
        "from tile to tile of pixels. Thin bars are the cycles in which the loader reads and "
        "results leave, at the same time as all else."
    )
    if not known:
        caption += (
            " The engine's work is that without a skipped step; what else takes the cycles of such "
            "a layer is known only of a run (--run)."
        )
    if len(layers) < len(timeline["layers"]):
        caption += " Layers that are computed along with another have no cycles and no bar."
    return Picture("timeline", "Timeline", caption, svg(timeline_figure(timeline)))


def timeline_figure(timeline: dict[str, Any]) -> Figure:
    """Figure of a timeline, a row a layer."""
    layers = _drawn(timeline)
    figure = Figure(figsize=(WIDTH_INCHES, 1.5 + ROW_INCHES * len(layers)))
    run, own = figure.subplots(
        1, 2, sharey=True, gridspec_kw={"width_ratios": (3, 2), "wspace": 0.06}
    )
    places = range(len(layers))
    run.set_yticks(places, [_short(layer["name"]) for layer in layers])
    run.set_ylim(len(layers) - 0.4, -0.6)
    own.tick_params(left=False)
    for axes in (run, own):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    run.barh(places, [timeline["cycles"]] * len(layers), height=0.9, color="#f6f6f6")
    run.barh(0, timeline["opening"], height=HIGH, color=BETWEEN[1])
    for place, layer in enumerate(layers):
        _shares(run, place, layer, layer["start"], 1)
        end = layer["start"] + layer["cycles"]
        run.barh(place, layer["between"], left=end, height=HIGH, color=BETWEEN[1])
        _label(run, place, layer, timeline["cycles"])
        _shares(own, place, layer, 0, 100 / layer["cycles"])
        for row, (name, (_, color)) in enumerate(MOVED.items()):
            below = place + HIGH / 2 + THIN * (row + 0.5)
            share = 100 * layer[name] / layer["cycles"]
            own.barh(below, share, height=THIN, color=color)
    run.set_xlim(0, timeline["cycles"])
    run.set_xlabel("cycles of one batch, from its start")
    run.xaxis.set_major_formatter("{x:,.0f}")
    run.xaxis.get_major_locator().set_params(nbins=6)
    own.set_xlim(0, 100)
    own.set_xlabel("share of the layer's cycles, %")
    own.grid(axis="x", color="#e0e0e0", linewidth=0.6)
    tall = len(layers) > TALL
    for axes in (run, own):
        axes.tick_params(top=tall, labeltop=tall)
    _legend(run, layers, 3.5 if tall else 1)
    return figure


def _drawn(timeline: dict[str, Any]) -> list[dict[str, Any]]:
    """Layers that take cycles."""
    return [layer for layer in timeline["layers"] if layer["cycles"]]


def _shares(axes: Axes, place: int, layer: dict[str, Any], start: float, scale: float) -> None:
    """Shares of a layer's cycles one behind the other."""
    for name, (_, color) in SHARES.items():
        if layer["shares"][name]:
            width = scale * layer["shares"][name]
            axes.barh(place, width, left=start, height=HIGH, color=color)
            start += width


def _label(axes: Axes, place: int, layer: dict[str, Any], total: int) -> None:
    """Cycles of a layer beside its bar, on the side with more room, or in it if there is none."""
    start, end = layer["start"], layer["start"] + layer["cycles"] + layer["between"]
    if max(start, total - end) < LEAST_ROOM * total:
        x, points, side = (start + end) / 2, 0, "center"
        box = {"facecolor": "white", "edgecolor": "none", "boxstyle": "square,pad=0.1"}
    elif total - end >= start:
        x, points, side, box = end, 4, "left", None
    else:
        x, points, side, box = start, -4, "right", None
    axes.annotate(
        f"{layer['cycles']:,}", (x, place), (points, 0), textcoords="offset points", ha=side,
        va="center_baseline", fontsize=7, color="#505050", bbox=box,
    )  # fmt: skip


def _short(name: str) -> str:
    """Name with its beginning left out if it is long; what tells layers apart stands at the end."""
    return name if len(name) <= LONGEST else "…" + name[1 - LONGEST :]


def _legend(axes: Axes, layers: list[dict[str, Any]], above: float) -> None:
    """What the colours that occur stand for, so many font sizes above the axes."""
    entries = [SHARES[name] for name in SHARES if any(layer["shares"][name] for layer in layers)]
    handles = [Patch(color=color, label=label) for label, color in (*entries, BETWEEN)]
    handles += [Patch(color=color, label=f"{label} (thin)") for label, color in MOVED.values()]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=above,
        ncols=4, frameon=False, fontsize=8,
    )  # fmt: skip
