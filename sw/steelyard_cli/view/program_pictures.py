"""Pictures of a program: timeline, cycles, occupancy, memory and crossbars."""

from typing import Any

from matplotlib.figure import Figure

from steelyard.compile.fusion import fusions
from steelyard.compile.memory import lifetimes
from steelyard.compile.places import separate
from steelyard.program import Program

from .crossbar_pictures import sheets
from .pictures import WIDTH_INCHES, Picture, svg
from .timeline_picture import timeline_picture

__all__ = ["program_pictures"]

COLORS = ("#4878a8", "#c8c8c8", "#d89048")


def program_pictures(
    program: Program, layers: list[dict[str, Any]], timeline: dict[str, Any]
) -> list[Picture]:
    """Pictures of a program.

    Parameters
    ----------
    layers : rows of the program's plan, with their measured ``cycles`` if it ran
    timeline : of that run, or of the predicted one
    """
    return [
        timeline_picture(timeline),
        _cycles(layers),
        _occupancy(layers),
        _memory(program),
        *_crossbars(program),
    ]


def _bars(layers: list[dict[str, Any]]) -> Figure:
    return Figure(figsize=(WIDTH_INCHES, 1.2 + 0.28 * len(layers)))


def _name_axis(axes: Any, layers: list[dict[str, Any]]) -> None:
    axes.set_yticks(range(len(layers)), [row["name"] for row in layers])
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)


def _cycles(layers: list[dict[str, Any]]) -> Picture:
    figure = _bars(layers)
    axes = figure.subplots()
    key = "cycles" if "cycles" in layers[0] else "predicted_cycles"
    word = "measured" if key == "cycles" else "predicted"
    places = range(len(layers))
    axes.barh(places, [row[key] for row in layers], color=COLORS[1], label=word)
    axes.barh(
        places, [row["ideal_cycles"] for row in layers], height=0.4, color=COLORS[0], label="ideal"
    )
    _name_axis(axes, layers)
    axes.set_xlabel("cycles of one batch")
    axes.legend(frameon=False)
    return Picture(
        "cycles",
        "Cycles",
        f"Wide bars are {word} cycles, narrow ones those that the engine must work at least: "
        "multiplications by nonzero weights over the number of multipliers, or the steps of "
        "operation units if none is skipped.",
        svg(figure),
    )


def _occupancy(layers: list[dict[str, Any]]) -> Picture:
    weighted = [row for row in layers if row["ideal_cycles"]]
    figure = _bars(weighted)
    axes = figure.subplots()
    axes.barh(range(len(weighted)), [100 * row["occupancy"] for row in weighted], color=COLORS[0])
    _name_axis(axes, weighted)
    axes.set_xlim(0, 100)
    axes.set_xlabel("occupancy, %")
    return Picture(
        "occupancy",
        "Occupancy",
        "The share of all cycles in which the engine is at work: ideal cycles over cycles, for a "
        "tile that ran without the steps that it skipped.",
        svg(figure),
    )


def _memory(program: Program) -> Picture:
    """Place of every tensor in the activation memory while it is alive."""
    planes = {program.network.input: program.input}
    for layer, entry in zip(program.network.layers, program.layers, strict=True):
        planes[layer.output] = entry.output
    figure = Figure(figsize=(WIDTH_INCHES, 4.5))
    axes = figure.subplots()
    count = len(program.layers)
    found = fusions(program.network, program.config, program.batch)
    _, places = separate(program.network, found.values())
    lanes = program.config.engine.lanes
    buffers = lifetimes(program.network, places, program.batch, lanes)
    for number, buffer in enumerate(buffers):
        plane = planes[buffer.name]
        start, end = buffer.first - 0.5, min(buffer.last, count - 1) + 0.5
        axes.bar(
            start,
            buffer.words,
            width=end - start,
            bottom=plane.base - places.start(buffer.name) * plane.pitch,
            align="edge",
            color=COLORS[number % len(COLORS)],
            edgecolor="white",
            alpha=0.85,
        )
    axes.axhline(program.config.memory.activation_words, color="#b03030", linewidth=1)
    axes.set_xticks(range(count), [e.name for e in program.layers], rotation=90)
    axes.set_ylabel("activation words")
    axes.spines[["top", "right"]].set_visible(False)
    return Picture(
        "memory",
        "Activation memory",
        "Each rectangle is a tensor: the words it takes and the layers during which they are "
        "held; the line is the size of the memory.",
        svg(figure),
    )


def _crossbars(program: Program) -> list[Picture]:
    """Filled crossbars of the tile's program."""
    if program.mapping is None:
        return []
    return [
        Picture(
            f"crossbars-{number + 1}",
            "Crossbars",
            f"Cells in use by layer, {program.settings.mapping} mapping; above each crossbar its "
            "number and the share of its cells in use.",
            sheet,
        )
        for number, sheet in enumerate(sheets(program.mapping))
    ]
