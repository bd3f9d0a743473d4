"""What tasks need on the chip, and when: areas, weights and parameters, tensors that lie there."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from ..contract import AcceleratorConfig
from ..contract.descriptor import Descriptor
from ..contract.registers import Space
from .areas import Area, Part, Task, inner, side_by_side
from .external import Need
from .layer_plans import LayerPlan
from .memory import Buffer
from .outside import Division

__all__ = ["Agenda", "Entry", "Fixed", "Item"]


@dataclass
class Item:
    """An area in time.

    Members
    -------
    first, last : parts that need it
    stores : whether it goes to external memory; else it comes from there, if it is moved
    ready : part before which it cannot be loaded, for others before make it
    bases : where it may lie
    words : that are kept for it there
    within : area whose place it takes, None for none
    base : where it lies, once that is known
    needed : move that must be done before its first part
    """

    area: Area
    first: int
    last: int
    stores: bool
    ready: int
    bases: range
    words: int
    within: "Item | None" = None
    base: int = -1
    needed: int = 0

    @property
    def end(self) -> int:
        """Word behind its place."""
        return self.base + self.words


@dataclass
class Entry:
    """Weights or parameters of some parts.

    Members
    -------
    layer : that they belong to
    address : in external memory
    item : first in their memory, once they have a place
    moves : that are not issued yet; None before there is a place
    done : the last of their moves, once all are issued
    """

    need: Need
    layer: int
    address: int
    item: int = 0
    moves: list[Descriptor] | None = None
    done: int = 0


@dataclass(frozen=True)
class Fixed:
    """Tensor that lies on the chip throughout, in time."""

    low: int
    high: int
    first: int
    last: int


class Agenda:
    """Everything that is needed, in the order in which it is.

    Members
    -------
    tasks, parts : of all blocks
    task_of, owner : of each part its task's number, and the layer whose descriptors it is among
    of_task : areas of each task
    fixed : tensors that lie on the chip throughout
    queues : weights and parameters in the order of their first parts, if they are moved
    weights_of, parameters_of : of each part and of each layer; the first item if nothing is moved

    Parameters
    ----------
    root, start : of a tensor, its buffer's name and its first channel there
    moved : whether weights and parameters lie in external memory
    """

    def __init__(
        self,
        plans: Sequence[LayerPlan],
        division: Division,
        root: Callable[[str], str],
        start: Callable[[str], int],
        config: AcceleratorConfig,
        moved: bool,
    ) -> None:
        self.plans, self.config = plans, config
        self.root, self.start = root, start
        tasks = [(task, n) for n, block in enumerate(division.blocks) for task in block.tasks]
        self.tasks: list[Task] = [task for task, _ in tasks]
        self.parts: list[Part] = [part for task in self.tasks for part in task.parts]
        self.task_of = [n for n, task in enumerate(self.tasks) for _ in task.parts]
        self.owner = [division.blocks[n].layers[-1] for task, n in tasks for _ in task.parts]
        self.of_task = self._items(division, [n for _, n in tasks])
        self.fixed = self._fixed(division)
        self.queues: dict[Space, list[Entry]] = {Space.WEIGHTS: [], Space.PARAMETERS: []}
        self.weights_of: list[Entry | int] = []
        self.parameters_of: dict[int, Entry | int] = {}
        self._needs([division.blocks[n].kept for task, n in tasks for _ in task.parts], moved)

    def _items(self, division: Division, block_of: Sequence[int]) -> list[dict[Area, Item]]:
        """Areas of each task, and when those that they are loaded from are made."""
        made: dict[str, list[tuple[int, int, int, int, int]]] = {}
        rooms = zip(division.blocks, division.rooms, strict=True)
        places = [_places(b.tasks, room, n % 2 == 1) for n, (b, room) in enumerate(rooms)]
        found = []
        first = 0
        kept: dict[tuple[int, int], Item] = {}
        for task, block in zip(self.tasks, block_of, strict=True):
            own: dict[Area, Item] = {}
            spans = zip(task.areas.items(), places[block], strict=False)
            for number, ((area, (begin, end)), (bases, most)) in enumerate(spans):
                stores = area.moved and area == task.output
                known = made.setdefault(self.root(area.tensor), [])
                channel = self.start(area.tensor) + area.first
                ready = 0
                if area.moved and not stores:
                    ready = _ready(known, channel, area)
                words = area.size if area.moved else most
                item = Item(area, first + begin, first + end, stores, ready, bases, words)
                if not area.moved:
                    # One place for all tasks of a block, kept from the first to the last.
                    item.within = kept.get((block, number))
                    kept.setdefault((block, number), item).last = item.last
                if stores:
                    known.append((channel, channel + area.channels, *area.words, item.last))
                    if task.in_place and task.added is not None:
                        item.within = own[task.added]
                own[area] = item
            found.append(own)
            first += len(task.parts)
        return found

    def _fixed(self, division: Division) -> list[Fixed]:
        """Tensors on the chip, and the parts during which they are alive."""
        begins = [0, *accumulate(sum(len(t.parts) for t in b.tasks) for b in division.blocks)]

        def life(buffer: Buffer) -> tuple[int, int]:
            during = [
                n
                for n, block in enumerate(division.blocks)
                if block.layers[-1] >= buffer.first and block.layers[0] <= buffer.last
            ]
            first = begins[during[0]] if during and buffer.first >= 0 else -1
            last = begins[during[-1] + 1] - 1 if during else -1
            return first, len(self.parts) if buffer.last >= len(self.plans) else last

        return [
            Fixed(division.bases[b.name], division.bases[b.name] + b.words, *life(b))
            for b in division.buffers
        ]

    def _needs(self, kept: Sequence[bool], moved: bool) -> None:
        """Weights of each part and parameters of each layer, in the order of their first parts."""
        spans: dict[int, tuple[int, int]] = {}
        steps: dict[tuple[int, int], tuple[int, int]] = {}
        for number, part in enumerate(self.parts):
            spans[part.layer] = spans.get(part.layer, (number, 0))[0], number
            key = part.layer, part.number
            steps[key] = steps.get(key, (number, 0))[0], number
        parameters, weights, image = self._addresses(moved)
        entries: dict[tuple[int, int], Entry] = {}
        last = None
        for number, part in enumerate(self.parts):
            layer, key = part.layer, (part.layer, part.number)
            if layer not in self.parameters_of:
                items, words = len(self.plans[layer].parameters), len(self.config.parameter_bits)
                first = parameters[layer]
                self.parameters_of[layer] = (
                    self._entry(Space.PARAMETERS, items, words, spans[layer], layer, first)
                    if moved
                    else first
                )
            items, words = part.step.descriptor.weight_count, self.config.engine.weight_item_words
            if not moved or not items:
                self.weights_of.append(weights[key])
            else:
                if key not in entries or (key != last and not kept[number]):
                    span = steps[key] if kept[number] else (number, number)
                    entries[key] = self._entry(Space.WEIGHTS, items, words, span, layer, image[key])
                elif not kept[number]:
                    own = entries[key]
                    own.need = replace(own.need, last=number)
                self.weights_of.append(entries[key])
            last = key
        self._fill(self.queues[Space.WEIGHTS])

    def _fill(self, queue: Sequence[Entry]) -> None:
        """Give places to weights that are needed at a time, if these take most of their memory."""
        for group in _at_a_time(queue):
            sizes = [each.need.items for each in group]
            # Anywhere, stretches between others may be too short for one of them.
            if len(sizes) > 1 and sum(sizes) + max(sizes) > self.config.memory.weight_words:
                for entry, end in zip(group, accumulate(sizes), strict=True):
                    entry.need = replace(entry.need, place=end - entry.need.items)

    def _addresses(
        self, moved: bool
    ) -> tuple[dict[int, int], dict[tuple[int, int], int], dict[tuple[int, int], int]]:
        """First parameter of each layer, and first weight and first word of each step.

        Parameters are words of external memory if they are moved, else items of theirs.
        """
        words, item_words = len(self.config.parameter_bits), self.config.engine.weight_item_words
        parameters, weights, image = {}, {}, {}
        item = place = parameter = 0
        for layer, plan in enumerate(self.plans):
            parameters[layer] = place if moved else parameter
            parameter += len(plan.parameters)
            place += len(plan.parameters) * words * bool(plan.steps)
            for number, step in enumerate(plan.steps):
                weights[layer, number], image[layer, number] = item, place
                item += step.descriptor.weight_count
                place += step.descriptor.weight_count * item_words
        return parameters, weights, image

    def _entry(
        self,
        space: Space,
        items: int,
        words: int,
        span: tuple[int, int],
        layer: int,
        address: int,
    ) -> Entry:
        need = Need(space=space, items=items, item_words=words, first=span[0], last=span[1])
        self.queues[space].append(Entry(need, layer, address))
        return self.queues[space][-1]


def _at_a_time(queue: Sequence[Entry]) -> Iterator[list[Entry]]:
    """Entries in groups, of which none is needed any more when the next one's first is."""
    group: list[Entry] = []
    for entry in queue:
        if group and entry.need.first > max(each.need.last for each in group):
            yield group
            group = []
        group.append(entry)
    if group:
        yield group


