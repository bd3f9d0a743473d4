"""What the commands print: progress and remarks on stderr, tables on stdout."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as ProgressBar
from rich.table import Table
from rich.text import Text

from steelyard.progress import Log, Progress

__all__ = ["activity", "duration", "note", "percent", "progress", "show", "table", "warn"]

QUIET_SECONDS = 10.0
"""Least time between two progress lines where there is no terminal."""
PLAIN_WIDTH = 120
"""Columns of tables where there is no terminal to ask."""
NAME_WIDTH = 8
"""Columns that names in a table get at least."""


def _console(stderr: bool) -> Console:
    # Made at every use, so that output follows the streams as they are then.
    console = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console.width = max(console.width, PLAIN_WIDTH)
    return console


def note(text: str) -> None:
    """Prints a remark on stderr."""
    _console(stderr=True).print(Text(text), soft_wrap=True)


def warn(text: str) -> None:
    """Prints a warning on stderr."""
    _console(stderr=True).print(Text(f"warning: {text}"), soft_wrap=True)


def show(*parts: Table | str) -> None:
    """Prints tables and lines on stdout."""
    console = _console(stderr=False)
    for number, part in enumerate(parts):
        if isinstance(part, str):
            console.print(Text(part), soft_wrap=True)
            continue
        if number:
            console.print()
        console.print(part)


def percent(share: float) -> str:
    """Share as a percentage with one decimal."""
    return f"{100 * share:.1f} %"


def duration(seconds: float) -> str:
    """Time in words, to two figures at most."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], left: int = 1
) -> Table:
    """Table whose first `left` columns are text and the others numbers, None shown as ``-``."""
    made = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="bold",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
        show_edge=False,
    )
    cells = [[_cell(value) for value in row] for row in rows]
    for place, column in enumerate(columns):
        justify: Literal["left", "right"] = "left" if place < left else "right"
        widest = max((row[place].cell_len for row in cells), default=0)
        # On a narrow terminal headings wrap and long names fold, but numbers stay whole.
        least = min(widest, NAME_WIDTH) if place == 0 else widest
        made.add_column(column, justify=justify, overflow="fold", min_width=least)
    for row in cells:
        made.add_row(*row)
    return made


def _cell(value: object) -> Text:
    match value:
        case None:
            return Text("-")
        case bool():
            return Text("yes" if value else "no", style="green" if value else "bold red")
        case int():
            return Text(f"{value:,}")
        case float():
            return Text(f"{value:.3g}")
        case _:
            return Text(str(value))


@contextmanager
def progress(title: str, total: int | None = None) -> Iterator[Progress]:
    """Progress bar on a terminal; elsewhere a line now and then, and none for what is quick.

    Parameters
    ----------
    title : what is being done
    total : its steps, until it tells them itself; None for work in stages that count their own,
        which are named with the step that each is at
    """
    console = _console(stderr=True)
    if not console.is_terminal:
        yield _sparse_lines(title, staged=total is None)
        return
    bar = ProgressBar(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %" if total else ""),
        TimeElapsedColumn(),
        *([TextColumn("left"), TimeRemainingColumn(compact=True)] if total else []),
        TextColumn("{task.fields[now]}"),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task(title, total=total, now="")

        def update(done: int, of: int, now: str) -> None:
            if total is None:
                bar.update(task, now=_stage(done, of, now))
            else:
                bar.update(task, completed=done, total=of, now=now)

        yield update


@contextmanager
def activity(title: str) -> Iterator[Log]:
    """The same for work that has no steps and tells what it is at."""
    with progress(title) as update:
        yield lambda now: update(0, 0, now)


def _stage(done: int, of: int, now: str) -> str:
    """Stage of the work with the step that it is at, from 1; without when it is over."""
    return f"{now}, {done + 1} of {of}" if done < of else now


def _sparse_lines(title: str, staged: bool) -> Progress:
    start = last = time.monotonic()

    def update(done: int, of: int, now: str) -> None:
        nonlocal last
        passed = time.monotonic() - start
        if time.monotonic() - last < QUIET_SECONDS:
            return
        last = time.monotonic()
        share = "at work" if staged else f"{100 * done / of:.0f} %"
        what = _stage(done, of, now) if staged else now
        left = ""
        if not staged and 0 < done < of:
            left = f", about {duration(passed * (of / done - 1))} left"
        note(f"{title}: {share}{f', {what}' if what else ''}{left}")

    return update
