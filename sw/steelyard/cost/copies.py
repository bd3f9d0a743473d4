"""Copies of layers' crossbars: which give the most images a second in an area."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .pipeline import Copies, Pipeline, Schedule

__all__ = ["Choice", "Design", "Work", "frontier", "most_images", "one_copy"]


@dataclass(frozen=True)
class Choice:
    """Copies of a layer.

    Members
    -------
    copies : with the time of their rounds
    area : of all of them
    shared : whether they share one index
    """

    copies: Copies
    area: float
    shared: bool = False


@dataclass(frozen=True, eq=False)
class Work:
    """What a layer's copies take.

    Copies with an index each go on by themselves, and a pixel takes its mean time. Copies that
    share an index do the same steps at a time: a round takes as long as its slowest pixel. Times
    are integers of one unit.

    Members
    -------
    mean : time of a pixel, 0 if crossbars have nothing to do
    pixels : time of each output pixel of some images in the slowest crossbar, integers (images,
        pixels)
    crossbars : area of a copy without its index
    index : area of an index
    share_index : whether copies may share one
    """

    mean: int
    pixels: NDArray[np.int64]
    crossbars: float
    index: float
    share_index: bool = True
    _known: dict[int, int] = field(default_factory=dict, init=False, repr=False)
    """Mean times of rounds in step that were asked for before."""

    def one(self) -> Choice:
        """A single copy."""
        return Choice(Copies(1, self.mean), self.crossbars + self.index)

    def below(self, limit: int) -> Choice | None:
        """Copies of the least area that are over with an image before a limit, if any are.

        Of equal areas those with an index each.
        """
        rounds = (limit - 1) // self.mean
        if not rounds:
            return None
        count = -(-self.pixels.shape[1] // rounds)
        best = Choice(Copies(count, self.mean), count * (self.crossbars + self.index))
        # Rounds in step are no shorter than the mean, so there are at least as many copies.
        while self.share_index and (area := count * self.crossbars + self.index) < best.area:
            own = Copies(count, self.in_step(count))
            if -(-self.pixels.shape[1] // count) * own.time < limit:
                return Choice(own, area, shared=True)
            count += 1
        return best

    def in_step(self, count: int) -> int:
        """Mean time of a round of so many copies that share an index."""
        if count not in self._known:
            begins = np.arange(0, self.pixels.shape[1], count)
            total = int(np.maximum.reduceat(self.pixels, begins, axis=1).sum())
            self._known[count] = max(self.mean, -(-total // (len(begins) * len(self.pixels))))
        return self._known[count]


@dataclass(frozen=True, eq=False)
class Design:
    """Copies of each layer, and what they reach.

    Members
    -------
    choices : of each layer with crossbars, by name
    schedule : of the pipeline with them
    area : of copies and buffers
    """

    choices: dict[str, Choice]
    schedule: Schedule
    area: float


def frontier(pipeline: Pipeline, works: Mapping[str, Work]) -> Iterator[dict[str, Choice]]:
    """Copies of each layer, beginning with one, every step faster than the one before.

    A step gives every layer whose rounds take the longest the copies of the least area that are
    faster. So no layer could have less area and the pipeline be faster than the step before: a
    layer's rounds know nothing of other layers, and copies that were chosen for a longer limit, but
    are faster than this one, have the least area for this one too. Hence of all copies that fit an
    area the fastest are as fast as some of those that are yielded.
    """
    choices = {name: work.one() for name, work in works.items()}
    while True:
        yield dict(choices)
        interval = pipeline.interval(_copies(choices))
        if not interval:
            return
        for stage in pipeline.stages:
            own = choices.get(stage.name)
            if own is not None and stage.busy(own.copies) == interval:
                faster = works[stage.name].below(interval)
                if faster is None:
                    return
                choices[stage.name] = faster


def one_copy(pipeline: Pipeline, works: Mapping[str, Work], byte: float) -> Design:
    """Pipeline without copies; parameters as of :func:`most_images`."""
    return _design(pipeline, next(frontier(pipeline, works)), byte)


def most_images(
    pipeline: Pipeline, works: Mapping[str, Work], byte: float, budget: float
) -> Design | None:
    """Copies with the most images a second, None if one copy of each layer takes more.

    Of :func:`frontier` the fastest copies that fit together with the buffers of their schedule.
    Buffers have no part in the proof there: they are counted, not optimized.

    Parameters
    ----------
    works : of each layer with crossbars, by name
    byte : area of a byte of a buffer
    budget : area of all copies and buffers
    """
    working = {name for name, work in works.items() if work.mean}
    least = pipeline.least_bytes(working) * byte
    tried = []
    for choices in frontier(pipeline, works):
        if _area(choices) + least > budget:
            break
        tried.append(choices)
    for choices in reversed(tried):
        found = _design(pipeline, choices, byte)
        if found.area <= budget:
            return found
    return None


def _design(pipeline: Pipeline, choices: dict[str, Choice], byte: float) -> Design:
    schedule = pipeline.schedule(_copies(choices))
    return Design(choices, schedule, _area(choices) + byte * schedule.bytes)


def _copies(choices: Mapping[str, Choice]) -> dict[str, Copies]:
    return {name: own.copies for name, own in choices.items()}


def _area(choices: Mapping[str, Choice]) -> float:
    return sum(own.area for own in choices.values())
