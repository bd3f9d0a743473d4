"""What a program takes of each memory."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..contract import Descriptor
from ..contract.checksum import crc
from ..contract.descriptor import Operation
from ..contract.registers import Space

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
    planes = [program.input, *(entry.output for entry in program.layers)]
    peak = max(plane.base + plane.words for plane in planes)
    memory = program.config.memory
    moved = bool(program.external.size)
    weights = _reached(program, Space.WEIGHTS) if moved else len(program.weights)
    parameters = _reached(program, Space.PARAMETERS) if moved else len(program.parameters)
    external = Use("external words", program.external.size, memory.external_words)
    return (
        Use("activation words", peak, memory.activation_words),
        Use("weight words", weights, memory.weight_words),
        Use("parameter words", parameters, memory.parameter_words),
        Use("layer descriptors", len(program.descriptors), memory.max_layers),
        *((external,) if moved else ()),
    )


def check_moves(program: "Program") -> None:
    """Check that moves stay within what they read and what they write.

    Raises
    ------
    ValueError
        If one does not; says which.
    """
    memory = program.config.memory
    for each in _moves(program):
        if each.space not in (Space.WEIGHTS, Space.PARAMETERS):
            raise ValueError(
                f"a move writes into the space {each.space}, not weights or parameters"
            )
        if each.external + each.length > len(program.external):
            raise ValueError(
                f"a move reads up to word {each.external + each.length} of the "
                f"{len(program.external)} in external memory"
            )
    for space, most in (
        (Space.WEIGHTS, memory.weight_words),
        (Space.PARAMETERS, memory.parameter_words),
    ):
        if _reached(program, space) > most:
            raise ValueError(f"a move reaches beyond the {most} items of the {space.name.lower()}")


def moved_crc(program: "Program", first: int, count: int) -> int:
    """CRC of the words that descriptors move from external memory, as the accelerator has it."""
    moves = _moves(program, first, first + count)
    words = [program.external[each.external :][: each.length] for each in moves]
    return crc(np.concatenate([np.zeros(0, np.uint32), *words]))


def _moves(program: "Program", first: int = 0, end: int | None = None) -> list[Descriptor]:
    """Descriptors that move words, those from `first` to before `end`."""
    every = (Descriptor.from_words(words) for words in program.descriptors[first:end])
    return [each for each in every if each.op == Operation.LOAD and each.length]


def _reached(program: "Program", space: Space) -> int:
    """Items of a memory up to the last that a move reaches."""
    words = {
        Space.WEIGHTS: program.config.engine.weight_item_words,
        Space.PARAMETERS: len(program.config.parameter_bits),
    }[space]
    ends = (-(-each.length // words) + each.item for each in _moves(program) if each.space == space)
    return max(ends, default=0)
