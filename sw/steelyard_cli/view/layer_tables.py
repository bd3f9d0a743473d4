"""Tables of a program's layers, planned and run, with the columns that its engine has."""

from collections.abc import Sequence
from typing import Any

from rich.table import Table

from steelyard.engines.columns import Column, Row, field
from steelyard.network import Conv
from steelyard.program import Program

from .console import percent, table

__all__ = ["plan_table", "run_table"]

NAMES = (field("layer", "name"), field("kind", "kind"))
OCCUPANCY = Column("occup.", lambda row: row["occupancy"], weights=True, share=True)
MEMORY = (
    field("weight B", "weight_bytes", weights=True),
    field("act. words", "activation_words"),
    field("ideal cyc.", "ideal_cycles", weights=True, added=True),
)
WAITS = (
    field("wait load", "stall_load"),
    field("wait weights", "stall_weights"),
    field("wait drain", "stall_drain"),
)


def plan_table(program: Program, rows: Sequence[Row], title: str) -> Table:
    """Plan of every layer, and of all.

    Parameters
    ----------
    rows : layers of the program's plan
    """
    predicted = "pred. cyc." if program.engine.exact else "max. cyc."
    if program.uses_external:
        predicted = "est. cyc."
    columns = (
        *NAMES,
        *program.engine.plan_columns(program),
        *MEMORY,
        field(predicted, "predicted_cycles", added=True),
        OCCUPANCY,
    )
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
    cycles_column = field("cycles", "cycles")
    own = program.engine.run_columns(program)
    columns = (*NAMES, *own, cycles_column, OCCUPANCY, *WAITS)
    return table(
        f"One batch of {program.batch}: {cycles:,} cycles",
        [column.title for column in columns],
        _cells(program, columns, rows),
        left=2,
    )


def _cells(program: Program, columns: Sequence[Column], rows: Sequence[Row]) -> list[list[Any]]:
    weighted = {layer.name for layer in program.network.layers if isinstance(layer, Conv)}
    return [
        [
            _text(each, row) if not each.weights or row["name"] in weighted else None
            for each in columns
        ]
        for row in rows
    ]


def _text(column: Column, row: Row) -> Any:
    value = column.value(row)
    return percent(value) if column.share else value
