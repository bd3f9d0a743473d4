"""All boards by name, in the order of their listing."""

from steelyard.errors import UserError

from . import (
    arty_a7,
    ecpix5,
    ice40_hx8k_b_evn,
    icebreaker,
    icepi_zero,
    icesugar_pro,
    pynq_z2,
    tang_nano_9k,
    tang_primer_20k,
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
        ice40_hx8k_b_evn,
        tang_nano_9k,
        tang_primer_20k,
        arty_a7,
        pynq_z2,
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
