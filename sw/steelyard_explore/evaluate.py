"""One configuration: what a network takes of it, exactly, and what it takes of a board."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from steelyard.compile.planned import Planned
from steelyard.compile.plans import planned
from steelyard.contract import AcceleratorConfig, Descriptor, Operation
from steelyard.contract.latencies import opening
from steelyard.contract.sections import MEMORIES
from steelyard.engines.proof import weights_by_group
from steelyard.errors import UserError
from steelyard.network import Conv, Network
from steelyard_boards import Board, Demand

from .space import PARTIAL_SUMS, STEP

__all__ = ["Point", "Refusal", "evaluate", "holds", "least_weight_words"]


@dataclass(frozen=True)
class Refusal:
    """Why a configuration is none for a network on a board.

    Members
    -------
    reason : in two words: what is too small or does not work
    sentence : what exactly, of this configuration
    """

    reason: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """A configuration that runs a network on a board.

    Members
    -------
    number : in the space of configurations
    config : with memories as large as the network needs
    batch : images computed together
    cycles : of a batch, from START to the end of the last layer, exactly
    demand : LUTs by the family's fit, block RAMs and multipliers exactly
    """

    number: int
    config: AcceleratorConfig[Any]
    batch: int
    cycles: int
    demand: Demand


def evaluate(
    network: Network, board: Board, config: AcceleratorConfig[Any], batch: int = 1, number: int = 0
) -> list[Point | Refusal]:
    """What a network takes of a configuration and this of a board, as the compiler plans it.

    A convolution in several chunks keeps partial sums, and more memory for these may make it
    faster: one result for each size that is planned differently.

    Parameters
    ----------
    config : of a space, so with the least memories
    batch : images computed together
    number : of the configuration, for the points
    """
    # Most of what does not fit is told by its weights, before anything is planned.
    weights = least_weight_words(network, config.engine.group, config.engine.width)
    holding = config.with_(weight_words=_enough("weight_words", weights))
    refused = _refused(board, board.device.family.demand(holding))
    if refused is not None:
        return [refused]
    found: list[Point | Refusal] = []
    for channels in PARTIAL_SUMS:
        try:
            tried = config.with_(partial_sum_channels=channels, max_layers=MEMORIES["max_layers"])
            plan = planned(network, tried, batch, {})
        except UserError as error:
            return [Refusal("layers", str(error))]
        found.append(_placed(board, plan, batch, number))
        if _most_channels(plan) <= channels // config.engine.width * config.engine.width:
            # Nothing was cut for want of this memory.
            break
    return found


def least_weight_words(network: Network, group: int, columns: int) -> int:
    """Weight memory that a network takes at least, items; exactly if no convolution is grouped.

    Every pass of every output channel takes K items for each group of its weights.
    """
    words = 0
    for layer in network.layers:
        if isinstance(layer, Conv) and layer.groups == 1:
            counts = weights_by_group(layer, group).counts
            places = layer.weight[0].size
            last = places - (counts.shape[1] - 1) * group
            k = max(1, int(counts.max()))
            slots = (counts.shape[1] - 1) * k + min(k, last)
            words += -(-len(layer.weight) // columns) * slots
    return words


def holds(board: Board, config: AcceleratorConfig[Any]) -> Refusal | None:
    """Why a board does not hold a configuration of a space, whose memories are least; or None."""
    if config.output.fused_additions and not config.fuses_additions:
        return Refusal("additions", "Words that leave in one beat leave no time to add to them.")
    return _refused(board, board.device.family.demand(config))


def _placed(board: Board, plan: Planned, batch: int, number: int) -> Point | Refusal:
    """A plan with memories as large as it needs, if the board holds them."""
    steps = [step.descriptor for each in plan.plans for step in each.steps]
    config = plan.config.with_(
        additions=any(each.op == Operation.ADD for each in steps),
        partial_sum_channels=_partial_sums(steps, plan.config.engine.width),
        **{name: _enough(name, use.used) for name, use in zip(MEMORIES, plan.uses, strict=True)},
    )
    demand = board.device.family.demand(config)
    refused = _refused(board, demand)
    if refused is not None:
        return refused
    if not replace(plan, config=config).fits:
        return Refusal("memories", "The network needs more than the largest memories hold.")
    cycles = opening(config) + plan.cycles
    return Point(number=number, config=config, batch=batch, cycles=cycles, demand=demand)


def _enough(name: str, used: int) -> int:
    """Value of a memory's field that holds what is used."""
    if name == "max_layers":
        return max(used, 1)
    return min(max(-(-used // STEP) * STEP, STEP), MEMORIES[name])


def _partial_sums(steps: Sequence[Descriptor], width: int) -> int:
    """Channels whose partial sums some step keeps from chunk to chunk, a column's at least."""
    return max([width, *(each.passes * width for each in steps if each.chunks > 1)])


def _most_channels(plan: Planned) -> int:
    """Output channels of a convolution at most, in whole passes."""
    width = plan.config.engine.width
    channels = (len(part.weight) for each in plan.plans for part, _ in each.parts)
    return max((-(-each // width) * width for each in channels), default=0)


def _refused(board: Board, needs: Demand) -> Refusal | None:
    """What a board has too little of, the first of what it is built of."""
    device = board.device
    room = int(device.luts * device.family.routable)
    for what, used, available in (
        ("multipliers", needs.multipliers, device.multipliers),
        ("block RAMs", needs.block_rams, device.block_rams),
        ("large RAMs", needs.large_rams, device.large_rams),
        ("LUTs", needs.luts, room),
    ):
        if used > available:
            return Refusal(
                # The device's name, not the board's: a record knows results by the device.
                what,
                f"It needs {used} {what} and device {device.name} has {available}.",
            )
    return None
