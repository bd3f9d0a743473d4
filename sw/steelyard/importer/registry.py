"""Which operators are imported, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from steelyard.importer.errors import REQUANTIZE
from steelyard.importer.node import Node

if TYPE_CHECKING:
    from steelyard.importer.walk import Walk

Handler = Callable[["Walk", Node], None]


@dataclass(frozen=True)
class Operator:
    """How an operator is imported.

    Members
    -------
    handler : lowers a node
    inputs : how many inputs it reads
    reads : attributes whose every value is taken or refused
    ignores : attributes that change nothing, with the reason
    """

    handler: Handler
    inputs: int
    reads: tuple[str, ...] = ()
    ignores: Mapping[str, str] | None = None


OPERATORS: dict[str, Operator] = {}
"""Every operator by its type; the modules of `operators` enter themselves."""

HINTS = {
    "BatchNormalization": (
        "place it right behind a convolution or fully connected layer, where 'steelyard quantize' "
        "folds it"
    ),
    "Softmax": "leave it out and take the largest score on the host",
    "LogSoftmax": "leave it out and take the largest score on the host",
    "LRN": "leave it out, or put a batch normalization in its place, and train the network again",
    "ConvInteger": f"{REQUANTIZE}, with fixed scales",
    "DynamicQuantizeLinear": f"{REQUANTIZE}, with fixed scales",
    "MatMulInteger": f"{REQUANTIZE}, with fixed scales",
}


def operator(
    *names: str,
    inputs: int,
    reads: tuple[str, ...] = (),
    ignores: Mapping[str, str] | None = None,
) -> Callable[[Handler], Handler]:
    """Decorator that registers a handler for operator types, as :class:`Operator` says."""

    def register(handler: Handler) -> Handler:
        for name in names:
            OPERATORS[name] = Operator(handler, inputs, reads, ignores)
        return handler

    return register
