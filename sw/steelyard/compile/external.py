"""Weights and parameters in external memory: what is moved, where it goes, and when.

What a step needs is moved into the first stretch of its memory that is free and long enough, as
early as there is one: while the steps before it run. Moves take place in their order, and steps in
theirs, so a stretch is free once the last step that reads it has run, and a step may begin once all
moves up to its own are done.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from ..contract import AcceleratorConfig
from ..contract.descriptor import ANY_UNDER_WAY, FIELDS, Descriptor, Operation
from ..contract.latencies import MOVE_CYCLES, between, fetched_after, fetched_meanwhile
from ..contract.registers import Space
from .cycles import predict
from .layer_plans import LayerPlan

__all__ = [
    "LayerMoves", "Moved", "Need", "Pace", "by_layer", "loads", "move_all", "needs_of",
]  # fmt: skip

BURST = FIELDS["length"].maximum
"""Words of a move at most."""
OWN_MOVES = 2
"""Moves of a step's own, most often: parameters and weights."""
BANKS_WORDS = 1024
"""Words of a row of all banks: after these comes the same bank again."""
BANK_PART = 128
"""Words by which the begins of rows miss that, and still lie in the same bank most often."""


@dataclass(frozen=True)
class Pace:
    """How fast a memory with 16 pins is, in cycles of the accelerator (docs/notes/sdram.md).

    Members
    -------
    word : of a word of 32 bits
    burst : of a burst besides its words, at most: the first word's latency with a row to close and
        open
    least_row : of a row of few words: of its burst alone
    same_bank : more of a row that begins in the chip's bank of the one before, which is closed
    refresh : cycles with and without the refreshes among them
    """

    word: int
    burst: int
    least_row: int
    same_bank: int
    refresh: tuple[int, int]

    @classmethod
    def of(cls, config: AcceleratorConfig) -> "Pace":
        """That of a configuration's memory."""
        return PACES[config.memory.external_slots]

    def move(self, rows: int, length: int, pitch: int = 0) -> int:
        """Cycles of a move's words, and between its rows.

        Parameters
        ----------
        pitch : words from a row to the next
        """
        # Of short pitches most rows begin in the chip's row of the one before, which is open.
        apart = min(pitch % BANKS_WORDS, -pitch % BANKS_WORDS)
        same = rows > 1 and pitch >= BANK_PART > apart
        row = max(self.word * length, self.least_row) + self.same_bank * same
        cycles, without = self.refresh
        return ((rows - 1) * row + self.word * length) * cycles // without


PACES = {
    1: Pace(word=2, burst=24, least_row=11, same_bank=6, refresh=(607, 595)),
    2: Pace(word=1, burst=17, least_row=8, same_bank=4, refresh=(556, 544)),
}
"""By the memory's clocks in a cycle: at 80 MHz, and at 71.25 MHz with 142.5 MHz of the memory."""


@dataclass(frozen=True, kw_only=True)
class Need:
    """Items of a memory that some steps read.

    Members
    -------
    space : memory
    items : how many
    item_words : 32-bit words of each
    first, last : steps that read them
    place : first item of their place in the memory, None for any; given to those that fill it
        together
    """

    space: Space
    items: int
    item_words: int
    first: int
    last: int
    place: int | None = None

    @property
    def words(self) -> int:
        """Words that are moved."""
        return self.items * self.item_words


@dataclass(frozen=True)
class Moved:
    """Where everything lies and what is moved before each step.

    Members
    -------
    external : address in external memory of each need, in words
    items : first item of each need in its memory
    before : moves before each step
    waiting : cycles of each step's moves and of waiting for them, an estimate
    words : of the external memory
    reached : items of each memory up to the last that is written
    """

    external: list[int]
    items: list[int]
    before: list[list[Descriptor]]
    waiting: list[int]
    words: int
    reached: dict[Space, int]


@dataclass(frozen=True)
class LayerMoves:
    """Moves of one layer.

    Members
    -------
    before : moves before each of its steps, some of them for later layers
    cycles : of these and of waiting for them, an estimate; beside what lies between descriptors
    """

    before: tuple[tuple[Descriptor, ...], ...]
    cycles: int

    @property
    def count(self) -> int:
        """Number of moves."""
        return sum(map(len, self.before))


def needs_of(plans: Sequence[LayerPlan], config: AcceleratorConfig) -> tuple[list[Need], list[int]]:
    """What the steps of all layers need, in order, and the cycles that each takes."""
    needs: list[Need] = []
    cycles: list[int] = []
    for plan in plans:
        first = len(cycles)
        last = first + len(plan.steps) - 1
        if len(plan.parameters) and plan.steps:
            words = len(config.parameter_bits)
            needs.append(
                Need(
                    space=Space.PARAMETERS,
                    items=len(plan.parameters),
                    item_words=words,
                    first=first,
                    last=last,
                )
            )
        for step in plan.steps:
            if step.descriptor.weight_count:
                needs.append(
                    Need(
                        space=Space.WEIGHTS,
                        items=step.descriptor.weight_count,
                        item_words=config.engine.weight_item_words,
                        first=len(cycles),
                        last=len(cycles),
                    )
                )
            cycles.append(predict(step.descriptor, config))
    return needs, cycles


