"""Copies of layers' crossbars: which give the most images a second in an area."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .pipeline import Pipeline, Schedule

__all__ = ["Design", "frontier", "most_images", "one_copy"]


@dataclass(frozen=True, eq=False)
class Design:
    """Copies of each layer, and what they reach.

    Members
    -------
    copies : of each layer with crossbars, by name
    schedule : of the pipeline with them
    area : of copies and buffers
    """

    copies: dict[str, int]
    schedule: Schedule
    area: float


def frontier(pipeline: Pipeline) -> Iterator[dict[str, int]]:
    """Copies of each layer, beginning with one, every step faster than the one before.

    A step gives every layer with the longest rounds the fewest copies that shorten them. So no
    layer could have fewer copies and the pipeline be faster than the step before: a layer's rounds
    in all only fall with its copies, and know nothing of other layers. Copies that are as fast have
    at least as many of every layer, so whatever each layer's copy takes, the fastest that fit an
    area are among those yielded.
    """
    copies = {stage.name: 1 for stage in pipeline.working}
    while True:
        yield dict(copies)
        interval = pipeline.interval(copies)
        if not interval:
            return
        for stage in pipeline.working:
            if -(-stage.pixels // copies[stage.name]) * stage.time == interval:
                rounds = (interval - 1) // stage.time
                if not rounds:
                    return
                copies[stage.name] = -(-stage.pixels // rounds)


def one_copy(pipeline: Pipeline, areas: Mapping[str, float], byte: float) -> Design:
    """Pipeline without copies; parameters as of :func:`most_images`."""
    return _design(pipeline, next(frontier(pipeline)), areas, byte)


def most_images(
    pipeline: Pipeline, areas: Mapping[str, float], byte: float, budget: float
) -> Design | None:
    """Copies with the most images a second, None if one copy of each layer takes more.

    Of :func:`frontier` the fastest copies that fit together with the buffers of their schedule.
    Buffers have no part in the proof there: they are counted, not optimized.

    Parameters
    ----------
    areas : of one copy of each layer's crossbars, with all beside them, by name
    byte : area of a byte of a buffer
    budget : area of all copies and buffers
    """
    least = pipeline.least_bytes() * byte
    tried = []
    for copies in frontier(pipeline):
        if _area(copies, areas) + least > budget:
            break
        tried.append(copies)
    for copies in reversed(tried):
        found = _design(pipeline, copies, areas, byte)
        if found.area <= budget:
            return found
    return None


def _design(
    pipeline: Pipeline, copies: dict[str, int], areas: Mapping[str, float], byte: float
) -> Design:
    schedule = pipeline.schedule(copies)
    return Design(copies, schedule, _area(copies, areas) + byte * schedule.bytes)


def _area(copies: Mapping[str, int], areas: Mapping[str, float]) -> float:
    return sum(each * copies.get(name, 1) for name, each in areas.items())
