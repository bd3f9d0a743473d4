"""Which configurations of a board are tried for a network."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from steelyard.compile.plans import layer_faults
from steelyard.contract import AcceleratorConfig
from steelyard.errors import DoesNotFit, UserError
from steelyard.network import Add, AvgPool, Conv, Lookup, Mul, Network
from steelyard_boards import Board

__all__ = ["PARTIAL_SUMS", "STEP", "Choice", "Space", "space_of"]

LANES = (4, 8, 16, 32)
GROUPS = (8, 16, 32)
MOST_COLUMNS = 64
WINDOW_POSITIONS = (256, 512, 1024)
"""Positions of a window memory, groups times their length; a block RAM of most families has 512."""
WINDOW_GROUPS = (2, 256)
PARTIAL_SUMS = (128, 512)
"""Channels whose partial sums a configuration holds at most; a plan that needs less gets less."""
VECTOR_BITS = (0, 8, 24)
"""Without a unit for layers without weights, without averages, with all of them."""

STEP = 16
"""Words by which memories grow."""
ALONE = 2
"""Registers of a multiplication of one lane."""

Fields = tuple[tuple[str, Any], ...]
"""Plain names of a configuration's fields, with values."""


@dataclass(frozen=True)
class Choice:
    """Something that is chosen: each value sets one field or several that belong together.

    Members
    -------
    name : what is chosen
    values : fields that each value sets
    """

    name: str
    values: tuple[Fields, ...]


@dataclass(frozen=True)
class Space:
    """Configurations of a board, numbered from 0; the last choice changes with every number.

    Members
    -------
    template : all that is not chosen, with the least memories
    choices : what is chosen
    """

    template: AcceleratorConfig[Any]
    choices: tuple[Choice, ...]

    def __len__(self) -> int:
        return math.prod(len(choice.values) for choice in self.choices)

    def fields(self, number: int) -> dict[str, Any]:
        """Fields that a number sets, by their plain names."""
        if not 0 <= number < len(self):
            raise ValueError(f"The space has {len(self)} configurations, none of number {number}")
        chosen: dict[str, Any] = {}
        for choice in reversed(self.choices):
            number, place = divmod(number, len(choice.values))
            chosen |= dict(choice.values[place])
        return chosen

    def config(self, number: int) -> AcceleratorConfig[Any]:
        """Configuration of a number.

        Raises
        ------
        UserError
            If its fields do not go together; the sentence names one.
        """
        return self.template.with_(**self.fields(number))

    @property
    def names(self) -> tuple[str, ...]:
        """Plain names of all fields that are chosen."""
        return tuple(name for choice in self.choices for name, _ in choice.values[0])


def space_of(board: Board, network: Network, batch: int = 1) -> Space:
    """Configurations of a board that could run a network.

    Chosen are lanes, columns, requantizers, the length of groups and how many a window memory
    holds, how activations are read, how residual additions are computed, and whether two lanes
    share a multiplier. Columns are those with which some layer takes fewer passes than with one
    column less. Operators that the network does not need are left out, others put in. All else is
    as in the board's own configuration; memories follow from each plan.

    Parameters
    ----------
    batch : images computed together

    Raises
    ------
    UserError
        If the board's own engine is not the array, or no configuration runs some layer.
    """
    own = board.default
    if own.engine.kind != "array":
        raise UserError(
            f"Board {board.name!r} has the engine {own.engine.kind!r}, and only arrays are "
            "explored; choose another board."
        )
    template = _able(_with_operators(own, network), network, batch)
    choices = [
        Choice("lanes and requantizers", _lanes()),
        Choice("groups", _groups(own)),
        Choice("loading", _loading()),
        Choice("columns", _columns(network, own.engine.columns)),
        Choice("additions", _additions(network)),
        _choice("multiplier_stages", _stages(board)),
    ]
    return Space(template, tuple(choices))


def _choice(name: str, values: Iterable[int]) -> Choice:
    return Choice(name, tuple(((name, value),) for value in sorted(values)))


