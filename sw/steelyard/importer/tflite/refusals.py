"""What stands in the way of a network, collected operator by operator."""

from __future__ import annotations

from steelyard.errors import Obstacles, UserError
from steelyard.importer.tflite.file import Operator

__all__ = ["Refusals"]

NAMED = 3
"""Operators that one sentence names."""


class Refusals:
    """Operators that cannot run, those of one type that fail alike together."""

    def __init__(self) -> None:
        self._titles: dict[tuple[str, str], list[str]] = {}

    def add(self, op: Operator, error: UserError) -> None:
        """Take in why an operator cannot run."""
        reason = str(error).removeprefix(f"{op.title} ")
        self._titles.setdefault((op.op, reason), []).append(op.title)

    def check(self, what: str) -> None:
        """Raise all of them, if there are any.

        Parameters
        ----------
        what : the network, as sentences begin

        Raises
        ------
        Obstacles
            With a sentence for each reason.
        """
        if self._titles:
            items = self._titles.items()
            raise Obstacles(what, [_sentence(titles, reason) for (_, reason), titles in items])


def _sentence(titles: list[str], reason: str) -> str:
    others = [title.split("operator ", 1)[1] for title in titles[1:NAMED]]
    if len(titles) > NAMED:
        others.append(f"{len(titles) - NAMED} more")
    likewise = f" (likewise {', '.join(others)})" if others else ""
    return f"{titles[0]}{likewise} {reason}"
