"""Refusal of what a board cannot hold, before anything is built."""

from steelyard.config import ArrayConfig
from steelyard.errors import DoesNotFit
from steelyard.program import Program

from .families import Device

__all__ = ["check"]


def check(board: str, device: Device, config: ArrayConfig, program: Program | None = None) -> None:
    """Refuse a configuration that a board's device cannot hold, or a program of another one.

    Raises
    ------
    DoesNotFit
        The sentence gives the amounts.
    """
    needs = device.family.demand(config)
    room = int(device.luts * device.family.routable)
    if needs.multipliers > device.multipliers:
        raise DoesNotFit(
            f"Board {board!r} has {device.multipliers} multipliers and the configuration needs "
            f"{needs.multipliers}: {config.lanes} lanes x {config.columns} columns and "
            f"{device.family.requantizer_multipliers} for each of {config.requantizers} "
            "requantizers; use fewer columns or requantizers."
        )
    if needs.block_rams > device.block_rams:
        raise DoesNotFit(
            f"Board {board!r} has {device.block_rams} block RAMs and the configuration needs "
            f"{needs.block_rams}; use fewer than {config.activation_words} activation_words, "
            f"{config.weight_words} weight_words or {config.columns} columns."
        )
    if needs.large_rams > device.large_rams:
        raise DoesNotFit(
            f"Board {board!r} has {device.large_rams} large RAMs and the weights of the "
            f"configuration need {needs.large_rams}; use fewer than {config.weight_words} "
            "weight_words."
        )
    if needs.luts > room:
        raise DoesNotFit(
            f"Board {board!r} has {device.luts} LUTs, of which {room} can be routed, and the "
            f"configuration needs about {needs.luts}; use fewer lanes, columns or requantizers."
        )
    if program is not None:
        differences = config.differences(program.config)
        if differences:
            raise DoesNotFit(
                f"The program was compiled for another configuration than board {board!r} gets "
                f"({'; '.join(differences)}); compile it with that configuration."
            )
