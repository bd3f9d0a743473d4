"""Layers as tasks that find room on the chip in turn: strips of rows, some of the channels.

A task may go through several layers. What these hand on then lies on the chip alone, and rows that
two strips need are computed twice.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Any

from ..contract import AcceleratorConfig
from ..contract.descriptor import Descriptor, Operation
from ..contract.latencies import between
from ..network import Network
from .areas import Area, Block, Part, Task, room_of
from .cycles import predict
from .external import Pace
from .layer_plans import LayerPlan
from .memory import plane_pitch
from .step import Step
from .strips import Strip, cut, row_unit, takes_channels, takes_strips

__all__ = ["Cutter"]

HEIGHTS = 2
"""Heights of strips that are tried: the highest, and each half of the one before."""
MANY = 16
"""Strips of which the first and the last are so little that no smaller ones are tried."""
# Steps of a plan, each with its number, or some of the channels of one.
Group = list[tuple[int, Step]]


def _even(units: int) -> set[int]:
    """Sizes of parts that are about equal, of 1, 2 and more parts."""
    return {-(-units // count) for count in range(1, units + 1)}


@dataclass(frozen=True, kw_only=True)
class Cutter:
    """What layers are cut with.

    Members
    -------
    outside : whether a tensor lies in external memory
    together : tasks that share the room at most; with one, nothing is moved while it is computed
    weights : items that weights may take to be kept on the chip
    known : blocks that were cut before
    """

    network: Network
    plans: Sequence[LayerPlan]
    config: AcceleratorConfig
    batch: int
    outside: Callable[[str], bool]
    together: int = 1
    weights: int = 0
    known: dict[Any, Block | None] = field(default_factory=dict)

    @property
    def lanes(self) -> int:
        """Pixels of a word."""
        return self.config.engine.lanes

    def pitch(self, name: str) -> int:
        """Words of a channel of a tensor."""
        return plane_pitch(self.network.tensor(name).shape, self.batch, self.lanes)

    def least(self, index: int, enough: int = 0) -> int:
        """Words of the largest of the smallest tasks that a layer can be cut in.

        Those of the whole layer where they are at most `enough`.
        """
        whole = self._whole(index)
        if not whole.areas:
            return 0
        if whole.words <= enough:
            return whole.words
        found = [whole.words]
        height = self.heights(index)[-1]
        ranges = self._telling(index, height)
        for groups in (ways := self._together(index))[:1] + ways[-1:]:
            # Of equal groups one tells as much as all of them.
            unlike = {_channel_counts(group, self.config): group for group in groups}.values()
            tasks = [self._strip((index,), each, group) for group in unlike for each in ranges]
            found.append(room_of(tasks, 1))
        return min(found)

    def _telling(self, index: int, height: int) -> list[tuple[int, int]]:
        """Pixels of strips among which are the largest: the first, the last, and in the middle as
        many as there are places within a row where one begins."""
        total = self._pixels(index)
        count = -(-total // height)
        d = self.plans[index].steps[0].descriptor
        period = d.out_w * d.batch // gcd(d.out_w * d.batch, height)
        first = max(count // 2 - period // 2, 0)
        numbers = {0, count - 1, *range(first, min(first + period, count))}
        return [(n * height, min((n + 1) * height, total)) for n in sorted(numbers)]

    def block(self, layers: tuple[int, ...], room: int) -> Block | None:
        """The tasks of layers that are done soonest; None if none find room.

        Parameters
        ----------
        layers : one, or several that tasks go through
        room : words that there are for tasks
        """
        plans = [self.plans[number] for number in layers]
        names = (n for p in plans for n in (*p.layer.inputs, p.addend, p.layer.output))
        key = layers, room, tuple(name is not None and self.outside(name) for name in names)
        if key not in self.known:
            made = self._layer(layers[0], room) if len(layers) == 1 else self._run(layers, room)
            self.known[key] = made
        return self.known[key]

    def _layer(self, index: int, room: int) -> Block | None:
        """The same of one layer."""
        whole = self._whole(index)
        found = []
        if whole.words <= room:
            found.append(self._block((index,), [whole], False, 1))
            if not whole.areas:
                return found[0]
        for share in range(1, self.together + 1):
            for groups in self._together(index):
                for height, tasks in self._high((index,), groups[0], room, share):
                    for group in groups[1:]:
                        tasks += self._rows((index,), height, group)
                    if room_of(tasks, share) > room:
                        continue
                    kept = all(map(self._keeps, groups))
                    found.append(self._block((index,), tasks, kept, share))
        return min(found, key=lambda each: each.cost, default=None)

    def _run(self, layers: tuple[int, ...], room: int) -> Block | None:
        """The same of several layers, of whose outputs the last one alone is stored."""
        if not self._keeps([own for number in layers for own in self._steps(number)]):
            return None
        found = []
        for share in range(1, self.together + 1):
            found += [
                self._block(layers, tasks, True, share)
                for _, tasks in self._high(layers, None, room, share)
            ]
        return min(found, key=lambda each: each.cost, default=None)

    def _steps(self, index: int) -> Group:
        return list(enumerate(self.plans[index].steps))

    def _keeps(self, group: Group) -> bool:
        """Whether the weights of some steps find room at a time."""
        return sum(step.descriptor.weight_count for _, step in group) <= self.weights

    def heights(self, index: int) -> list[int]:
        """Pixels of strips that end with a word, the most first: rows, or less than the fewest of
        which the last one ends with a word."""
        plan = self.plans[index]
        d = plan.steps[0].descriptor
        if not takes_strips(plan.layer, d):
            return [self._pixels(index)]
        rows, width = self.network.tensor(plan.layer.output).shape[1], d.out_w * d.batch
        unit = row_unit(d, self.lanes)
        even = _even(-(-rows // unit))
        found = {min(each * unit, rows) * width for each in even}
        if d.batch == 1:
            words = -(-rows * width // self.lanes)
            found |= {each * self.lanes for each in _even(words) if each < words}
        return sorted(found, reverse=True)

    def _together(self, index: int) -> list[list[Group]]:
        """Steps of which strips are made together: all of them, or some at a time.

        Layers that work on each channel apart have as many steps as one likes.
        """
        steps = self._steps(index)
        d = steps[0][1].descriptor
        if not takes_channels(self.plans[index].layer, d):
            return []
        if len(steps) == 1 and d.op != Operation.CONV:
            counts = {-(-d.in_channels // (1 << n)) for n in range(7)}
            ways = sorted(counts, reverse=True)
            return [[[(0, each)] for each in _some(steps[0][1], n)] for n in ways]
        sizes = dict.fromkeys(-(-len(steps) // n) for n in range(1, len(steps) + 1))
        return [[steps[n : n + size] for n in range(0, len(steps), size)] for size in sizes]

    def _high(
        self, layers: tuple[int, ...], group: Group | None, room: int, share: int
    ) -> Iterator[tuple[int, list[Task]]]:
        """Height and tasks of the highest strips of which so many find room at a time, and of some
        half as high and less: of these the first begin sooner and the last end sooner."""
        total = self._pixels(layers[-1])
        found, most = 0, total
        for height in self.heights(layers[-1]):
            if height > most:
                continue
            if found and total > MANY * height:
                return
            # One that borders on none of the map's ends is the largest.
            within = total // height // 2 * height
            largest = self._strip(layers, (within, min(within + height, total)), group)
            if room_of([largest], share) > room:
                continue
            tasks = list(self._rows(layers, height, group))
            if room_of(tasks, share) <= room:
                yield height, tasks
                found, most = found + 1, height // 2
                if found == HEIGHTS:
                    return

    def _whole(self, index: int) -> Task:
        """Task of all of a layer."""
        steps = enumerate(self.plans[index].steps)
        strips = [(number, step, self._whole_maps(index, step)) for number, step in steps]
        return self._task([self._parts(index, strips)])

    def _whole_maps(self, index: int, step: Step) -> Strip:
        """Strip of whole maps."""
        layer = self.plans[index].layer
        reads, writes = self.pitch(layer.inputs[0]), self.pitch(layer.output)
        height = self.network.tensor(layer.inputs[0]).shape[1]
        return Strip(step.descriptor, (0, height), (0, reads), (0, writes))

    def _cut(
        self, index: int, step: Step, pixels: tuple[int, int], *, source: bool, target: bool
    ) -> Strip:
        """Strip of some pixels of a layer's output."""
        d = step.descriptor
        if not takes_strips(self.plans[index].layer, d):
            return self._whole_maps(index, step)
        return cut(d, *pixels, self.lanes, source=source, target=target)

    def _rows(self, layers: tuple[int, ...], height: int, group: Group | None) -> Iterator[Task]:
        """Tasks of so many pixels of the last layer's output each."""
        total = self._pixels(layers[-1])
        for first in range(0, total, height):
            yield self._strip(layers, (first, min(first + height, total)), group)

    def _pixels(self, index: int) -> int:
        """Of a plane of a layer's output."""
        d = self.plans[index].steps[0].descriptor
        return self.network.tensor(self.plans[index].layer.output).shape[1] * d.out_w * d.batch

    def _strip(self, layers: tuple[int, ...], pixels: tuple[int, int], group: Group | None) -> Task:
        """Task of some pixels of the last layer's output.

        Parameters
        ----------
        group : steps of a single layer, None for all of all layers
        """
        made = []
        for place, index in reversed(list(enumerate(layers))):
            steps = self._steps(index) if group is None else group
            ends = {"source": place == 0, "target": place == len(layers) - 1}
            strips = [(*own, self._cut(index, own[1], pixels, **ends)) for own in steps]
            if place:
                before = self.plans[layers[place - 1]].steps[0].descriptor
                width = before.out_w * before.batch
                first, last = strips[0][2].rows
                pixels = first * width, last * width
            made.append(self._parts(index, strips, **ends))
        return self._task(made[::-1])

    def _task(self, made: list[list[Part]]) -> Task:
        last = made[-1][0]
        added = last.inputs[-1] if self.plans[last.layer].addend is not None else None
        return Task(tuple(part for parts in made for part in parts), added)

    def _parts(
        self,
        index: int,
        strips: Sequence[tuple[int, Step, Strip]],
        *,
        source: bool = True,
        target: bool = True,
    ) -> list[Part]:
        """Parts of a layer in a task.

        Parameters
        ----------
        source, target : as :func:`.strips.cut` takes them
        """
        plan, strip = self.plans[index], strips[0][2]
        reads, inputs, writes, outputs = 0, None, 0, None
        if takes_channels(plan.layer, plan.steps[0].descriptor):
            steps = [step for _, step, _ in strips]
            reads, writes = min(s.reads for s in steps), min(s.writes for s in steps)
            inputs = max(s.reads + s.descriptor.in_channels for s in steps) - reads
            ends = (s.writes + _channels(s.descriptor, self.config) for s in steps)
            outputs = max(ends) - writes
        first, *others = plan.layer.inputs
        areas = [self._area(first, strip.reads, reads, inputs, source)]
        areas += [self._area(name, strip.reads, reads, inputs, True) for name in others]
        if plan.addend is not None:
            areas.append(self._area(plan.addend, strip.writes, writes, outputs, True))
        output = self._area(plan.layer.output, strip.writes, writes, outputs, target)
        return [
            Part(index, number, step, each, tuple(areas), output) for number, step, each in strips
        ]

    def _area(
        self, name: str, words: tuple[int, int], first: int, channels: int | None, moved: bool
    ) -> Area | None:
        if moved and not self.outside(name):
            return None
        if channels is None:
            channels = self.network.tensor(name).shape[0]
        return Area(name, first, channels, words, self.pitch(name), moved)

    def _block(
        self, layers: tuple[int, ...], tasks: Sequence[Task], kept: bool, share: int
    ) -> Block:
        """Block with its cycles, as if nothing of the blocks before it were under way."""
        config = self.config
        run = _Run(config, [part for task in tasks for part in task.parts], kept)
        number = 0
        for task in tasks[:share]:
            run.load(task)
        for index, task in enumerate(tasks):
            # What is loaded next takes the place of what this task has read, once it has.
            read = max(
                (end for area, (_, end) in task.areas.items() if _loaded(task, area)), default=0
            )
            writes = task.areas.get(task.output, (0, 0))[0] if task.output is not None else 0
            for place in range(len(task.parts)):
                if place == writes and index >= share:
                    run.written_over(index - share)
                run.compute(number, index)
                number += 1
                if place + 1 == len(task.parts):
                    run.store(task)
                if place == read and index + share < len(tasks):
                    run.load(tasks[index + share])
        return Block(layers, tuple(tasks), kept, max(run.computed, run.moved))


