"""An exploration in tables and lines."""

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from .console import percent, table

if TYPE_CHECKING:
    from steelyard_explore import Exploration

__all__ = [
    "best_lines",
    "built_lines",
    "built_words",
    "clock_words",
    "document_text",
    "error_words",
    "fmax_words",
    "front_tables",
    "missing_words",
    "reading",
    "refused_line",
]

MOST_ROWS = 20


def document_text(document: Mapping[str, Any]) -> str:
    """JSON of an exploration, a line for each of its points."""
    boards = [{**each, "points": []} for each in document["boards"]]
    text = json.dumps({**document, "boards": boards}, indent=2, allow_nan=False)
    parts = text.split('"points": []')
    for place, each in enumerate(document["boards"]):
        lines = ",\n        ".join(json.dumps(row, allow_nan=False) for row in each["points"])
        parts[place] += f'"points": [\n        {lines}\n      ]' if lines else '"points": []'
    return "".join(parts) + "\n"


def reading(row: Mapping[str, Any]) -> str:
    """How a configuration reads activations, in a word."""
    if row["shared_taps"]:
        return "three taps"
    return "wide" if row["wide_reads"] else "narrow"


def built_words(built: Mapping[str, Any] | None) -> str:
    """LUTs that synthesis made of a configuration, or what else became of it."""
    if built is None:
        return "-"
    return "failed" if built["lut"] is None else f"{built['lut']:,}"


def clock_words(built: Mapping[str, Any] | None) -> str:
    """Highest clock of a configuration's placements, MHz, or what else became of them."""
    if built is None or not built["seeds"]:
        return "-"
    return f"{max(built['fmax_mhz']):.1f}" if built["fmax_mhz"] else "failed"


def fmax_words(row: Mapping[str, Any]) -> str:
    """Estimated clock of a configuration, MHz, with a mark if it misses the board's."""
    if row["fmax_mhz"] is None:
        return "-"
    return f"{row['fmax_mhz']:.0f}{' !' if row['misses_clock'] else ''}"


def missing_words(document: Mapping[str, Any]) -> str:
    """What it means that some of the front are marked, or nothing."""
    missing = [each for each in document["front"] if each["misses_clock"]]
    if not missing:
        return ""
    return (
        f"marked !, {len(missing)} of the front: estimated to miss the board's clock, at which "
        "images a second are counted; '--to placement' tells, '--meets-clock' leaves such out"
    )


def built_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """How far the later stages came, and what they say against configurations of the front."""
    tried = [(n, each["built"]) for n, each in enumerate(document["front"]) if each["built"]]
    ended = {"time": ", when the time was over", "interrupted": ", when interrupted", None: ""}
    yield (
        f"{len(tried)} of the front synthesized, {sum(b['seeds'] > 0 for _, b in tried)} placed"
        f"{ended[document['stopped']]}"
    )
    for number, built in tried:
        if built["reason"]:
            yield f"number {number} is not to be built: {built['reason']}"


def front_tables(document: Mapping[str, Any]) -> Iterator[Table]:
    """Front of an exploration, about :data:`MOST_ROWS` of it evenly chosen, and the best."""
    front = document["front"]
    luts = {each["board"]: each["luts"] for each in document["boards"]}
    count = min(len(front), MOST_ROWS)
    rows = {round(place * (len(front) - 1) / max(count - 1, 1)) for place in range(count)}
    if document["best"] is not None:
        rows.add(document["best"])
    rows |= {number for number, each in enumerate(front) if each["built"]}
    several = {name: len({each[name] for each in front}) > 1 for name in ("board", "batch", "k")}
    known = any(each["accuracy"] is not None for each in front)
    clocks = any(each["fmax_mhz"] is not None for each in front)

    def cells(number: int) -> Iterator[tuple[str, object]]:
        each = front[number]
        yield "", str(number)
        if several["board"]:
            yield "board", each["board"]
        yield "lanes x columns", f"{each['lanes']} x {each['columns']}"
        yield "group", each["group"]
        yield "window", each["window_groups"]
        yield "requant.", each["requantizers"]
        yield "reading", reading(each)
        if several["batch"]:
            yield "batch", each["batch"]
        if several["k"]:
            yield "K of 16", "as it is" if each["k"] is None else str(each["k"])
        if known:
            yield "accuracy", percent(each["accuracy"])
        yield "cycles", each["cycles"]
        yield "images/s", round(each["frames_per_second"], 1)
        yield "over own", each["times_default"]
        yield "LUT", each["luts"]
        if document["stage"] == "cycles":
            # Where more was measured there is no room for it.
            yield "share", percent(each["luts"] / luts[each["board"]])
        yield "mult.", each["multipliers"]
        yield "RAM", each["block_rams"]
        if clocks:
            yield "est. MHz", fmax_words(each)
        if document["stage"] != "cycles":
            yield "built LUT", built_words(each["built"])
        if document["stage"] == "placement":
            yield "built MHz", clock_words(each["built"])

    made = [dict(cells(number)) for number in sorted(rows)]
    title = f"Front of {document['network']}: " + ", ".join(document["objectives"])
    if len(rows) < len(front):
        title += f"; {len(rows)} of {len(front)}, all in explore.json"
    yield table(title, list(made[0]), [list(row.values()) for row in made])


