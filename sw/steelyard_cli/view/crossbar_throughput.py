"""Tables and a picture of images a second over area."""

import math

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from rich.table import Table

from steelyard.cost import Choice
from steelyard.report import Plan, Throughput

from .console import percent, table
from .pictures import WIDTH_INCHES, svg

__all__ = ["throughput_picture", "throughput_tables"]

MM2 = 1e6
"""Square micrometres in a square millimetre."""


def throughput_tables(found: Throughput, constants: str) -> list[Table]:
    """What each plan reaches in both mappings, and the copies of each layer."""
    rows: list[tuple[object, ...]] = []
    for name, budget, own, other in found.rows():
        faster = None
        if own is not None and other is not None and math.isfinite(own.images_per_second):
            faster = f"{own.images_per_second / other.images_per_second:.2f}"
        limit = None if budget is None else f"{budget:g}"
        rows.append((name, limit, *_cells(own), *_cells(other), faster))
    plans = table(
        f"Layers in turn, as a pipeline, with copies; and in the traditional mapping (trad.), "
        f"{constants}; budgets are over {found.unit / MM2:.3g} mm2",
        ("plan", "budget", "images/s", "latency ms", "mm2", "buffers", "xbars", "trad. images/s",
         "latency ms", "mm2", "buffers", "xbars", "images x"),
        rows,
    )  # fmt: skip
    return [plans, _copies(found)] if found.budgets else [plans]


def _cells(plan: Plan | None) -> tuple[object, ...]:
    if plan is None:
        return (None,) * 5
    own = plan.document()
    return (
        own["images_per_second"],
        own["latency_ms"],
        f"{own['area_um2'] / MM2:.3f}",
        percent(own["buffer_um2"] / own["area_um2"]) if own["area_um2"] else None,
        own["crossbars"],
    )


def _copies(found: Throughput) -> Table:
    """Copies of each layer, the mapping's and the traditional one's."""
    plans = found.budgets.values()
    rows: list[tuple[object, ...]] = []
    for name in found.pipelined[0].cost.mapping.layers:
        cells: list[object] = [name]
        for pair in plans:
            many = ("-" if plan is None else _count(plan.design.choices[name]) for plan in pair)
            cells.append(" / ".join(many))
        rows.append(tuple(cells))
    return table(
        "Copies by budget, / trad.; * of one index",
        ("layer", *(f"{budget:g}" for budget in found.budgets)),
        rows,
    )


def _count(choice: Choice) -> str:
    """Copies, with a star where they share an index."""
    return f"{choice.copies.count}*" if choice.shared else str(choice.copies.count)


def throughput_picture(found: Throughput, mapping: str, constants: str) -> str:
    """SVG text: images a second over area, of pipelines and, apart, of layers in turn."""
    figure = Figure(figsize=(0.6 * WIDTH_INCHES, 4.0))
    axes = figure.subplots()
    for side, (name, colour) in enumerate(((mapping, "tab:blue"), ("traditional", "tab:orange"))):
        if side and mapping == name:
            break
        plans = [found.pipelined[side], *(pair[side] for pair in found.budgets.values())]
        for shown, kind, marker, dash in (
            (plans, "pipeline", "o", "-"),
            ([found.in_turn[side]], "layers in turn", "s", "none"),
        ):
            points = sorted(
                (plan.design.area / MM2, plan.images_per_second)
                for plan in shown
                if plan is not None and math.isfinite(plan.images_per_second)
            )
            if points:
                areas, speeds = zip(*points, strict=True)
                axes.plot(areas, speeds, color=colour, marker=marker, linestyle=dash,
                          label=f"{name}, {kind}")  # fmt: skip
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(f"area with buffers, mm2 ({constants})")
    axes.set_ylabel("images a second")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False, fontsize=8)
    return svg(figure)
