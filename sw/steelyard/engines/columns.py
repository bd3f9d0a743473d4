"""Columns of the tables of a program's layers, planned and run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Column", "Row", "field"]

Row = Mapping[str, Any]
"""Layer as JSON holds it, of :mod:`steelyard.report`."""


@dataclass(frozen=True)
class Column:
    """Column of a table.

    Members
    -------
    title : heading
    value : what stands in it, a number or text
    weights : whether it means nothing in layers without weights
    added : whether the last line of a plan holds the sum
    share : whether the number is a share, 0 to 1
    """

    title: str
    value: Callable[[Row], Any]
    weights: bool = False
    added: bool = False
    share: bool = False


def field(title: str, name: str, *, weights: bool = False, added: bool = False) -> Column:
    """Column of an entry of the row."""
    return Column(title, lambda row: row[name], weights, added)
