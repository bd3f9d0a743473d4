"""Pareto fronts: what is not beaten in every respect at once."""

from collections.abc import Callable, Sequence

import numpy as np

from .search import Found

__all__ = ["OBJECTIVES", "pareto_front", "united_fronts"]

OBJECTIVES: dict[str, Callable[[Found], float]] = {
    "fps": lambda found: -found.frames_per_second,
    "latency": lambda found: found.latency_s,
    "accuracy": lambda found: -(found.accuracy or 0.0),
    "lut": lambda found: float(found.point.demand.luts),
}
"""What may be asked for, each as a number that is better when smaller."""


def pareto_front(found: Sequence[Found], objectives: Sequence[str]) -> list[Found]:
    """Those that no other beats: as good in all objectives and better in one.

    Of several that are equal in all, the one with the least LUTs, then block RAMs, then
    multipliers, then the first is taken. They are ordered by the first objective, the best first.

    Parameters
    ----------
    objectives : names in :data:`OBJECTIVES`
    """
    functions = [OBJECTIVES[name] for name in objectives]
    values = [tuple(function(each) for function in functions) for each in found]
    order = sorted(range(len(found)), key=lambda place: (values[place], _size(found[place])))
    kept: list[int] = []
    front = np.zeros((0, len(functions)))
    for place in order:
        # In this order nothing later beats what is kept, and what is equal comes later.
        if (front <= np.array(values[place])).all(axis=1).any():
            continue
        kept.append(place)
        front = np.array([values[each] for each in kept])
    return [found[place] for place in kept]


def united_fronts(found: Sequence[Found], objectives: Sequence[str]) -> list[Found]:
    """Front of the network as it is and of each K, ordered as one.

    Fewer weights are faster and smaller everywhere. Where accuracy is an objective, what they cost
    is known and it is one front, with the network as it is in it in any case. Else each K has its
    own: in one nothing would be left of the network as it is.
    """
    functions = [OBJECTIVES[name] for name in objectives]
    own = pareto_front([each for each in found if each.k is None], objectives)
    if "accuracy" in objectives:
        united = pareto_front(found, objectives)
        if own and all(each.k is not None for each in united):
            united.append(own[0])
    else:
        ks = dict.fromkeys(each.k for each in found if each.k is not None)
        fronts = [pareto_front([each for each in found if each.k == k], objectives) for k in ks]
        united = [*own, *(each for front in fronts for each in front)]
    return sorted(united, key=lambda each: [*(f(each) for f in functions), *_size(each)])


def _size(found: Found) -> tuple[int, ...]:
    demand = found.point.demand
    return demand.luts, demand.block_rams, demand.multipliers, found.point.number
