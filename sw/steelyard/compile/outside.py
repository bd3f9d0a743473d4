"""Which tensors lie in external memory while a network runs: what finds no room on the chip."""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..contract import AcceleratorConfig
from ..contract.descriptor import Operation
from ..network import Network
from .areas import Block
from .layer_plans import LayerPlan
from .memory import Buffer, assign
from .places import Places
from .strips import takes_strips
from .tasks import Cutter

__all__ = ["Division", "divide", "least_room"]

LONGEST = 5
"""Layers that tasks go through at most."""
LARGEST = 20
"""Tensors that are tried outside, the largest ones: all blocks are estimated anew for each."""


@dataclass(frozen=True)
class Division:
    """A network whose tensors lie in both memories.

    Members
    -------
    buffers : that lie on the chip throughout
    bases : where these begin
    maps : words of external memory that the others take, and where these begin there, in
        activation words; those of no tensor for what goes from layer to layer within tasks
    blocks : tasks of all layers that compute something
    ways : of each block, which of the ways to cut weights it has
    rooms : words (first, last exclusive) that each block has for its tasks
    same : buffers that lie where others do, by name
    """

    buffers: tuple[Buffer, ...]
    bases: dict[str, int]
    maps: tuple[int, dict[str, int]]
    blocks: tuple[Block, ...]
    ways: tuple[int, ...]
    rooms: tuple[tuple[int, int], ...]
    same: dict[str, str]

    def root(self, name: str, places: Places) -> str:
        """What the buffer of a tensor is called."""
        own = places.buffer(name)
        return self.same.get(own, own)

    @property
    def within(self) -> set[int]:
        """Layers whose outputs lie nowhere but in tasks."""
        return {number for block in self.blocks for number in block.layers[:-1]}


def least_room(
    network: Network, plans: Sequence[LayerPlan], config: AcceleratorConfig, batch: int
) -> tuple[int, int]:
    """Activation words that the smallest tasks of a layer take, and its number: of the largest.

    Layers that find room whole are not cut further, so it is exact only above what there is.
    """
    cutter = Cutter(
        network=network, plans=plans, config=config, batch=batch, outside=lambda name: True
    )
    computing = [number for number, plan in enumerate(plans) if plan.steps]
    enough = config.memory.activation_words
    return max((cutter.least(number, enough), number) for number in computing)