def by_layer(steps: Sequence[int], moved: Moved | None) -> list[LayerMoves]:
    """Moves of each layer, of the numbers of their steps; none where nothing is moved."""
    if moved is None:
        return [LayerMoves(((),) * count, 0) for count in steps]
    before, waiting = iter(moved.before), iter(moved.waiting)
    return [
        LayerMoves(
            tuple(tuple(each) for each in islice(before, count)), sum(islice(waiting, count))
        )
        for count in steps
    ]


@dataclass
class Stretches:
    """Stretches of a memory that are in use, each until a step."""

    size: int
    head: int = 0
    reached: int = 0
    _used: list[tuple[int, int, int]] = field(default_factory=list, init=False)

    def free(self, step: int) -> None:
        """Give back what only steps before one read."""
        self._used = [each for each in self._used if each[2] >= step]

    def place(self, need: Need) -> int | None:
        """First item of a stretch for a need, None if there is none now."""
        starts = sorted({0, *(high for _, high, _ in self._used)})
        for start in starts if need.place is None else [need.place]:
            end = start + need.items
            if end <= self.size and all(end <= low or high <= start for low, high, _ in self._used):
                self._used.append((start, end, need.last))
                self.reached = max(self.reached, end)
                return start
        return None


@dataclass
class Clock:
    """When moves end and steps begin, in cycles; an estimate, for refreshes fall where they do."""

    config: AcceleratorConfig
    now: int = 0
    free: int = 0
    done: list[int] = field(default_factory=list)

    def move(self, descriptor: Descriptor) -> None:
        """Carry out a descriptor with a move."""
        self.now += MOVE_CYCLES + between(self.config)
        if descriptor.length:
            if len(self.done) >= ANY_UNDER_WAY:
                self.now = max(self.now, self.done[-ANY_UNDER_WAY])
            pace = Pace.of(self.config)
            cycles = pace.move(descriptor.rows, descriptor.length, descriptor.out_pitch)
            late = pace.burst if self.free <= self.now else 0
            self.free = max(self.free, self.now) + cycles + late
            self.done.append(self.free)
        if descriptor.under_way != ANY_UNDER_WAY:
            needed = len(self.done) - descriptor.under_way
            self.now = max(self.now, *self.done[needed - 1 : needed], 0)
            self.now += fetched_after(self.config)
        else:
            self.now += fetched_meanwhile(self.config)


def loads(need: Need, external: int, item: int, longest: int = BURST) -> Iterator[Descriptor]:
    """Moves of a need, each of whole items and no longer than a descriptor says."""
    most = longest // need.item_words
    for first in range(0, need.items, most):
        count = min(most, need.items - first)
        yield Descriptor(
            op=Operation.LOAD,
            space=need.space,
            under_way=ANY_UNDER_WAY,
            external=external + first * need.item_words,
            item=item + first,
            length=count * need.item_words,
        )


def move_all(needs: Sequence[Need], cycles: Sequence[int], config: AcceleratorConfig) -> Moved:
    """Moves of what steps need, each as early as its memory has room.

    Parameters
    ----------
    needs : in the order in which they are moved, that of their first steps. If one does not fit its
        memory nothing is moved, and `reached` says how much it takes.
    cycles : that each step takes
    """
    largest = _largest(needs)
    sizes = {
        Space.WEIGHTS: config.memory.weight_words,
        Space.PARAMETERS: config.memory.parameter_words,
    }
    if any(largest[space] > size for space, size in sizes.items()):
        steps = len(cycles)
        return Moved([], [], [[] for _ in range(steps)], [0] * steps, 0, largest)
    stretches = {space: Stretches(size) for space, size in sizes.items()}
    clock = Clock(config)
    external = [0]
    items: list[int] = []
    ends: list[int] = []
    before: list[list[Descriptor]] = []
    waiting = []
    issued = known = 0
    for step, own in enumerate(cycles):
        for memory in stretches.values():
            memory.free(step)
        moves: list[Descriptor] = []
        while len(items) < len(needs):
            need = needs[len(items)]
            # A move too many would hold up the step, or the moves of the next one.
            if need.first > step and issued + 1 - known > ANY_UNDER_WAY - OWN_MOVES:
                break
            place = stretches[need.space].place(need)
            if place is None:
                break
            moves += loads(need, external[-1], place)
            issued += -(-need.words // (BURST // need.item_words * need.item_words))
            external.append(external[-1] + need.words)
            items.append(place)
            ends.append(issued)
        needed = max(
            (end for end, need in zip(ends, needs, strict=False) if need.first <= step), default=0
        )
        if needed > known:
            _wait(moves, issued - needed)
            known = needed
        begin = clock.now
        for each in moves:
            clock.move(each)
        waiting.append(clock.now - begin - len(moves) * between(config))
        clock.now += own + between(config)
        before.append(moves)
    reached = {space: each.reached for space, each in stretches.items()}
    return Moved(external[:-1], items, before, waiting, external[-1], reached)


def _largest(needs: Sequence[Need]) -> dict[Space, int]:
    """Most items of each memory that something needs."""
    found = {Space.WEIGHTS: 0, Space.PARAMETERS: 0}
    for need in needs:
        found[need.space] = max(found[need.space], need.items)
    return found


def _wait(moves: list[Descriptor], under_way: int) -> None:
    """Let the last of some moves wait until no more are under way, or one of no words."""
    last = moves.pop() if moves else Descriptor(op=Operation.LOAD)
    moves.append(replace(last, under_way=min(under_way, ANY_UNDER_WAY - 1)))
