"""Tables of a program's layers, planned and run, with the columns that its engine has."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from steelyard.program import Program

from .console import percent, table

__all__ = ["plan_table", "run_table"]

Row = Mapping[str, Any]
"""Layer as JSON holds it."""


@dataclass(frozen=True)
class Column:
    """Column of a table.

    Members
    -------
    title : heading
    value : what stands in it
    weights : whether it means nothing in layers without weights
    added : whether the last line of a plan holds the sum
    """

    title: str
    value: Callable[[Row], Any]
    weights: bool = False
    added: bool = False


def _field(title: str, name: str, *, weights: bool = False, added: bool = False) -> Column:
    return Column(title, lambda row: row[name], weights, added)


def _unit(title: str, name: str) -> Column:
    return Column(title, lambda row: row["units"][name], True)


NAMES = (_field("layer", "name"), _field("kind", "kind"))
OCCUPANCY = Column("occup.", lambda row: percent(row["occupancy"]), True)
MEMORY = (
    _field("weight B", "weight_bytes", weights=True),
    _field("act. words", "activation_words"),
    _field("ideal cyc.", "ideal_cycles", weights=True, added=True),
)
WAITS = (
    _field("wait load", "stall_load"),
    _field("wait weights", "stall_weights"),
    _field("wait drain", "stall_drain"),
)


def _of_all(units: Row) -> float:
    """Share of the steps that were left out."""
    steps = units["ou_steps"] + units["ou_skipped"]
    return units["ou_skipped"] / steps if steps else 0.0


ARRAY_RUN = (
    *NAMES,
    _field("K", "k", weights=True),
    _field("ideal", "ideal_cycles", weights=True),
    _field("cycles", "cycles"),
    OCCUPANCY,
    *WAITS,
)
TILE_RUN = (
    *NAMES,
    _unit("OU steps", "ou_steps"),
    _unit("OU skipped", "ou_skipped"),
    Column("skipped", lambda row: percent(_of_all(row["units"])), True),
    _unit("ADC conv.", "adc_conversions"),
    _field("cycles", "cycles"),
    OCCUPANCY,
    *WAITS,
)


def _plan_columns(program: Program) -> tuple[Column, ...]:
    """Columns of a plan."""
    mapping = program.mapping
    if mapping is None:
        group = program.config.engine.group
        return (
            *NAMES,
            Column("K", lambda row: f"{row['k']}/{group}", True),
            _field("nnz", "nnz", weights=True, added=True),
            *MEMORY,
            _field("pred. cyc.", "predicted_cycles", added=True),
            OCCUPANCY,
        )
    return (
        *NAMES,
        _field("nnz", "nnz", weights=True, added=True),
        _field("stored", "kept", weights=True, added=True),
        Column("OUs", lambda row: mapping.layers[row["name"]].operation_units, True, True),
        *MEMORY,
        _field("max. cyc.", "predicted_cycles", added=True),
        OCCUPANCY,
    )


def plan_table(program: Program, rows: Sequence[Row], title: str) -> Table:
    """Plan of every layer, and of all.

    Parameters
    ----------
    rows : layers of the program's plan
    """
    columns = _plan_columns(program)
    cells = _cells(program, columns, rows)
    share = sum(row["ideal_cycles"] for row in rows) / sum(row["predicted_cycles"] for row in rows)
    last: list[object] = ["all", ""]
    for place, column in enumerate(columns[2:], 2):
        if column.added:
            last.append(sum(line[place] or 0 for line in cells))
        else:
            last.append(percent(share) if column is OCCUPANCY else "")
    return table(
        f"{title}: batch of {program.batch} on {program.config.outline}",
        [column.title for column in columns],
        [*cells, last],
        left=2,
    )


def run_table(program: Program, rows: Sequence[Row], cycles: int) -> Table:
    """What every layer took in a run.

    Parameters
    ----------
    rows : layers with their counters
    cycles : of the whole run
    """
    columns = ARRAY_RUN if program.mapping is None else TILE_RUN
    return table(
        f"One batch of {program.batch}: {cycles:,} cycles",
        [column.title for column in columns],
        _cells(program, columns, rows),
        left=2,
    )


def _cells(program: Program, columns: Sequence[Column], rows: Sequence[Row]) -> list[list[Any]]:
    return [
        [
            each.value(row) if not each.weights or _has_weights(program, row) else None
            for each in columns
        ]
        for row in rows
    ]


def _has_weights(program: Program, row: Row) -> bool:
    if program.mapping is not None:
        return row["name"] in program.mapping.layers
    return row["k"] is not None
