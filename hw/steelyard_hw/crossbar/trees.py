"""Adder trees with registers."""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth import Module, Signal, Value

__all__ = ["Term", "add_tree", "tree_stages"]

ARITY = 3
"""Terms that are added between two registers."""


@dataclass(frozen=True)
class Term:
    """Value with the range that it can have."""

    value: Value
    low: int
    high: int


def add_tree(m: Module, terms: Sequence[Term], name: str) -> tuple[Term, int]:
    """Sum of the terms, and its cycles: registers after every `ARITY` of them."""
    stages = 0
    while len(terms) > 1:
        sums = []
        for first in range(0, len(terms), ARITY):
            group = terms[first : first + ARITY]
            low, high = sum(each.low for each in group), sum(each.high for each in group)
            total = Signal(range(low, high + 1), name=f"{name}_{stages}_{first}", reset_less=True)
            m.d.sync += total.eq(sum(each.value for each in group))
            sums.append(Term(total, low, high))
        terms = sums
        stages += 1
    return terms[0], stages


def tree_stages(terms: int) -> int:
    """Cycles of :func:`add_tree`."""
    stages = 0
    while terms > 1:
        terms = -(-terms // ARITY)
        stages += 1
    return stages
