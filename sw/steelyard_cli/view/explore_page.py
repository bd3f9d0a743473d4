"""HTML page of an exploration: its points with what they are, in one file that needs no other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Any

from .explore_tables import (
    built_words,
    clock_words,
    error_words,
    fmax_words,
    missing_words,
    reading,
)
from .page import rendered

__all__ = ["explore_page"]

TEMPLATE = "explore.html.jinja"
WIDTH, HEIGHT = 960, 480
MARGIN = 70
TICKS = 6


@dataclass(frozen=True)
class Axis:
    """Scale of a plot.

    Members
    -------
    title : what it shows
    low, high : values at its ends
    ticks : values that are written
    """

    title: str
    low: float
    high: float
    ticks: tuple[float, ...]

    def place(self, value: float) -> float:
        """Where a value lies, from 0 at the low end to 1."""
        return (value - self.low) / (self.high - self.low)


def axis(title: str, values: Sequence[float], zero: bool) -> Axis:
    """Scale of round numbers that holds all values.

    Parameters
    ----------
    zero : whether it begins at 0
    """
    low, high = (0.0 if zero else min(values)), max(values)
    span = (high - low) or abs(high) or 1.0
    step = 10.0 ** floor(log10(span / TICKS))
    step *= next(each for each in (1, 2, 5, 10) if span / (step * each) <= TICKS)
    first, last = floor(low / step), -floor(-high / step)
    last = max(last, first + 1)
    ticks = tuple(round(step * number, 10) for number in range(first, last + 1))
    return Axis(title, ticks[0], ticks[-1], ticks)


@dataclass(frozen=True)
class Plot:
    """Points in the plane, as the page draws them.

    Members
    -------
    dots : path of all points
    circles : of the front: number, x, y
    bars : how far those of the front may be off: from x, to x, at y
    """

    title: str
    x: Axis
    y: Axis
    dots: str
    circles: tuple[tuple[int, float, float], ...]
    bars: tuple[tuple[float, float, float], ...]
    places: tuple[tuple[float, float], ...]
    xticks: tuple[tuple[float, str], ...]
    yticks: tuple[tuple[float, str], ...]


def explore_page(document: Mapping[str, Any]) -> str:
    """HTML of an exploration, whose points and commands are in it."""
    points = list(_points(document))
    front = document["front"]
    errors = {each["board"]: each["luts_error"] for each in document["boards"]}
    plots = [
        _plot("Frames a second against LUTs", points, front, "luts", "LUTs", True, errors=errors)
    ]
    if any(each["accuracy"] is not None for each in front):
        plots.append(
            _plot("Frames a second against accuracy", points, front, "accuracy", "accuracy", False)
        )
    return rendered(
        TEMPLATE,
        title=f"{document['network']} explored",
        document=document,
        front=front,
        best=document["best"],
        plots=plots,
        width=WIDTH,
        height=HEIGHT,
        margin=MARGIN,
        reading=reading,
        error_words=error_words(document),
        built_words=built_words,
        clock_words=clock_words,
        fmax_words=fmax_words,
        missing_words=missing_words(document),
        clocks=any(each["fmax_mhz"] is not None for each in front),
        data={
            "points": [_words(each) for each in points],
            "places": [each.places for each in plots],
            "front": [_words(each) for each in front],
            "commands": ["\n".join(each["commands"]) for each in front],
        },
    )


def _points(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All points of all boards."""
    for board in document["boards"]:
        for row in board["points"]:
            yield {"board": board["board"], **dict(zip(board["names"], row, strict=True))}


def _words(row: Mapping[str, Any]) -> str:
    """A configuration in a line."""
    k = "" if row["k"] is None else f", {row['k']} of each 16 weights"
    clock = ""
    if row["fmax_mhz"] is not None:
        clock = f", clock estimated at {row['fmax_mhz']:.0f} MHz"
        clock += ", too low for the board's" if row["misses_clock"] else ""
    share = "" if row["accuracy"] is None else f", accuracy {100 * row['accuracy']:.1f} %"
    return (
        f"{row['board']}: {row['lanes']} lanes x {row['columns']} columns, groups of "
        f"{row['group']}, {row['window_groups']} in the window, {row['requantizers']} "
        f"requantizers, {reading(row)} reads, multiplier of {row['multiplier_stages']} stages"
        f"{', fused additions' if row['fused_additions'] else ''}, batch {row['batch']}{k}: "
        f"{row['cycles']:,} cycles, {row['frames_per_second']:,.1f} images/s, "
        f"{row['luts']:,} LUTs, {row['multipliers']} multipliers, {row['block_rams']} block RAMs"
        f"{share}{clock}"
    )


def _plot(
    title: str, points: Sequence[Mapping[str, Any]], front: Sequence[Mapping[str, Any]],
    name: str, words: str, zero: bool, errors: Mapping[str, float | None] | None = None,
) -> Plot:  # fmt: skip
    shown = [each for each in points if each[name] is not None]
    x = axis(words, [float(each[name]) for each in shown], zero)
    y = axis("images a second", [each["frames_per_second"] for each in shown], True)

    def across(value: float) -> float:
        return round(MARGIN + x.place(value) * (WIDTH - 2 * MARGIN), 1)

    def up(value: float) -> float:
        return round(HEIGHT - MARGIN - y.place(value) * (HEIGHT - 2 * MARGIN), 1)

    places = [
        (across(each[name]), up(each["frames_per_second"])) if each[name] is not None else (-1, -1)
        for each in points
    ]
    spans = ((each, (errors or {}).get(each["board"])) for each in front if each[name] is not None)
    bars = tuple(
        (
            across(max(each[name] * (1 - error), x.low)),
            across(min(each[name] * (1 + error), x.high)),
            up(each["frames_per_second"]),
        )
        for each, error in spans
        if error is not None
    )
    return Plot(
        title=title,
        x=x,
        y=y,
        dots="".join(f"M{a:g} {b:g}h0" for a, b in places if a >= 0),
        circles=tuple(
            (number, across(each[name]), up(each["frames_per_second"]))
            for number, each in enumerate(front)
            if each[name] is not None
        ),
        bars=bars,
        places=tuple(places),
        xticks=tuple((across(each), f"{each:,g}") for each in x.ticks),
        yticks=tuple((up(each), f"{each:,g}") for each in y.ticks),
    )
