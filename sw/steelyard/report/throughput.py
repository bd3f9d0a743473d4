"""Images a second of a mapped network whose layers work as a pipeline, with copies for an area."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cost import (
    Design,
    NetworkCost,
    Work,
    constant_set,
    most_images,
    one_copy,
    pipeline_of,
    price,
    step_times,
)
from ..engines.crossbar import activity, map_network, most_activity, pixel_times
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
        extra = sum((self._count(name) - 1) * own.crossbars for name, own in layers)
        return self.cost.mapping.crossbars + extra

    def _count(self, name: str) -> int:
        """Copies of a layer."""
        chosen = self.design.choices.get(name)
        return 1 if chosen is None else chosen.copies.count

    def document(self) -> dict[str, Any]:
        """All figures, as JSON holds them."""
        layers, choices = self.cost.mapping.layers.items(), self.design.choices
        speed, buffered = self.images_per_second, self.design.schedule.bytes
        return {
            "images_per_second": speed if np.isfinite(speed) else None,
            "latency_ms": self.latency_ms,
            "area_um2": self.design.area,
            "buffer_um2": self.byte * buffered,
            "buffer_bytes": buffered,
            "crossbars": self.crossbars,
            "programmed_cells": sum(own.cells * self._count(name) for name, own in layers),
            "energy_uj": self.cost.total.total_energy / self.images / MILLION,
            "copies": {name: own.copies.count for name, own in choices.items()},
            "shared_index": [name for name, own in choices.items() if own.shared],
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
    found: Comparison,
    budgets: Sequence[float],
    codes: NDArray[np.int8] | None = None,
    *,
    share_index: bool = True,
) -> dict[str, Throughput]:
    """Images a second by name of the constant set, under all sets of a comparison.

    In a pipeline every layer has crossbars of its own, since it always works; a copy of a layer is
    all its crossbars, with everything beside them. Copies have an index each, and a pixel takes the
    mean time of the layer's pixels in its busiest crossbar; or they share one, and all wait for the
    slowest crossbar of the slowest pixel of their round: whichever takes less area. The energy of
    an image is that of one copy: copies take the same steps, and read and write the same bytes,
    only elsewhere.

    Parameters
    ----------
    budgets : areas, over that of the traditional mapping as a pipeline without copies
    codes : images of the comparison, if it has any
    share_index : whether copies may share an index
    """
    network, names = found.network, list(found.prices)
    tensors = None if codes is None else golden.run(network, codes, trace=True)
    lines = []
    for shared in (found.mapping, found.traditional):
        apart = map_network(network, shared.config, shared.mapping, share=False)
        times = np.array([step_times(shared.config, constant_set(name)) for name in names])
        if tensors is None:
            activities = most_activity(network, apart)
            pixels = None
        else:
            activities = activity(network, apart, tensors)
            pixels = pixel_times(network, apart, tensors, times)
        lines.append((apart, activities, pixels))
    made = {}
    for number, name in enumerate(names):
        byte = 8 * constant_set(name).buffer_area.value
        turns = [_Line(network, cost, byte, found.images).in_turn() for cost in found.prices[name]]
        mine, other = (
            _Line(
                network, price(apart, activities, name), byte, found.images,
                None if pixels is None else {own: each[number] for own, each in pixels.items()},
                share_index,
            )
            for apart, activities, pixels in lines
        )  # fmt: skip
        pipelined = (mine.alone(), other.alone())
        unit = pipelined[1].design.area
        made[name] = Throughput(
            (turns[0], turns[1]),
            pipelined,
            unit,
            {each: (mine.within(each * unit), other.within(each * unit)) for each in budgets},
        )
    return made


@dataclass(frozen=True, eq=False)
class _Line:
    """A mapped network with what a pipeline of it costs.

    Members
    -------
    times : ns of every pixel in the slowest crossbar, by layer name; the mean of all unless given
    share_index : whether copies may share an index
    """

    network: Network
    cost: NetworkCost
    byte: float
    images: int
    times: Mapping[str, NDArray[np.float64]] | None = None
    share_index: bool = True

    @cached_property
    def works(self) -> dict[str, Work]:
        """What copies of each layer take, in ticks and um2."""
        found = {}
        for name, cost in self.cost.layers.items():
            pixels = self.cost.activities[name].pixels
            mean = round(cost.parallel_time * TICKS / pixels)
            slowest = np.full((1, pixels // self.images), mean, np.int64)
            if self.times is not None:
                slowest = np.rint(self.times[name] * TICKS).astype(np.int64)
            index = cost.area["index"]
            found[name] = Work(mean, slowest, cost.total_area - index, index, self.share_index)
        return found

    def in_turn(self) -> Plan:
        """One layer at a time."""
        single = {name: work.one().copies for name, work in self.works.items()}
        schedule = pipeline_of(self.network).in_turn(single)
        area = self.cost.total.total_area + self.byte * schedule.bytes
        return self._plan(Design({}, schedule, area))

    def alone(self) -> Plan:
        """A pipeline without copies."""
        return self._plan(one_copy(pipeline_of(self.network), self.works, self.byte))

    def within(self, budget: float) -> Plan | None:
        """A pipeline with the most images a second."""
        pipeline = pipeline_of(self.network)
        found = most_images(pipeline, self.works, self.byte, budget)
        return None if found is None else self._plan(found)

    def _plan(self, design: Design) -> Plan:
        return Plan(self.cost, design, self.byte, self.images)