def error_words(document: Mapping[str, Any]) -> str:
    """How far LUTs and clocks of a document's boards may be trusted."""
    said = []
    for error, of in _by_error(document, "luts_error"):
        if error is None:
            said.append(f"LUTs{of} are a fit whose error was not measured")
        else:
            said.append(f"LUTs{of} are estimates, {percent(error)} off at most where measured")
    for error, of in _by_error(document, "fmax_error"):
        if error is not None:
            said.append(f"clocks{of} are estimates, nine of ten placements within {percent(error)}")
    return "; ".join(said)


def _by_error(document: Mapping[str, Any], name: str) -> Iterator[tuple[float | None, str]]:
    """Errors of the boards' estimates, each with the boards that have it if they differ."""
    known = {each["board"]: each[name] for each in document["boards"]}
    for error in dict.fromkeys(known.values()):
        boards = [board for board, own in known.items() if own == error]
        yield error, "" if len(boards) == len(known) else f" of {', '.join(boards)}"


def best_lines(document: Mapping[str, Any], folder: str) -> Iterator[str]:
    """What is recommended, and how to build it."""
    front, best = document["front"], document["best"]
    yield error_words(document)
    if missing := missing_words(document):
        yield missing
    yield f"written: explore.json, explore.html and the front's configurations in {folder}"
    if front and front[0]["k"] is not None:
        first = front[0]
        how = (
            "number 0 has the commands that build it"
            if first["commands"]
            else "prune the network to that, and explore what 'steelyard quantize' makes of it"
        )
        yield (
            f"With {first['k']} of each 16 weights {first['frames_per_second']:,.1f} images a "
            f"second: {how}"
        )
    if best is None:
        yield "No configuration that is allowed runs the network as it is."
        return
    row = front[best]
    (clock_hz,) = (e["clock_hz"] for e in document["boards"] if e["board"] == row["board"])
    over = row["times_default"]
    than = "" if over is None else f", {over:.3g} x the board's own configuration"
    yield (
        f"best for the network as it is: number {best}, {row['frames_per_second']:,.1f} images a "
        f"second on board {row['board']} at {clock_hz / 1e6:g} MHz{than}, without transfers"
        + ("" if row["fmax_mhz"] is None else f"; clock estimated at {row['fmax_mhz']:.1f} MHz")
    )
    built = row["built"]
    if built is not None and built["lut"] is not None:
        yield (
            f"synthesized: {built['lut']:,} LUTs where {row['luts']:,} were estimated, "
            f"{built['ff']:,} registers, {built['multipliers']} multipliers, "
            f"{built['block_rams']} block RAMs"
            + (f"; placed: {clock_words(built)} MHz at best" if built["seeds"] else "")
        )
    yield from row["commands"]


def refused_line(exploration: "Exploration") -> str:
    """What became of a board's configurations, in a line."""
    runs = f"{len(exploration.found):,} run the network"
    other = ", ".join(f"{count:,} {reason}" for reason, (count, _) in exploration.refused.items())
    known = f", {exploration.known:,} of them before" if exploration.known else ""
    ended = {"time": ", when the time was over", "interrupted": ", when interrupted", "": ""}
    return (
        f"board {exploration.board.name}: {exploration.evaluated:,} of {exploration.total:,} "
        f"configurations planned{known}{ended[exploration.stopped]}; {runs}"
        + (f"; too small or unfit: {other}" if other else "")
    )