def _places(tasks: Sequence[Task], room: tuple[int, int], down: bool) -> list[tuple[range, int]]:
    """Places of each area of some tasks, and its words.

    What a task hands on has one place, what is loaded and stored as many side by side as there is
    room for.

    Parameters
    ----------
    down : whether they begin at the end. From one block to the next they begin at the other end,
        where there is room sooner.
    """
    sizes, (low, high) = side_by_side(tasks), room
    within = inner(tasks)
    fixed, words = (
        sum(size for size, mine in zip(sizes, within, strict=True) if mine == kind)
        for kind in (True, False)
    )
    copies = (high - low - fixed) // words if words else 0
    single, first, step = (
        (high - fixed, high - fixed - words, -words) if down else (low, low + fixed, words)
    )
    found = []
    for size, mine in zip(sizes, within, strict=True):
        if mine:
            found.append((range(single, single + 1), size))
            single += size
        else:
            found.append((range(first, first + copies * step, step or 1), size))
            first += size
    return found


def _ready(known: Sequence[tuple[int, int, int, int, int]], channel: int, area: Area) -> int:
    """Part before which an area's words are not all made, of channels, words and part of each."""
    low, high = area.words
    return max(
        (
            part + 1
            for a, b, begin, end, part in known
            if a < channel + area.channels and channel < b and begin < high and low < end
        ),
        default=0,
    )
