"""Layers as a pipeline: when each computes its rows, how long an image takes, which rows wait.

A layer with crossbars computes its output pixels row by row, as many at a time as it has copies: a
*round*. A round begins when the rows are there that the windows of its pixels read, and the round
before is over. All other layers take no time, as in the rest of the cost model. Every image goes
the same way, an *interval* after the one before it. Times are integers of any one unit, so that
nothing is rounded.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..network import Layer, Network
from ..network.kinds import Concat, Slice

__all__ = ["Copies", "Pipeline", "Schedule", "Stage", "pipeline_of"]

Times = NDArray[np.int64]


@dataclass(frozen=True)
class Copies:
    """Copies of a layer's crossbars.

    Members
    -------
    count : output pixels that they compute at a time
    time : of a round
    """

    count: int
    time: int


_NONE = Copies(1, 0)
"""Of a layer that has nothing to do in crossbars."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A layer of the pipeline.

    Members
    -------
    size : rows and columns of the output
    reads : of each input the first row that an output row reads and the last, exclusive, int64
        (inputs, rows, 2); neither falls
    in_place : whether its output stands where its inputs stood, so that it needs no room
    """

    name: str
    inputs: tuple[str, ...]
    output: str
    size: tuple[int, int]
    reads: NDArray[np.int64]
    in_place: bool

    @property
    def pixels(self) -> int:
        """Output pixels of an image."""
        return self.size[0] * self.size[1]

    def busy(self, copies: Copies) -> int:
        """Time of all rounds of an image."""
        return -(-self.pixels // copies.count) * copies.time


@dataclass(frozen=True, eq=False)
class Schedule:
    """When the stages work on an image.

    Members
    -------
    interval : time from an image to the next
    latency : time from an image's first row at the first stage to its last result
    starts : of the rounds of each stage, int64 (rounds,), by name
    waiting : most bytes of each tensor that wait at a time to be read, by name
    """

    interval: int
    latency: int
    starts: dict[str, Times]
    waiting: dict[str, int]

    @property
    def bytes(self) -> int:
        """Bytes of all buffers."""
        return sum(self.waiting.values())


class _Rounds:
    """Rounds of a stage."""

    def __init__(self, stage: Stage, copies: Copies) -> None:
        height, width = stage.size
        self.time = copies.time
        # What takes no time passes on a row at a time.
        each = copies.count if self.time else width
        self.count = -(-height * width // each)
        ends = np.minimum(np.arange(1, self.count + 1) * each, height * width)
        self.row = (ends - 1) // width
        """Last row that a round works on."""
        begins = np.arange(height) * width
        self.first = begins // each
        """Round that begins a row."""
        self.last = (begins + width - 1) // each
        """Round that completes a row."""


@dataclass(frozen=True, eq=False)
class Pipeline:
    """Layers of a network.

    Members
    -------
    stages : in the network's order
    tensors : rows, and bytes of a row, of each tensor by name
    source : tensor that comes from outside, each row when it is first read
    """

    stages: tuple[Stage, ...]
    tensors: Mapping[str, tuple[int, int]]
    source: str

    def interval(self, copies: Mapping[str, Copies]) -> int:
        """Least time from an image to the next: that of the stage with the longest rounds in all.

        Images wait for nothing else, since what a stage waits for is always another stage's work on
        the same image.
        """
        return max((stage.busy(copies.get(stage.name, _NONE)) for stage in self.stages), default=0)

    def least_bytes(self, working: Container[str]) -> int:
        """Bytes that buffers hold at least, whatever the copies: the rows of one window of each
        layer that has something to do in crossbars, by name."""
        rows = dict.fromkeys(self.tensors, 0)
        for stage in reversed(self.stages):
            # What stands in place stands in its inputs.
            passed = rows[stage.output] if stage.in_place else 0
            rows[stage.output] -= passed
            for name, reads in zip(stage.inputs, stage.reads, strict=True):
                read = int((reads[:, 1] - reads[:, 0]).max()) if stage.name in working else 0
                rows[name] = max(rows[name], read, passed)
        return sum(many * self.tensors[name][1] for name, many in rows.items())

    def schedule(self, copies: Mapping[str, Copies]) -> Schedule:
        """Stages at work on several images at a time, with the least interval.

        Of all such schedules the results come the earliest, and every stage with crossbars works as
        late as that allows, so that few rows wait; other layers work as soon as they can. Each
        tensor has a buffer of its own.

        Parameters
        ----------
        copies : of each layer with crossbars, by name
        """
        interval = self.interval(copies)
        rounds = self._rounds(copies)
        latency = self._earliest(rounds, interval)
        starts, entries = self._latest(rounds, interval, latency)
        begins, ends = self._held(rounds, starts, entries)
        waiting = {
            name: each * _most([(begins[name], ends[name], 1)], interval)
            for name, (_, each) in self.tensors.items()
        }
        return Schedule(interval, latency, starts, waiting)

    def in_turn(self, copies: Mapping[str, Copies]) -> Schedule:
        """One layer at a time: all share one memory, whose rows are free again as soon as nothing
        reads them any more; parameters as of :meth:`schedule`."""
        rounds = self._rounds(copies)
        there = {self.source: np.zeros(self.tensors[self.source][0], np.int64)}
        starts: dict[str, Times] = {}
        over = 0
        for stage in self.stages:
            own = rounds[stage.name]
            need = _needed(stage, own, there)
            if own.time:
                need[0] = max(need[0], over)
            starts[stage.name] = _after(need, own.time)
            finished = starts[stage.name] + own.time
            there[stage.output] = finished[own.last]
            if own.time:
                over = int(finished[-1])
        entries = np.full_like(there[self.source], over)
        for stage in self.stages:
            _ask(stage, rounds[stage.name], starts[stage.name], {self.source: entries})
        begins, ends = self._held(rounds, starts, entries)
        held = [(begins[name], ends[name], each) for name, (_, each) in self.tensors.items()]
        return Schedule(over, over, starts, {"all": _most(held, over)})

    def _rounds(self, copies: Mapping[str, Copies]) -> dict[str, _Rounds]:
        return {stage.name: _Rounds(stage, copies.get(stage.name, _NONE)) for stage in self.stages}

    def _earliest(self, rounds: Mapping[str, _Rounds], interval: int) -> int:
        """Latency of the earliest schedule in which every image goes the same way."""
        there = {self.source: np.zeros(self.tensors[self.source][0], np.int64)}
        for stage in self.stages:
            own = rounds[stage.name]
            need = _needed(stage, own, there)
            starts = _after(need, own.time)
            # The stage must be over with an image when it begins the next one.
            need[0] = max(need[0], starts[-1] + own.time - interval if own.time else 0)
            there[stage.output] = (_after(need, own.time) + own.time)[own.last]
        return max(int(rows.max()) for rows in there.values())

    def _latest(
        self, rounds: Mapping[str, _Rounds], interval: int, latency: int
    ) -> tuple[dict[str, Times], Times]:
        """Starts of all rounds, and when the rows of the source come."""
        due = {name: np.full(rows, latency, np.int64) for name, (rows, _) in self.tensors.items()}
        starts: dict[str, Times] = {}
        for stage in reversed(self.stages):
            own = rounds[stage.name]
            limit = np.full(own.count, latency, np.int64)
            np.minimum.at(limit, own.last, due[stage.output])
            found = _before(limit, own.time)
            if own.time:
                limit[-1] = min(limit[-1], found[0] + interval)
                found = _before(limit, own.time)
            starts[stage.name] = found
            _ask(stage, own, found, due)
        there = {self.source: due[self.source]}
        for stage in self.stages:
            own = rounds[stage.name]
            if not own.time:
                starts[stage.name] = _after(_needed(stage, own, there), 0)
            there[stage.output] = (starts[stage.name] + own.time)[own.last]
        return starts, due[self.source]

    def _held(
        self, rounds: Mapping[str, _Rounds], starts: Mapping[str, Times], entries: Times
    ) -> tuple[dict[str, Times], dict[str, Times]]:
        """When the rows of each tensor take room, and when they are read for the last time."""
        begins = {self.source: entries}
        for stage in self.stages:
            begins[stage.output] = starts[stage.name][rounds[stage.name].first]
        ends = {name: own.copy() for name, own in begins.items()}
        for stage in reversed(self.stages):
            done = (starts[stage.name] + rounds[stage.name].time)[rounds[stage.name].last]
            if stage.in_place:
                done = np.maximum(done, ends[stage.output])
                ends[stage.output] = begins[stage.output]
            for name, reads in zip(stage.inputs, stage.reads, strict=True):
                rows = np.arange(len(ends[name]))
                last = np.searchsorted(reads[:, 0], rows, side="right") - 1
                read = (last >= 0) & (reads[np.maximum(last, 0), 1] > rows)
                ends[name][read] = np.maximum(ends[name][read], done[last[read]])
        return begins, ends


def pipeline_of(network: Network) -> Pipeline:
    """Pipeline of a network."""
    stages = tuple(_stage(network, layer) for layer in network.layers)
    tensors = {
        name: (tensor.shape[1], tensor.shape[0] * tensor.shape[2])
        for name, tensor in network.tensors.items()
    }
    return Pipeline(stages, tensors, network.input)


def _stage(network: Network, layer: Layer) -> Stage:
    rows, columns = network.tensor(layer.output).shape[1:]
    reads = []
    for x in network.inputs_of(layer):
        read = [layer.rows_read(row, x.shape[1]) for row in range(rows)]
        reads.append([(own.start, own.stop) for own in read])
    return Stage(
        layer.name,
        layer.inputs,
        layer.output,
        (rows, columns),
        np.array(reads, np.int64),
        _in_place(network, layer),
    )


def _in_place(network: Network, layer: Layer) -> bool:
    """Whether the output can stand where the inputs stand.

    Channels that are joined or parted stay where they are, and so do elements that take the places
    of those they are made of, if nothing else reads these.
    """
    if isinstance(layer, Concat | Slice):
        return True
    readers = sum(each.inputs.count(layer.inputs[0]) for each in network.layers)
    alone = len(layer.inputs) == readers == 1 and layer.inputs[0] not in network.outputs
    return layer.elementwise and alone


def _needed(stage: Stage, rounds: _Rounds, there: Mapping[str, Times]) -> Times:
    """When all rows are there that each round reads."""
    need = np.zeros(rounds.count, np.int64)
    for name, reads in zip(stage.inputs, stage.reads, strict=True):
        last = reads[rounds.row, 1] - 1
        np.maximum(need, np.where(last >= 0, there[name][last], 0), out=need)
    return need


def _ask(stage: Stage, rounds: _Rounds, starts: Times, due: Mapping[str, Times]) -> None:
    """Make the rows of the inputs due when the first round that reads them starts."""
    for name, reads in zip(stage.inputs, stage.reads, strict=True):
        if name in due:
            rows = np.arange(len(due[name]))
            first = np.searchsorted(reads[rounds.row, 1], rows, side="right")
            asked = first < rounds.count
            due[name][asked] = np.minimum(due[name][asked], starts[first[asked]])


def _after(need: Times, time: int) -> Times:
    """Earliest starts of rounds that follow each other and have what they need."""
    steps = time * np.arange(len(need))
    return steps + np.maximum.accumulate(need - steps)


def _before(limit: Times, time: int) -> Times:
    """Latest starts of rounds that follow each other and are over by their limits."""
    steps = time * np.arange(len(limit))
    return steps + np.minimum.accumulate((limit - steps)[::-1])[::-1] - time


def _most(held: Iterable[tuple[Times, Times, int]], interval: int) -> int:
    """Most that is held at a time, of things with a begin, an end and a weight, for each image.

    Images come an interval after each other for ever.
    """
    times: list[Times] = []
    changes: list[Times] = []
    base = 0
    for begins, ends, weight in held:
        if not interval:
            continue
        whole, rest = np.divmod(ends - begins, interval)
        base += int(whole.sum()) * weight
        first = (begins % interval)[rest > 0]
        last = first + rest[rest > 0]
        base += int((last > interval).sum()) * weight
        times += [first, np.where(last > interval, last - interval, last)]
        changes += [np.full(len(first), weight), np.full(len(first), -weight)]
    if not times:
        return base
    time, change = np.concatenate(times), np.concatenate(changes)
    # What ends makes room for what begins at the same time.
    order = np.lexsort((change, time))
    return base + max(0, int(np.cumsum(change[order]).max(initial=0)))
