"""Tasks: parts of layers that share what is on the chip for them, and what that is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from .step import Step
from .strips import Strip

__all__ = ["Area", "Block", "Part", "Task", "inner", "room_of", "side_by_side"]


@dataclass(frozen=True)
class Area:
    """Words of some channels of a tensor that are on the chip while a task needs them.

    Members
    -------
    tensor : name
    first, channels : which of its channels
    words : of each channel's plane, first and last (exclusive)
    pitch : words of the whole plane
    moved : whether they come from external memory or go there; else they lie nowhere else
    """

    tensor: str
    first: int
    channels: int
    words: tuple[int, int]
    pitch: int
    moved: bool = True

    @property
    def span(self) -> int:
        """Words of a channel, which follow each other."""
        return self.words[1] - self.words[0]

    @property
    def size(self) -> int:
        """Words of all channels."""
        return self.channels * self.span

    def rows(self, item_words: int) -> tuple[int, int, int]:
        """Rows of a move, 32-bit words of each, and from one to the next in external memory.

        Whole planes are one row.
        """
        pitch = self.pitch * item_words
        if self.span == self.pitch:
            return 1, self.size * item_words, pitch
        return self.channels, self.span * item_words, pitch


@dataclass(frozen=True)
class Part:
    """What one descriptor computes: a step of a layer's plan, or a strip of one.

    Members
    -------
    layer : its number
    number : of the step in its plan
    inputs : of each input, and of the tensor that is added, where it is; None for the place of the
        whole tensor on the chip
    output : the same of the output
    """

    layer: int
    number: int
    step: Step
    strip: Strip
    inputs: tuple[Area | None, ...]
    output: Area | None


@dataclass(frozen=True)
class Task:
    """Parts that share what is on the chip for them.

    Members
    -------
    parts : one after the other
    added : area that is added to the results, None for none
    """

    parts: tuple[Part, ...]
    added: Area | None = None

    @cached_property
    def areas(self) -> dict[Area, tuple[int, int]]:
        """Areas, and the first and last part that needs each, in the order of their first parts."""
        found: dict[Area, tuple[int, int]] = {}
        for number, part in enumerate(self.parts):
            for area in (*part.inputs, part.output):
                if area is not None:
                    found[area] = found.get(area, (number, 0))[0], number
        return found

    @cached_property
    def output(self) -> Area | None:
        """Area that is stored."""
        return self.parts[-1].output

    @cached_property
    def in_place(self) -> bool:
        """Whether the results take the place of what is added to them.

        Each code is read before its sum is written there; but what is read besides must stay.
        """
        if self.added is None or self.output is None:
            return False
        uses = sum(self.added in part.inputs[:-1] for part in self.parts)
        return not uses and self.added.size == self.output.size

    @cached_property
    def sizes(self) -> list[int]:
        """Words of each area; none of one that takes another's place."""
        return [0 if self.in_place and area == self.output else area.size for area in self.areas]

    @cached_property
    def words(self) -> int:
        """Words that it takes of the activation memory, besides tensors that lie there."""
        return sum(self.sizes)


def side_by_side(tasks: Sequence[Task]) -> list[int]:
    """Words that are kept for each area of some tasks, in their order: those of the largest."""
    sizes: list[int] = []
    for task in tasks:
        own = task.sizes
        sizes += [0] * (len(own) - len(sizes))
        sizes = [max(pair) for pair in zip(sizes, own + [0] * len(sizes), strict=False)]
    return sizes


def inner(tasks: Sequence[Task]) -> list[bool]:
    """Whether each area of some tasks, in their order, lies nowhere but on the chip.

    While one task is computed none of another needs its place.
    """
    longest = max((list(task.areas) for task in tasks), key=len, default=[])
    return [not area.moved for area in longest]


def room_of(tasks: Sequence[Task], copies: int) -> int:
    """Words for some tasks, of which so many have at a time what is loaded and stored."""
    sizes = zip(side_by_side(tasks), inner(tasks), strict=True)
    return sum(size * (1 if within else copies) for size, within in sizes)


@dataclass(frozen=True)
class Block:
    """Layers whose tasks run one after the other.

    Members
    -------
    layers : their numbers
    tasks : in their order
    kept : whether the weights of all steps stay on the chip until the last task; else each step's
        are loaded for each task anew
    cost : cycles, an estimate by which blocks are compared
    """

    layers: tuple[int, ...]
    tasks: tuple[Task, ...]
    kept: bool
    cost: int = field(compare=False)
