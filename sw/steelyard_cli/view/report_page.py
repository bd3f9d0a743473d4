"""HTML page of a program's report; its pictures are inlined so that one file can be sent around."""

from collections.abc import Iterator, Sequence
from typing import Any

from steelyard.program import Program

from .page import rendered
from .pictures import Picture

__all__ = ["report_page"]

TEMPLATE = "report.html.jinja"


def report_page(
    program: Program,
    plan: dict[str, Any],
    measured: dict[str, Any] | None,
    pictures: Sequence[Picture],
) -> str:
    """HTML of a report.

    Parameters
    ----------
    plan : of the program, its layers with their measured cycles if it ran
    measured : what a run counted
    """
    return rendered(
        TEMPLATE,
        title=f"{program.network.name} on Steelyard",
        plan=plan,
        host=program.host.title if program.host else None,
        layers=plan["layers"],
        outline=program.config.outline,
        grouped=any(row["k"] is not None for row in plan["layers"]),
        exact=program.engine.exact,
        moved=program.uses_external,
        config=_fields(plan["config"]),
        measured=measured,
        pictures=pictures,
    )


def _fields(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names and values of a configuration; those of a table in it behind its name."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _fields(value, f"{name}.")
        else:
            yield prefix + name, f"{value:,}" if isinstance(value, int) else str(value)
