"""``steelyard report``: a program as HTML, JSON and pictures."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from matplotlib.figure import Figure

from steelyard.compile.memory import lifetimes
from steelyard.errors import UserError
from steelyard.program import Program
from steelyard.reading import MALFORMED, first_line, read_text

from ..view.console import show
from ..view.files import write_json, write_text
from ..view.layer_tables import occupancy
from ..view.pictures import WIDTH_INCHES, svg
from ..view.report_page import PAGE
from .compile import plan_document
from .crossbar import sheets

__all__ = ["write_report"]

COLORS = ("#4878a8", "#c8c8c8", "#d89048")


@dataclass(frozen=True)
class Picture:
    """Picture with its words; `svg` is a whole element."""

    name: str
    title: str
    caption: str
    svg: str


def write_report(path: Path, output: Path, run_file: Path | None) -> None:
    """``steelyard report``."""
    program = Program.load(path)
    measured = _measured(run_file, program) if run_file else None
    plan = plan_document(program)
    layers = plan["layers"]
    if measured:
        for row, counted in zip(layers, measured["layers"], strict=True):
            row["cycles"] = counted["cycles"]
            row["occupancy"] = occupancy(program, {**row, **counted})
    pictures = [_cycles(layers), _occupancy(layers), _memory(program), *_crossbars(program)]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    page = environment.from_string(PAGE).render(
        title=f"{program.network.name} on Steelyard",
        plan=plan,
        layers=layers,
        outline=program.config.outline,
        array=program.mapping is None,
        config=_fields(plan["config"]),
        measured=measured,
        pictures=pictures,
    )
    for picture in pictures:
        write_text(output / f"{picture.name}.svg", picture.svg + "\n")
    write_json(
        output / "report.json",
        {**plan, "measured_cycles": measured["cycles"] if measured else None},
    )
    write_text(output / "report.html", page)
    show(f"{output}/report.html, report.json and {len(pictures)} pictures")


def _measured(path: Path, program: Program) -> dict[str, Any]:
    """What a run counted.

    Raises
    ------
    UserError
        If the file is none of ``steelyard run --json``, or of another program.
    """
    advice = "give what 'steelyard run --json' wrote for this program."
    needed = ("cycles",) if program.mapping is None else ("cycles", "issue")
    try:
        document = json.loads(read_text(path))
        rows = document["layers"]
        names = [(row["name"], row["ideal_cycles"]) for row in rows]
        counted = _is_count(document["cycles"]) and all(
            _is_count(row[name]) for row in rows for name in needed
        )
        document["device"]
    except (OSError, *MALFORMED) as error:
        raise UserError(
            f"Run {str(path)!r} cannot be read ({first_line(error)}); {advice}"
        ) from None
    if not names or not counted:
        raise UserError(
            f"Run {str(path)!r} holds no cycles, for its device counts none; run on 'sim'."
        )
    if names != [(entry.name, entry.ideal_cycles) for entry in program.layers]:
        raise UserError(f"Run {str(path)!r} is of another program; {advice}")
    measured: dict[str, Any] = document
    return measured


def _is_count(value: object) -> bool:
    # More than that nobody has run, nor can a picture show it.
    return type(value) is int and 0 <= value < 1 << 48


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
    for number, buffer in enumerate(
        lifetimes(program.network, program.batch, program.config.lanes)
    ):
        plane = planes[buffer.name]
        start, end = buffer.first - 0.5, min(buffer.last, count - 1) + 0.5
        axes.bar(
            start,
            plane.words,
            width=end - start,
            bottom=plane.base,
            align="edge",
            color=COLORS[number % len(COLORS)],
            edgecolor="white",
            alpha=0.85,
        )
    axes.axhline(program.config.activation_words, color="#b03030", linewidth=1)
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
            f"Cells in use by layer, {program.method} mapping; above each crossbar its number and "
            "the share of its cells in use.",
            sheet,
        )
        for number, sheet in enumerate(sheets(program.mapping))
    ]


def _fields(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of a configuration; those of a table in it behind its name."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{name}.")
        else:
            yield prefix + name, f"{value:,}" if isinstance(value, int) else str(value)
