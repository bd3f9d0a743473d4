"""What a program takes of each memory."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..contract import Descriptor
from ..contract.checksum import crc
from ..contract.descriptor import DESCRIPTOR_WORDS, Operation
from ..contract.registers import Space
from ..contract.sections import MemoryConfig

if TYPE_CHECKING:
    from .program import Program

__all__ = ["Use", "check_moves", "moved_crc", "uses_of"]


@dataclass(frozen=True)
class Use:
    """Used part of one memory of the configuration."""

    memory: str
    used: int
    available: int


def uses_of(program: "Program") -> tuple[Use, ...]:
    """Used part of each memory.

    Of weights and parameters that are moved from external memory, up to the last item that a move
    reaches; the external memory comes last, if there is something in it.
    """
    # What is not stored lies where a later layer's output does, or nowhere.
    stored = (entry.output for entry in program.layers if entry.stored)
    planes = [program.input, *stored]
    ends = [plane.base + plane.words for plane in planes if not plane.external]
    memory = program.config.memory
    item_words = program.config.activation_item_words
    uses = [
        Use(
            "activation words",
            max(_reached(program, Space.ACTIVATIONS), *ends, 0),
            memory.activation_words,
        ),
        Use(
            "weight words",
            max(_reached(program, Space.WEIGHTS), len(program.weights)),
            memory.weight_words,
        ),
        Use(
            "parameter words",
            max(_reached(program, Space.PARAMETERS), len(program.parameters)),
            memory.parameter_words,
        ),
        Use(
            "layer descriptors",
            min(len(program.descriptors), memory.max_layers),
            memory.max_layers,
        ),
    ]
    if program.uses_external:
        outside = (p.base + p.words * item_words for p in planes if p.external)
        words = max(program.external.size, *outside, 0)
        uses.append(Use("external words", words, memory.external_words))
    return tuple(uses)


def check_moves(program: "Program") -> None:
    """Check that moves stay within what they read and what they write.

    Weights, parameters and descriptors come from what the program has in external memory;
    activations lie anywhere in it.

    Raises
    ------
    ValueError
        If one does not; says which.
    """
    memory = program.config.memory
    given = len(program.external)
    for each in _moves(program):
        if each.space == Space.ACTIVATIONS:
            if (end := _external_end(each)) > memory.external_words:
                raise ValueError(
                    f"a move goes up to word {end} of the {memory.external_words} of the external "
                    "memory"
                )
            continue
        if each.op == Operation.STORE:
            raise ValueError(f"a move stores the space {each.space}, not activations")
        if each.space not in _ITEMS:
            raise ValueError(
                f"a move writes into the space {each.space}, not descriptors, parameters, weights "
                "or activations"
            )
        if each.rows > 1:
            raise ValueError(f"a move into the space {each.space} has {each.rows} rows, not one")
        if (end := _external_end(each)) > given:
            raise ValueError(f"a move reads up to word {end} of the {given} in external memory")
    for space, items in _ITEMS.items():
        if _reached(program, space) > (most := items(memory)):
            raise ValueError(f"a move reaches beyond the {most} items of the {space.name.lower()}")


def moved_crc(program: "Program", first: int, count: int) -> int:
    """CRC of the words that descriptors load, but for activations, as the accelerator has it."""
    moves = _moves(program, first, first + count)
    loads = [each for each in moves if each.space != Space.ACTIVATIONS]
    words = [program.external[each.external :][: each.length] for each in loads]
    return crc(np.concatenate([np.zeros(0, np.uint32), *words]))


_ITEMS: dict[Space, Callable[[MemoryConfig], int]] = {
    Space.DESCRIPTORS: lambda memory: memory.max_layers * DESCRIPTOR_WORDS,
    Space.PARAMETERS: lambda memory: memory.parameter_words,
    Space.WEIGHTS: lambda memory: memory.weight_words,
    Space.ACTIVATIONS: lambda memory: memory.activation_words,
}
"""Items of each memory that words are moved into."""


def _external_end(move: Descriptor) -> int:
    """Word behind the last one of a move in external memory."""
    return move.external + (move.rows - 1) * move.out_pitch + move.length


def _moves(program: "Program", first: int = 0, end: int | None = None) -> list[Descriptor]:
    """Descriptors that move words, those from `first` to before `end`."""
    every = (Descriptor.from_words(words) for words in program.descriptors[first:end])
    return [each for each in every if each.moves and each.length]


def _reached(program: "Program", space: Space) -> int:
    """Items of a memory up to the last that a move reaches."""
    words = {
        Space.WEIGHTS: program.config.engine.weight_item_words,
        Space.PARAMETERS: len(program.config.parameter_bits),
        Space.ACTIVATIONS: program.config.activation_item_words,
        Space.DESCRIPTORS: 1,
    }[space]
    ends = (
        each.item + (each.rows - 1) * each.in_pitch - (-each.length // words)
        for each in _moves(program)
        if each.space == space
    )
    return max(ends, default=0)
