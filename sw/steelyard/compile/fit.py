"""Programs that fit: memories as large as a network needs, and the largest batch of a memory."""

from dataclasses import replace
from typing import Any

from ..contract import AcceleratorConfig
from ..contract.sections import MEMORIES
from ..errors import DoesNotFit
from ..network import Network
from ..program import Program
from .compiler import compile

__all__ = ["compile_largest_batch", "compile_with_memories"]


def compile_with_memories(
    network: Network,
    base: AcceleratorConfig,
    *,
    batch: int = 1,
    **options: Any,
) -> Program:
    """Program for `base` with the memories grown that the network needs larger.

    They grow to powers of two: networks of like sizes then share a configuration, and with it a
    compiled simulation. The other parameters are those of :func:`compile`.

    Raises
    ------
    UserError
        If the network cannot be computed, or does not fit the largest memories.
    """
    # In memories that hold everything nothing is moved.
    room = base.with_(**MEMORIES, external_words=0)
    program = compile(network, room, batch=batch, **options)
    needs = dict(zip(MEMORIES, (use.used for use in program.uses), strict=True))
    grown = {}
    for name, used in needs.items():
        have = getattr(base.memory, name)
        grown[name] = have if used <= have else 1 << (used - 1).bit_length()
    # No schedule depends on the size of these memories, so the program stays the same.
    return replace(program, config=base.with_(**grown))


def compile_largest_batch(network: Network, config: AcceleratorConfig, most: int) -> Program:
    """Program with the largest batch that the configuration's memories hold, at most `most`.

    Raises
    ------
    DoesNotFit
        If not even one image fits.
    """
    program = compile(network, config)
    fits, too_many = 1, most + 1
    while too_many - fits > 1:
        # Memories are small: doubling ends sooner than halving the whole range.
        batch = min(2 * fits, (fits + too_many) // 2)
        try:
            program, fits = compile(network, config, batch=batch), batch
        except DoesNotFit:
            too_many = batch
    return program