class _Run:
    """Moves in their order beside parts in theirs, in cycles from the first one on.

    A move begins when the parts before it have ended, and a part when its rows and weights have
    come. Weights come a part ahead where there is room for them.

    Parameters
    ----------
    parts : of all tasks
    kept : whether weights stay until the last part, else until that of another step
    """

    def __init__(self, config: AcceleratorConfig, parts: Sequence[Part], kept: bool) -> None:
        self.config, self.pace, self.parts, self.kept = config, Pace.of(config), parts, kept
        self.computed = self.moved = 0
        self.loaded: list[int] = []
        self.stored: list[int] = []
        self.weights: list[int] = []
        self.steps: dict[tuple[int, int], int] = {}

    def load(self, task: Task) -> None:
        """Load what a task reads."""
        for area in task.areas:
            if _loaded(task, area):
                self._move(*area.rows(self.config.activation_item_words))
        self.loaded.append(self.moved)

    def store(self, task: Task) -> None:
        """Store what a task has made."""
        if task.output is not None and task.output.moved:
            self._move(*task.output.rows(self.config.activation_item_words))
            self.stored.append(self.moved)
        else:
            self.stored.append(0)

    def written_over(self, task: int) -> None:
        """Wait until what a task has made is stored."""
        self.computed = max(self.computed, self.stored[task])

    def compute(self, number: int, task: int) -> None:
        """Compute a part of a task once all is there."""
        part = self.parts[number]
        ahead = self.parts[number : number + 2]
        items = sum(each.step.descriptor.weight_count for each in ahead)
        self._weights(number + (items <= self.config.memory.weight_words))
        begin = max(self.computed, self.loaded[task], self.weights[number])
        self.computed = begin + predict(part.strip.descriptor, self.config) + between(self.config)

    def _weights(self, last: int) -> None:
        """Load the weights of parts up to one that are not there."""
        for part in self.parts[len(self.weights) : last + 1]:
            items, key = part.step.descriptor.weight_count, (part.layer, part.number)
            if items and key not in self.steps:
                self._move(1, items * self.config.engine.weight_item_words, 0)
                if not self.kept:
                    self.steps.clear()
                self.steps[key] = self.moved
            self.weights.append(self.steps.get(key, 0))

    def _move(self, rows: int, length: int, pitch: int) -> None:
        self.computed += between(self.config)
        idle = self.pace.burst if self.moved < self.computed else 0
        self.moved = max(self.moved, self.computed) + self.pace.move(rows, length, pitch) + idle


def _loaded(task: Task, area: Area) -> bool:
    """Whether a task's area comes from external memory."""
    return area.moved and area != task.output


def _some(step: Step, count: int) -> Iterator[Step]:
    """Steps of some channels each, of one of channels that nothing connects."""
    d = step.descriptor
    for first in range(0, d.in_channels, count):
        yield Step(
            descriptor=d.but(in_channels=min(count, d.in_channels - first)),
            reads=step.reads + first,
            writes=step.writes + first,
            # Two operands have one parameter for all channels.
            item=step.item + (0 if Operation(d.op).joins else first),
        )


def _channel_counts(group: Group, config: AcceleratorConfig) -> tuple[tuple[int, ...], ...]:
    """What decides how much the tasks of some steps take."""
    (_, begin), *_ = group
    return tuple(
        (step.reads - begin.reads, step.writes - begin.writes, step.descriptor.in_channels,
         _channels(step.descriptor, config))
        for _, step in group
    )  # fmt: skip


def _channels(d: Descriptor, config: AcceleratorConfig) -> int:
    """Output channels of a descriptor."""
    if d.op != Operation.CONV:
        return d.in_channels
    return (d.passes - 1) * config.engine.columns + d.last_columns
