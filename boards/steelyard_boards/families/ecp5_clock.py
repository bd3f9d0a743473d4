"""Highest clock of a routed array on the ECP5.

The slowest path of a design is a few cells and one or two wires. Stages are the same in all
configurations, but for one: what a block RAM of weights puts out, late as it has no register there,
is selected among several where one does not hold them. How long a wire gets follows the side of the
area that the design covers, and so the square root of its LUTs. A faster speed grade takes a share
of all. The figures come from routed builds: ``python experiments/clocks.py fit`` prints them
(docs/notes/explore.md).
"""

from math import sqrt
from typing import Any

from steelyard.contract import AcceleratorConfig

from .ecp5_luts import weight_cells

__all__ = ["ERROR", "NS", "SPEED", "array_fmax", "terms"]

NS = {"once": 9.1861, "selection": 1.1701, "side": 0.0113}
"""Nanoseconds of each of :func:`terms` in speed grade 6."""
SPEED = {6: 1.0, 8: 0.815}
"""Times these, of a speed grade."""
ERROR = 0.17
"""Within which nine of ten placements are, of configurations that were held out of the fit."""


def array_fmax(config: AcceleratorConfig[Any], luts: int, speed_grade: int) -> float:
    """Highest clock of a design that one placement reaches, MHz.

    Parameters
    ----------
    luts : of the whole design, as :func:`~.ecp5_luts.array_luts` has them
    speed_grade : one of :data:`SPEED`
    """
    period = sum(NS[what] * n for what, n in terms(config, luts).items())
    return 1e3 / (SPEED[speed_grade] * period)


def terms(config: AcceleratorConfig[Any], luts: int) -> dict[str, float]:
    """Once; whether weights are selected among block RAMs; LUTs along a side of the design."""
    selected = any(each.selected_bits and each.block_rams for each in weight_cells(config))
    return {"once": 1, "selection": int(selected), "side": sqrt(luts)}
