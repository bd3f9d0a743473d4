"""Refusal of what a board cannot hold, before anything is built."""

from dataclasses import dataclass

from steelyard.contract.accelerator import ArrayConfig
from steelyard.contract.tile import TileConfig
from steelyard.errors import DoesNotFit
from steelyard.program import Program

from .families import Device

__all__ = ["check"]


@dataclass(frozen=True)
class _Words:
    """What an engine's needs come from, in words."""

    multiplications: str
    multipliers: str
    memories: str
    logic: str


def _tile_words(config: TileConfig, device: Device) -> _Words:
    requantizers = device.family.requantizer_multipliers * config.requantizers
    own = device.family.demand(config).multipliers - requantizers
    # Cells of several bits need no multiplier if the inputs have one.
    bits = "dac_bits, ou_rows, ou_columns" if config.crossbar.dac_bits > 1 else "lanes"
    return _Words(
        f"{own} for cells and counters of the {config.outline}",
        f"{bits} or requantizers",
        f", {config.window_groups} window_groups or {config.partial_sum_channels} "
        "partial_sum_channels",
        "lanes, ou_rows, ou_columns, ou_parallel or requantizers",
    )


def check(board: str, device: Device, config: ArrayConfig, program: Program | None = None) -> None:
    """Refuse a configuration that a board's device cannot hold, or a program of another one.

    Raises
    ------
    DoesNotFit
        The sentence gives the amounts.
    """
    needs = device.family.demand(config)
    room = int(device.luts * device.family.routable)
    if isinstance(config, TileConfig):
        words = _tile_words(config, device)
    else:
        words = _Words(
            config.outline,
            "columns or requantizers",
            f" or {config.columns} columns",
            "lanes, columns or requantizers",
        )
    if needs.multipliers > device.multipliers:
        raise DoesNotFit(
            f"Board {board!r} has {device.multipliers} multipliers and the configuration needs "
            f"{needs.multipliers}: {words.multiplications} and "
            f"{device.family.requantizer_multipliers} for each of {config.requantizers} "
            "requantizers",
            f"use fewer {words.multipliers}.",
        )
    if needs.block_rams > device.block_rams:
        raise DoesNotFit(
            f"Board {board!r} has {device.block_rams} block RAMs and the configuration needs "
            f"{needs.block_rams}",
            f"use fewer than {config.activation_words} activation_words, {config.weight_words} "
            f"weight_words{words.memories}.",
        )
    if needs.large_rams > device.large_rams:
        raise DoesNotFit(
            f"Board {board!r} has {device.large_rams} large RAMs and the weights of the "
            f"configuration need {needs.large_rams}",
            f"use fewer than {config.weight_words} weight_words.",
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
