"""What a board's own configuration reaches: what an exploration is compared with."""

from dataclasses import asdict, dataclass
from typing import Any

from steelyard.compile.plans import planned
from steelyard.contract.latencies import opening
from steelyard.errors import UserError
from steelyard.network import Network
from steelyard_boards import Board

__all__ = ["Default", "default_of"]


@dataclass(frozen=True)
class Default:
    """A network on a board's own configuration.

    Members
    -------
    cycles : of a batch, exactly; None if some layer does not run there
    frames_per_second : at the board's clock, without transfers
    luts : that the configuration takes, by the family's fit
    fits : whether its memories hold the network
    """

    cycles: int | None
    frames_per_second: float | None
    luts: int
    fits: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def default_of(network: Network, board: Board, batch: int = 1) -> Default:
    """What a network takes of a board's own configuration, also if its memories are too small."""
    luts = board.device.family.demand(board.default).luts
    try:
        plan = planned(network, board.default, batch, {})
    except UserError:
        return Default(None, None, luts, False)
    cycles = opening(board.default) + plan.cycles
    return Default(cycles, board.clock_hz / cycles * batch, luts, plan.fits)
