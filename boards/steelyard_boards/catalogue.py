"""All boards by name, in the order of their listing."""

from steelyard.errors import UserError

from . import (
    ecpix5,
    icebreaker,
    icepi_zero,
    icesugar_pro,
    tang_nano_9k,
    ulx3s,
    versa_ecp5,
)
from .board import Board

__all__ = ["BOARDS", "board"]

BOARDS: dict[str, Board] = {
    each.name: each
    for module in (
        ulx3s,
        icesugar_pro,
        icepi_zero,
        ecpix5,
        versa_ecp5,
        icebreaker,
        tang_nano_9k,
    )
    for each in module.BOARDS
}


def board(name: str) -> Board:
    """Board of a name.

    Raises
    ------
    UserError
        If there is no such board; the sentence lists the names.
    """
    try:
        return BOARDS[name]
    except KeyError:
        raise UserError(f"There is no board {name!r}; choose one of {', '.join(BOARDS)}.") from None