def divide(
    network: Network,
    ways: Sequence[Sequence[LayerPlan]],
    buffers: Sequence[Buffer],
    places: Places,
    config: AcceleratorConfig,
    batch: int,
    *,
    spare: int,
    longest: int,
    weights: int,
    cut: Sequence[dict[Any, Block | None]],
    known: dict[Any, int],
) -> Division | None:
    """Leave tensors on the chip, small ones first, as long as all layers can be computed.

    None if a layer cannot be computed even with all of them outside.

    Parameters
    ----------
    ways : plans of all layers, of each way to cut their weights in slices; every block takes the
        fastest. What lies on the chip is decided by the first of them.
    spare : smallest tasks that every layer whose tensors lie outside has room for
    longest : layers that tasks go through at most
    weights : items that weights may take to be kept while tasks run
    cut : blocks of each of the ways that were cut before, to which others are added
    known : words of the smallest tasks of the first way, the same way
    """
    plans = ways[0]
    size = config.memory.activation_words
    every = buffers
    buffers, same = _in_place(network, plans, buffers, places)
    computing = [number for number, plan in enumerate(plans) if plan.steps]

    def root(name: str) -> str:
        return same.get(places.buffer(name), places.buffer(name))

    def cutter(inside: Sequence[Buffer], way: int = 0) -> Cutter:
        names = {each.name for each in inside}
        return Cutter(
            network=network, plans=ways[way], config=config, batch=batch,
            outside=lambda name: root(name) not in names, together=2, weights=weights,
            known=cut[way],
        )  # fmt: skip

    def touched(plan: LayerPlan) -> tuple[str, ...]:
        names = (*plan.layer.inputs, plan.addend or plan.layer.output, plan.layer.output)
        return tuple(root(name) for name in names)

    roots = {number: touched(plans[number]) for number in computing}

    def least(own: Cutter, number: int, lying: set[str]) -> int:
        key = number, tuple(name in lying for name in roots[number])
        if key not in known:
            known[key] = own.least(number)
        return known[key]

    def fits(inside: Sequence[Buffer]) -> bool:
        own, (_, bases) = cutter(inside), assign(inside) if inside else (0, {})
        lying = {each.name for each in inside}
        return all(
            least(own, number, lying) * spare <= size - _top(inside, bases, [number])
            for number in computing
        )

    chip: list[Buffer] = []
    groups = _groups(plans, buffers, root)
    smallest = sorted(groups, key=lambda each: sum(b.words for b in each))

    def take(some: Sequence[Sequence[Buffer]]) -> None:
        """Leave on the chip what fits of some groups: all, or else what fits of either half."""
        more = [each for group in some for each in group]
        if fits([*chip, *more]):
            chip.extend(more)
        elif len(some) > 1:
            take(some[: len(some) // 2])
            take(some[len(some) // 2 :])

    take(smallest)

    def blocks_of(inside: Sequence[Buffer]) -> list[tuple[Block, int]] | None:
        _, bases = assign(inside) if inside else (0, {})
        own = [cutter(inside, way) for way in range(len(ways))]
        return _blocks(
            network, own, computing, lambda layers: _room(inside, bases, layers, size), root,
            longest,
        )  # fmt: skip

    inside, found = _fastest(buffers, chip, groups, blocks_of)
    if found is None:
        return None
    _, bases = assign(inside) if inside else (0, {})
    # In external memory each tensor has its own place.
    lying = {each.name for each in inside}
    same = {name: other for name, other in same.items() if other in lying}
    blocks = [block for block, _ in found]
    rooms = tuple((_top(inside, bases, block.layers), size) for block in blocks)
    within = {root(plans[number].layer.output) for block in blocks for number in block.layers[:-1]}
    outside = [each for each in every if same.get(each.name, each.name) not in lying]
    stored = [_during(each, blocks) for each in outside if each.name not in within]
    words, places_of = assign(stored) if stored else (0, {})
    places_of |= dict.fromkeys(within, 0)
    taken = tuple(way for _, way in found)
    return Division(tuple(inside), bases, (words, places_of), tuple(blocks), taken, rooms, same)


def _fastest(
    buffers: Sequence[Buffer],
    chip: Sequence[Buffer],
    groups: Sequence[Sequence[Buffer]],
    blocks_of: Callable[[Sequence[Buffer]], list[tuple[Block, int]] | None],
) -> tuple[list[Buffer], list[tuple[Block, int]] | None]:
    """What of some buffers is best left on the chip, and the blocks then.

    Each group is taken out if that makes all blocks together faster: what lies on the chip is not
    moved, and leaves less room for the strips of others.
    """
    names = {each.name for each in chip}
    inside = [each for each in buffers if each.name in names]
    found = blocks_of(inside)
    lying = [group for group in groups if {each.name for each in group} <= names]
    for group in sorted(lying, key=lambda each: -sum(b.words for b in each))[:LARGEST]:
        mine = {each.name for each in group}
        fewer = [each for each in inside if each.name not in mine]
        other = blocks_of(fewer)
        if other is not None and (found is None or _cost(other) < _cost(found)):
            inside, found = fewer, other
    return inside, found


def _cost(blocks: Sequence[tuple[Block, int]]) -> int:
    return sum(block.cost for block, _ in blocks)


def _during(buffer: Buffer, blocks: Sequence[Block]) -> Buffer:
    """A buffer that is alive as long as all tasks that read or write it."""
    first, last = buffer.first, buffer.last
    for block in blocks:
        if block.layers[0] <= first <= block.layers[-1]:
            first = block.layers[0]
        if block.layers[0] <= last <= block.layers[-1]:
            last = block.layers[-1]
    return replace(buffer, first=first, last=last)


def _top(inside: Sequence[Buffer], bases: dict[str, int], layers: Sequence[int]) -> int:
    """Words up to the end of what lies on the chip while layers run."""
    first, last = min(layers), max(layers)
    ends = (bases[b.name] + b.words for b in inside if b.first <= last and first <= b.last)
    return max(ends, default=0)


def _room(inside: Sequence[Buffer], bases: dict[str, int], layers: Sequence[int], size: int) -> int:
    """Words for tasks that go through layers; none where tensors on the chip follow each other."""
    alive = [b for b in inside if b.first <= max(layers) and min(layers) <= b.last]
    spans = sorted((bases[b.name], bases[b.name] + b.words) for b in alive)
    if any(high > low for (_, high), (low, _) in itertools.pairwise(spans)):
        return 0
    return size - _top(inside, bases, layers)


def _blocks(
    network: Network,
    cutters: Sequence[Cutter],
    computing: Sequence[int],
    room: Callable[[Sequence[int]], int],
    root: Callable[[str], str],
    longest: int,
) -> list[tuple[Block, int]] | None:
    """Blocks of the least cycles together, and which of the cutters made each.

    None if a layer's smallest tasks find no room.
    """
    cutter, plans = cutters[0], cutters[0].plans
    uses = Counter(name for layer in network.layers for name in layer.inputs)
    uses.update(network.outputs)
    best: list[tuple[int, list[tuple[Block, int]]] | None] = [(0, [])]
    for end in range(len(computing)):
        found = None
        for begin in range(end, max(end - longest, -1), -1):
            layers = tuple(computing[begin : end + 1])
            if begin < end and not _follows(plans, cutter, uses, *layers[:2]):
                break
            before = best[begin]
            if before is None:
                continue
            # What a task writes is not to take the place of what the next one reads.
            ends = plans[layers[0]].layer.inputs[0], plans[layers[-1]].layer.output
            apart = begin == end or root(ends[0]) != root(ends[1])
            own = room(layers) if apart else 0
            for way in _unlike(cutters, layers):
                block = cutters[way].block(layers, own)
                if block is not None and (found is None or before[0] + block.cost < found[0]):
                    found = before[0] + block.cost, [*before[1], (block, way)]
        best.append(found)
    return None if best[-1] is None else best[-1][1]


def _unlike(cutters: Sequence[Cutter], layers: Sequence[int]) -> list[int]:
    """Cutters that cut the weights of some layers in other slices than those before them."""
    sizes = [
        tuple(
            tuple(step.descriptor.weight_count for step in cutter.plans[number].steps)
            for number in layers
        )
        for cutter in cutters
    ]
    return [way for way, own in enumerate(sizes) if own not in sizes[:way]]


def _follows(
    plans: Sequence[LayerPlan], cutter: Cutter, uses: Counter[str], layer: int, following: int
) -> bool:
    """Whether a layer's output can go on to the next one without getting into external memory."""
    plan, other = plans[layer], plans[following]
    name = plan.layer.output
    return (
        plan.stored
        and cutter.outside(name)
        and uses[name] == 1
        and tuple(other.layer.inputs) == (name,)
        and plan.addend is None
        and all(takes_strips(each.layer, each.steps[0].descriptor) for each in (plan, other))
    )


def _groups(
    plans: Sequence[LayerPlan], buffers: Sequence[Buffer], root: Callable[[str], str]
) -> list[list[Buffer]]:
    """Buffers of which all or none lie outside: those that one descriptor reads with one pitch."""
    group = {each.name: [each] for each in buffers}
    for plan in plans:
        names = []
        if plan.steps and Operation(plan.steps[0].descriptor.op).joins:
            names = list(plan.layer.inputs)
        if plan.addend is not None:
            names = [plan.addend, plan.layer.output]
        roots = [root(name) for name in names]
        for one, other in itertools.pairwise(roots):
            if group[one] is not group[other]:
                group[one] += group[other]
                for each in group[other]:
                    group[each.name] = group[one]
    return list({id(each): each for each in group.values()}.values())


def _in_place(
    network: Network, plans: Sequence[LayerPlan], buffers: Sequence[Buffer], places: Places
) -> tuple[list[Buffer], dict[str, str]]:
    """Buffers, where sums take the place of an operand that nothing else reads any more.

    With the names of buffers that others lie in.
    """
    known = {each.name: each for each in buffers}
    same: dict[str, str] = {}
    for number, plan in enumerate(plans):
        if plan.addend is None:
            continue
        added, result = places.buffer(plan.addend), places.buffer(plan.layer.output)
        read = {
            name
            for layer in network.layers[number:]
            if places.buffer(layer.output) != result
            for name in layer.inputs
        }
        read |= {*plan.layer.inputs, *network.outputs, network.input}
        whole = all(
            places.channels(name) == network.tensor(name).shape[0]
            for name in (plan.addend, plan.layer.output)
        )
        if not whole or added in {places.buffer(name) for name in read}:
            continue
        added = same.get(added, added)
        old, new = known[added], known.pop(result)
        known[added] = replace(old, last=max(old.last, new.last))
        same[result] = added
    return list(known.values()), same
