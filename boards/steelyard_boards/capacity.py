"""Refusal of what a board cannot hold, before anything is built."""

from steelyard.contract import AcceleratorConfig, registry
from steelyard.engines import Limits
from steelyard.errors import DoesNotFit
from steelyard.program import Program

from .families import Device

__all__ = ["check"]


def check(
    board: str, device: Device, config: AcceleratorConfig, program: Program | None = None
) -> None:
    """Refuse a configuration that a board's device cannot hold, or a program of another one.

    Raises
    ------
    DoesNotFit
        The sentence gives the amounts.
    """
    needs = device.family.demand(config)
    room = int(device.luts * device.family.routable)
    multipliers = device.family.engine_multipliers(config)
    words: Limits = registry.engine(config.engine.kind).limits(config, multipliers)
    each = device.family.multipliers_of_requantizer(config)
    if needs.multipliers > device.multipliers:
        raise DoesNotFit(
            f"Board {board!r} has {device.multipliers} multipliers and the configuration needs "
            f"{needs.multipliers}: {words.multiplications} and "
            f"{each} for each of {config.output.requantizers} requantizers",
            f"use fewer {words.multipliers}.",
        )
    if needs.block_rams > device.block_rams:
        raise DoesNotFit(
            f"Board {board!r} has {device.block_rams} block RAMs and the configuration needs "
            f"{needs.block_rams}",
            f"use fewer than {config.memory.activation_words} activation_words, "
            f"{config.memory.weight_words} weight_words{words.memories}.",
        )
    if needs.large_rams > device.large_rams:
        raise DoesNotFit(
            f"Board {board!r} has {device.large_rams} large RAMs and the weights of the "
            f"configuration need {needs.large_rams}",
            f"use fewer than {config.memory.weight_words} weight_words.",
        )
    if needs.luts > room:
        raise DoesNotFit(
            f"Board {board!r} has {device.luts} LUTs, of which {room} can be routed, and the "
            f"configuration needs about {needs.luts}",
            f"use fewer {words.logic}.",
        )
    if program is not None:
        differences = config.differences(program.config)
        if differences:
            raise DoesNotFit(
                f"The program was compiled for another configuration than board {board!r} gets "
                f"({'; '.join(differences)})",
                "compile it with that configuration.",
            )