def _lanes() -> tuple[Fields, ...]:
    """Lanes, with each number of requantizers that shares them evenly."""
    return tuple(
        (("lanes", lanes), ("requantizers", 1 << n))
        for lanes in LANES
        for n in range(lanes.bit_length())
    )


def _groups(own: AcceleratorConfig[Any]) -> tuple[Fields, ...]:
    """Lengths of groups, with how many of them a window memory may hold."""
    least, most = WINDOW_GROUPS
    pairs = {(group, places // group) for group in GROUPS for places in WINDOW_POSITIONS}
    pairs.add((own.engine.group, own.engine.window_groups))
    return tuple(
        (("group", group), ("window_groups", count))
        for group, count in sorted(pairs)
        if least <= count <= most
    )


def _columns(network: Network, own: int) -> tuple[Fields, ...]:
    """Numbers of columns that save a pass of some layer, and the board's own.

    A column at least has its partial sums; what more a plan needs it gets.
    """
    channels = {len(each.weight) for each in network.layers if isinstance(each, Conv)}
    saving = {-(-each // passes) for each in channels for passes in range(1, each + 1)}
    return tuple(
        (("columns", each), ("partial_sum_channels", each))
        for each in sorted({own, *(each for each in saving if each <= MOST_COLUMNS)})
    )


def _loading() -> tuple[Fields, ...]:
    """One read of the activation memory for lanes of stride 1, of 2 too, for three taps too."""
    return (
        (("wide_reads", False), ("shared_taps", False)),
        (("wide_reads", True), ("shared_taps", False)),
        (("wide_reads", True), ("shared_taps", True)),
    )


def _additions(network: Network) -> tuple[Fields, ...]:
    """Residual additions in passes of their own, or where one of their operands is made."""
    if not any(isinstance(each, Add) for each in network.layers):
        return ((("fused_additions", False),),)
    return ((("fused_additions", False),), (("fused_additions", True),))


def _stages(board: Board) -> set[int]:
    """Registers of a multiplication: with which two lanes share a multiplier, if they can, and
    with which they do not."""
    own, paired = board.default.engine.multiplier_stages, board.device.family.paired_stages
    return {own, paired, ALONE} if paired else {own}


def _with_operators(own: AcceleratorConfig[Any], network: Network) -> AcceleratorConfig[Any]:
    """A board's configuration with the operators that a network needs, and no others."""
    kinds = {type(each) for each in network.layers}
    slopes = any(getattr(each, "negative_multiplier", None) is not None for each in network.layers)
    changes: dict[str, Any] = {
        "tables": Lookup in kinds,
        "slopes": slopes,
        "additions": Add in kinds,
        "products": Mul in kinds,
        "lane_sums": AvgPool in kinds,
        "external_words": 0,
        # As small as they can be, until a plan says what it needs.
        "activation_words": STEP,
        "weight_words": STEP,
        "parameter_words": STEP,
        "max_layers": 1,
    }
    if slopes or kinds & {Add, Mul}:
        # Requantizers of several cycles and a unit without registers do none of these.
        changes |= {"requantizer_cycles": 1, "tag_registers": True, "vector_bits": VECTOR_BITS[-1]}
    return own.with_(**changes)


def _able(template: AcceleratorConfig[Any], network: Network, batch: int) -> AcceleratorConfig[Any]:
    """Template with the least vector unit that runs all layers, and wide enough elsewhere.

    Raises
    ------
    UserError
        If none does; the sentence is that on the first layer.
    """
    faults: list[str] = []
    widest = {"padded_kernel": 7, "max_side": 65535, "accumulator_bits": 32}
    for more in ({}, widest):
        for bits in VECTOR_BITS:
            try:
                tried = template.with_(vector_bits=bits, **more)
            except UserError:
                # Additions and products need a unit.
                continue
            faults = layer_faults(network, tried, batch, {})
            if not faults:
                return tried
    raise DoesNotFit(faults[0])
