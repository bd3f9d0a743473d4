"""Images a second of a mapped network whose layers work as a pipeline, with copies for an area."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cost import (
    Design,
    NetworkCost,
    Pipeline,
    constant_set,
    most_images,
    one_copy,
    pipeline_of,
    price,
)
from ..engines.crossbar import activity, map_network, most_activity
from ..errors import UserError
from ..network import Network, golden
from .crossbars import MILLION, Comparison

__all__ = ["Plan", "Throughput", "throughput"]

TICKS = 1e6
"""Ticks of a pipeline's schedule in a nanosecond: a pixel's mean time is rounded to them."""
GIGA = 1e9
"""Nanoseconds in a second."""


@dataclass(frozen=True, eq=False)
class Plan:
    """Crossbars of a network, and what they reach.

    Members
    -------
    cost : of all images, with one copy of each layer and without buffers
    design : copies, schedule and area with buffers
    byte : area of a byte of a buffer, um2
    images : that `cost` is of
    """

    cost: NetworkCost
    design: Design
    byte: float
    images: int

    @property
    def images_per_second(self) -> float:
        """Infinite where crossbars have nothing to do."""
        interval = self.design.schedule.interval
        return GIGA * TICKS / interval if interval else float("inf")

    @property
    def latency_ms(self) -> float:
        """From an image's first row to its last result."""
        return self.design.schedule.latency / TICKS / MILLION

    @property
    def crossbars(self) -> int:
        """Crossbars of all copies."""
        layers = self.cost.mapping.layers.items()
        extra = sum((self.design.copies.get(name, 1) - 1) * own.crossbars for name, own in layers)
        return self.cost.mapping.crossbars + extra

    def document(self) -> dict[str, Any]:
        """All figures, as JSON holds them."""
        layers, copies = self.cost.mapping.layers.items(), self.design.copies
        speed, buffered = self.images_per_second, self.design.schedule.bytes
        return {
            "images_per_second": speed if np.isfinite(speed) else None,
            "latency_ms": self.latency_ms,
            "area_um2": self.design.area,
            "buffer_um2": self.byte * buffered,
            "buffer_bytes": buffered,
            "crossbars": self.crossbars,
            "programmed_cells": sum(own.cells * copies.get(name, 1) for name, own in layers),
            "energy_uj": self.cost.total.total_energy / self.images / MILLION,
            "copies": copies,
            "waiting_bytes": self.design.schedule.waiting,
        }


@dataclass(frozen=True, eq=False)
class Throughput:
    """A mapping and the traditional one, one layer at a time and as pipelines, for equal areas.

    Members
    -------
    in_turn : one layer at a time, layers sharing crossbars; both mappings
    pipelined : all layers at work, without copies, each in crossbars of its own; both mappings
    unit : area of the traditional pipeline without copies, um2, which budgets are multiples of
    budgets : plans of both mappings by budget, None where one copy of each layer takes more
    """

    in_turn: tuple[Plan, Plan]
    pipelined: tuple[Plan, Plan]
    unit: float
    budgets: Mapping[float, tuple[Plan | None, Plan | None]]

    def rows(self) -> list[tuple[str, float | None, Plan | None, Plan | None]]:
        """What is planned, its budget if any, and the plans of the mapping and the traditional."""
        return [
            ("in turn", None, *self.in_turn),
            ("pipeline", None, *self.pipelined),
            *(("copies", budget, *plans) for budget, plans in self.budgets.items()),
        ]

    def check(self) -> None:
        """Refuse budgets that nothing fits.

        Raises
        ------
        UserError
            If one copy of each layer takes more in either mapping.
        """
        least = min(plan.design.area for plan in self.pipelined) / self.unit
        for budget, plans in self.budgets.items():
            if plans == (None, None):
                raise UserError(
                    f"A budget of {budget:g} holds no copy of every layer in either mapping; use "
                    f"{np.ceil(least * 1000) / 1000:g} or more."
                )

    def document(self) -> dict[str, Any]:
        """All figures, as JSON holds them."""
        return {
            "unit_um2": self.unit,
            "plans": [
                {
                    "plan": name,
                    "budget": budget,
                    "budget_um2": None if budget is None else budget * self.unit,
                    "own": None if own is None else own.document(),
                    "traditional": None if other is None else other.document(),
                }
                for name, budget, own, other in self.rows()
            ],
        }


def throughput(
    found: Comparison, budgets: Sequence[float], codes: NDArray[np.int8] | None = None
) -> dict[str, Throughput]:
    """Images a second by name of the constant set, under all sets of a comparison.

    In a pipeline every layer has crossbars of its own, since it always works; a copy of a layer is
    all its crossbars, with everything beside them and its index. A pixel takes the mean time of the
    layer's pixels in its busiest crossbar. The energy of an image is that of one copy: copies take
    the same steps, and read and write the same bytes, only elsewhere.

    Parameters
    ----------
    budgets : areas, over that of the traditional mapping as a pipeline without copies
    codes : images of the comparison, if it has any
    """
    tensors = None if codes is None else golden.run(found.network, codes, trace=True)
    shared = (found.mapping, found.traditional)
    apart = []
    for mapping in shared:
        own = map_network(found.network, mapping.config, mapping.mapping, share=False)
        works = (
            most_activity(found.network, own)
            if tensors is None
            else activity(found.network, own, tensors)
        )
        apart.append((own, works))
    made = {}
    for name, prices in found.prices.items():
        byte = 8 * constant_set(name).buffer_area.value
        costs = [price(own, works, name) for own, works in apart]
        lines = [_Line(found.network, cost, byte, found.images) for cost in costs]
        mine, other = (_Line(found.network, cost, byte, found.images).in_turn() for cost in prices)
        pipelined = (lines[0].alone(), lines[1].alone())
        unit = pipelined[1].design.area
        made[name] = Throughput(
            (mine, other),
            pipelined,
            unit,
            {each: (lines[0].within(each * unit), lines[1].within(each * unit))
             for each in budgets},
        )  # fmt: skip
    return made


@dataclass(frozen=True, eq=False)
class _Line:
    """A mapped network with what a pipeline of it costs."""

    network: Network
    cost: NetworkCost
    byte: float
    images: int

    @property
    def areas(self) -> dict[str, float]:
        return {name: own.total_area for name, own in self.cost.layers.items()}

    def pipeline(self) -> Pipeline:
        times = {
            name: round(cost.parallel_time * TICKS / self.cost.activities[name].pixels)
            for name, cost in self.cost.layers.items()
        }
        return pipeline_of(self.network, times)

    def in_turn(self) -> Plan:
        schedule = self.pipeline().in_turn()
        area = self.cost.total.total_area + self.byte * schedule.bytes
        return self._plan(Design({}, schedule, area))

    def alone(self) -> Plan:
        return self._plan(one_copy(self.pipeline(), self.areas, self.byte))

    def within(self, budget: float) -> Plan | None:
        found = most_images(self.pipeline(), self.areas, self.byte, budget)
        return None if found is None else self._plan(found)

    def _plan(self, design: Design) -> Plan:
        return Plan(self.cost, design, self.byte, self.images)
