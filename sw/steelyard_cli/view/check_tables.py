"""Tables of what a network would take."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from .console import percent, table

if TYPE_CHECKING:
    from steelyard.check import BoardFit, Estimate

__all__ = ["board_table", "layer_table", "memory_table", "refusals"]

MEMORIES = (
    ("activation words", "act."),
    ("weight words", "weights"),
    ("parameter words", "param."),
    ("layer descriptors", "descr."),
)
"""Memories with what a narrow column calls them."""


def board_table(fits: Sequence["BoardFit"]) -> Table:
    """Whether each board's own configuration runs a network, its memories used, and how fast."""
    return table(
        "Boards with their default configuration",
        ("board", "runs it", *(short for _, short in MEMORIES), "cycles", "frames/s"),
        [_row(each) for each in fits],
        left=2,
    )


def _row(fit: "BoardFit") -> Sequence[object]:
    external = fit.config.memory.external_words
    runs = "no" if fit.problem is not None else "with SDRAM" if external else "yes"
    cost = fit.estimate
    if cost is None:
        return (fit.name, runs, *(None for _ in MEMORIES), None, None)
    used = {use.memory: use.used / use.available for use in cost.uses}
    rate = f"{cost.frames_per_second(fit.clock_hz):.1f}"
    return (fit.name, runs, *(percent(used[name]) for name, _ in MEMORIES), cost.cycles, rate)


def refusals(fits: Sequence["BoardFit"]) -> list[str]:
    """A sentence for each reason why a layer cannot run, with the boards that it is true of."""
    boards: dict[str, list[str]] = {}
    for each in fits:
        if each.estimate is None and each.problem is not None:
            boards.setdefault(each.problem, []).append(each.name)
    return [f"{', '.join(names)}: {problem}" for problem, names in boards.items()]


def layer_table(cost: "Estimate", title: str) -> Table:
    """Layers with their share of the time and what bounds them."""
    group = getattr(cost.config.engine, "group", None)
    moved = bool(cost.moved_words + cost.stored_words)
    # Only networks whose activations are moved store anything.
    stored = ["stored_words"] if cost.stored_words else []
    moving = ["moved_words", *stored, "waiting_cycles"] if moved else []
    rows: list[Sequence[object]] = [
        (
            layer.name,
            layer.kind,
            layer.bound,
            None if layer.k is None else f"{layer.k}/{group}",
            layer.nnz or None,
            layer.weight_words or None,
            *(getattr(layer, name) or None for name in moving),
            layer.cycles,
            percent(layer.cycles / cost.cycles),
        )
        for layer in cost.layers
    ]
    summed = ("nnz", "weight_words", *moving)
    sums = [sum(getattr(layer, name) for layer in cost.layers) for name in summed]
    rows.append(("all", "", "", "", *sums, cost.cycles, ""))
    cycles = "cycles" if cost.exact else "est. cyc." if moved else "max. cyc."
    titles = {"moved_words": "moved words", "stored_words": "stored", "waiting_cycles": "waiting"}
    extra = [titles[name] for name in moving]
    names = ("layer", "kind", "bound by", "K", "nnz", "weight words", *extra, cycles, "share")
    return table(title, names, rows, left=3)


def memory_table(cost: "Estimate") -> Table:
    """Used part of every memory, above 100 % where the network does not fit."""
    return table(
        "Memories",
        ("memory", "used", "available", "share"),
        [(u.memory, u.used, u.available, percent(u.used / u.available)) for u in cost.uses],
    )
