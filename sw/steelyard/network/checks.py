"""Checks that tensors and layers share."""

import numpy as np

from ..contract.limits import MAX_MULTIPLIER, MAX_SHIFT
from ..errors import UserError

__all__ = ["check_integer", "check_scaling"]


def check_integer(what: str, value: object, low: int, high: int) -> None:
    """Refuse what is no integer from `low` to `high`.

    Raises
    ------
    UserError
        Names `what`, the range and the value.
    """
    if (
        not isinstance(value, int | np.integer)
        or isinstance(value, bool)
        or not low <= value <= high
    ):
        raise UserError(f"{what} must be an integer from {low} to {high}, not {value!r}.")


def check_scaling(what: str, multiplier: object, shift: object) -> None:
    """Refuse a multiplier, called `what`, and a shift that no requantizer takes.

    Raises
    ------
    UserError
        If one of them is out of range.
    """
    check_integer(what, multiplier, 0, MAX_MULTIPLIER)
    check_integer("shift", shift, 1, MAX_SHIFT)
