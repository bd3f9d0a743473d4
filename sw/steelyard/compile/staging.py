"""Tasks in time: when the rows that they work on are loaded and stored, and where these lie.

Areas are placed in the order of tasks, each as early as it finds room, so what a task needs comes
while others before it are computed. A move begins when the layers before it have ended, and moves
take place in their order. So what a task has read may be loaded over at once, and what is stored
may be loaded over too; but a layer that writes there waits for the store.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ..contract import AcceleratorConfig
from ..contract.descriptor import ANY_UNDER_WAY, Descriptor, Operation
from ..contract.registers import Space
from ..program import Plane
from .agenda import Agenda, Entry, Item
from .areas import Area, Part
from .cycles import predict
from .emission import Emission, StagedLayer
from .external import BURST, Stretches, loads
from .layer_plans import LayerPlan
from .outside import Division

__all__ = ["Staged", "image_words", "stage"]

PIECE = 4096
"""Words of a move of weights that are not needed at once, at most: others wait no longer for it."""
AHEAD = 4
"""Tasks behind the running one whose rows are loaded."""


@dataclass(frozen=True)
class Staged:
    """A network in tasks.

    Members
    -------
    layers : of the network, as many as its plans
    descriptor_words : of descriptors in external memory, behind the weights; 0 where all of them
        lie on the chip
    reached : items of each memory up to the last that is written
    """

    layers: list[StagedLayer]
    descriptor_words: int
    reached: dict[Space, int]


def image_words(plans: Sequence[LayerPlan], config: AcceleratorConfig) -> int:
    """Words of weights and parameters in external memory."""
    items = sum(plan.weight_items for plan in plans)
    parameters = sum(len(plan.parameters) for plan in plans if plan.steps)
    return items * config.engine.weight_item_words + parameters * len(config.parameter_bits)


def stage(
    plans: Sequence[LayerPlan],
    division: Division,
    planes: dict[str, Plane],
    root: Callable[[str], str],
    start: Callable[[str], int],
    config: AcceleratorConfig,
    *,
    moved: bool,
    in_turn: bool,
) -> Staged | None:
    """Descriptors of all layers, or None if something finds no room.

    Parameters
    ----------
    planes : of every tensor; addresses of external ones count from the end of weights and
        descriptors
    root, start : of a tensor, its buffer's name and its first channel there
    moved : whether weights and parameters lie in external memory
    in_turn : whether the descriptor memory holds some of the descriptors at a time
    """
    made = _Stage(plans, division, planes, root, start, config, moved, in_turn)
    if not made.run():
        return None
    words = made.emission.addressed(image_words(plans, config) if moved else 0)
    reached = {space: each.reached for space, each in made.stretches.items()}
    return Staged(made.emission.layers, words, reached)


class _Stage:
    """What is on the chip and under way, from part to part."""

    def __init__(
        self,
        plans: Sequence[LayerPlan],
        division: Division,
        planes: dict[str, Plane],
        root: Callable[[str], str],
        start: Callable[[str], int],
        config: AcceleratorConfig,
        moved: bool,
        in_turn: bool,
    ) -> None:
        self.plans, self.planes, self.config = plans, planes, config
        self.emission = Emission(len(plans), config, in_turn)
        self.agenda = Agenda(plans, division, root, start, config, moved)
        self.items = [item for own in self.agenda.of_task for item in own.values()]
        self.next_item = 0
        self.stretches = {
            Space.WEIGHTS: Stretches(config.memory.weight_words),
            Space.PARAMETERS: Stretches(config.memory.parameter_words),
        }
        self.heads = dict.fromkeys(self.agenda.queues, 0)
        self.live: list[Item] = []
        self.storing: list[tuple[int, int, int]] = []

    # Part after part.

    def run(self) -> bool:
        """Go through all parts; whether everything finds room."""
        for number, part in enumerate(self.agenda.parts):
            self.live = [each for each in self.live if each.last >= number]
            self.storing = [each for each in self.storing if each[2] > self.emission.known]
            for each in self.stretches.values():
                each.free(number)
            if not self._issue(number):
                return False
            self.emission.wait(self.agenda.owner[number], max(self._awaited(number), default=0))
            self._compute(number, part)
            self._store(number)
        self.emission.finish()
        return True

    def _issue(self, part: int) -> bool:
        """Issue what there is room for, what is needed first before others."""
        while True:
            heads: list[tuple[int, bool, Space]] = []
            if self.next_item < len(self.items):
                heads.append((self.items[self.next_item].first, False, Space.ACTIVATIONS))
            for space, queue in self.agenda.queues.items():
                if self.heads[space] < len(queue):
                    heads.append((queue[self.heads[space]].need.first, True, space))
            for first, _, space in sorted(heads):
                if first > part and self.emission.full:
                    continue
                if self._next(space, part):
                    break
                if first <= part:
                    return False
            else:
                return True

    def _next(self, space: Space, part: int) -> bool:
        """Issue what comes next of a memory, if it can be."""
        if space == Space.ACTIVATIONS:
            return self._next_area(part)
        return self._next_weights(space, part)

    def _next_area(self, part: int) -> bool:
        """Place the next area, and load it."""
        item = self.items[self.next_item]
        if self.agenda.task_of[item.first] > self.agenda.task_of[part] + AHEAD or item.ready > part:
            return False
        if not self._place(item, part):
            return False
        self.next_item += 1
        if item.area.moved and not item.stores:
            for d in self._moves(item, Operation.LOAD):
                self.emission.append(self.agenda.owner[part], d)
            self.emission.layers[self.agenda.owner[item.first]].loaded += self._words(item)
            item.needed = self.emission.issued
        return True

    def _next_weights(self, space: Space, part: int) -> bool:
        """Issue the next move of weights or parameters; far ahead only while no others wait."""
        entry = self.agenda.queues[space][self.heads[space]]
        need = entry.need
        if need.first > part + 1 and not self.emission.idle_after(self._cycles(part)):
            return False
        if entry.moves is None:
            place = self.stretches[space].place(need)
            if place is None:
                return False
            entry.item = place
            longest = BURST if need.first <= part else PIECE
            entry.moves = list(loads(need, entry.address, place, longest))
            self.emission.layers[self.agenda.owner[need.first]].loaded += need.words
        self.emission.append(self.agenda.owner[part], entry.moves.pop(0))
        if not entry.moves:
            self.heads[space] += 1
            entry.done = self.emission.issued
        return True

    def _cycles(self, part: int) -> int:
        return predict(self.agenda.parts[part].strip.descriptor, self.config)

    def _awaited(self, part: int) -> Iterator[int]:
        """Moves that must be done before a part."""
        for item in self._own(part).values():
            if item.first <= part:
                yield item.needed
        for entry in (
            self.agenda.weights_of[part],
            self.agenda.parameters_of[self.agenda.parts[part].layer],
        ):
            if isinstance(entry, Entry):
                yield entry.done
        for each in self.agenda.fixed:
            # Tensors that begin to live here may lie where something is still stored.
            if each.first == part:
                yield self._overwritten(each.low, each.high)

    def _own(self, part: int) -> dict[Area, Item]:
        return self.agenda.of_task[self.agenda.task_of[part]]

    # Where areas lie.

    def _place(self, item: Item, part: int) -> bool:
        """Find room for an area from a part on, rather where nothing is still stored."""
        self.live = [each for each in self.live if each.last >= part]
        if item.within is not None:
            # Loaded behind what was stored from there, which the part waits for in any case.
            item.base = item.within.base
            self.live.append(item)
            return True
        taken = [(each.base, each.end) for each in self.live]
        taken += [
            (e.low, e.high) for e in self.agenda.fixed if e.first <= item.last and e.last >= part
        ]
        size = item.words
        free = [
            base
            for base in item.bases
            if all(base + size <= low or high <= base for low, high in taken)
        ]
        if not free:
            return False
        written = item.stores or not item.area.moved
        waits = {base: self._overwritten(base, base + size) * written for base in free}
        item.base = min(free, key=lambda base: waits[base])
        item.needed = waits[item.base]
        self.live.append(item)
        return True

    def _overwritten(self, low: int, high: int) -> int:
        """Last store of words that are written anew."""
        known = self.emission.known
        return max((m for a, b, m in self.storing if m > known and a < high and low < b), default=0)

    # Descriptors.

    def _compute(self, number: int, part: Part) -> None:
        plan, items = self.plans[part.layer], self._own(number)
        d, step, areas = part.strip.descriptor, part.step, part.inputs
        bases = []
        for name, area in zip(plan.layer.inputs, areas, strict=False):
            plane = self.planes[name]
            if area is None:
                bases.append(plane.base + step.reads * plane.pitch + part.strip.reads[0])
            else:
                bases.append(items[area].base + (step.reads - area.first) * area.span)
        changes = {"in_base": bases[0], "in2_base": bases[1] if len(bases) > 1 else 0}
        if areas[0] is not None and areas[0].span != areas[0].pitch:
            changes["in_pitch"] = areas[0].span
        if part.output is not None and part.output.span != part.output.pitch:
            changes["out_pitch"] = part.output.span
        out = self._result(plan.layer.output, part.output, part, items)
        added = 0
        if plan.addend is not None:
            added = self._result(plan.addend, areas[-1], part, items) - out
        weights, parameters = (
            each.item if isinstance(each, Entry) else each
            for each in (self.agenda.weights_of[number], self.agenda.parameters_of[part.layer])
        )
        self.emission.append(
            self.agenda.owner[number],
            d.but(
                **changes,
                out_base=out,
                weight_base=weights if d.weight_count else 0,
                param_base=parameters + step.item,
                table_base=parameters + plan.table if d.table else 0,
                addend_offset=added,
            ),
        )
        alive = [each.end for each in self.live if each.last >= number]
        alive += [each.high for each in self.agenda.fixed if each.first <= number <= each.last]
        own = self.emission.layers[self.agenda.owner[number]]
        own.activation_words = max(own.activation_words, *alive, 0)

    def _result(self, name: str, area: Area | None, part: Part, items: dict[Area, Item]) -> int:
        """Word at which a part's results begin, in the output or in what is added to it."""
        if area is None:
            plane = self.planes[name]
            return plane.base + part.step.writes * plane.pitch + part.strip.writes[0]
        return items[area].base + (part.step.writes - area.first) * area.span

    def _store(self, part: int) -> None:
        """Store what a part has finished, among its layer's descriptors."""
        for item in self._own(part).values():
            if item.stores and item.last == part:
                for d in self._moves(item, Operation.STORE):
                    self.emission.append(self.agenda.owner[part], d)
                self.emission.layers[self.agenda.owner[part]].stored += self._words(item)
                self.storing.append((item.base, item.end, self.emission.issued))

    def _words(self, item: Item) -> int:
        return item.area.size * self.config.activation_item_words

    def _moves(self, item: Item, op: Operation) -> Iterator[Descriptor]:
        """Moves of an area; their external addresses count from the first tensor's on."""
        area, item_words = item.area, self.config.activation_item_words
        plane = self.planes[area.tensor]
        external = plane.base + (area.first * area.pitch + area.words[0]) * item_words
        base = Descriptor(op=op, space=Space.ACTIVATIONS, under_way=ANY_UNDER_WAY)
        rows, length, pitch = area.rows(item_words)
        if rows > 1:
            yield base.but(
                external=external, item=item.base, length=length, batch=rows,
                in_pitch=area.span, out_pitch=pitch,
            )  # fmt: skip
            return
        most = BURST // item_words * item_words
        for first in range(0, length, most):
            yield base.but(
                external=external + first,
                item=item.base + first // item_words,
                length=min(most, length - first),
            )
