"""Which TFLite operators are imported, and what to do about others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steelyard.importer.tflite.file import Operator

if TYPE_CHECKING:
    from steelyard.importer.tflite.walk import Walk

__all__ = ["HINTS", "OPERATORS", "Handler", "Taken", "operator"]

Handler = Callable[["Walk", Operator], None]


@dataclass(frozen=True)
class Taken:
    """How an operator is imported.

    Members
    -------
    handler : makes layers of it, or another view of its input
    inputs : the least that it reads
    """

    handler: Handler
    inputs: int


OPERATORS: dict[str, Taken] = {}
"""Every operator by its type; the modules of `operators` enter themselves."""

HINTS = {
    "LOG_SOFTMAX": "leave it out and take the largest score on the host",
    "ARG_MAX": "leave it out and take the largest score on the host",
    "BATCH_MATMUL": "use convolutions or fully connected layers",
    "DENSIFY": "convert the network without sparse storage; zeros are found anyway",
    "DIV": "multiply by a constant in its place, or leave it to the host",
}


def operator(*names: str, inputs: int) -> Callable[[Handler], Handler]:
    """Decorator that registers a handler for operator types, as :class:`Taken` says."""

    def register(handler: Handler) -> Handler:
        for name in names:
            OPERATORS[name] = Taken(handler, inputs)
        return handler

    return register
