"""Quantized constants beside an activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError
from steelyard.importer.tflite.file import Operator
from steelyard.importer.tflite.values import tensor_of
from steelyard.importer.tflite.walk import Walk

__all__ = ["Constant", "constant_of", "each_channel"]

Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Constant:
    """Constant of one scale.

    Members
    -------
    steps : int64, distances of its codes from the zero point
    scale : real value of one step
    """

    steps: NDArray[np.int64]
    scale: float

    @property
    def values(self) -> NDArray[np.float64]:
        """Real values, float64."""
        return self.steps.astype(np.float64) * np.float64(self.scale)


def constant_of(walk: Walk, op: Operator, index: int) -> Constant | None:
    """Constant at an input of an operator; None if it is computed.

    Raises
    ------
    UserError
        If it is of another type than INT8, or has no single scale and zero point.
    """
    info = walk.info(op, index)
    if info is None or info.data is None:
        return None
    try:
        tensor = tensor_of(info, (1, 1, 1), info.name)
    except UserError as error:
        raise op.error(f"takes a constant {error}") from None
    if info.sparse:
        raise op.error("takes a sparse constant, allowed are dense ones; convert it so.")
    return Constant(info.data.astype(np.int64) - tensor.zero_point, tensor.scale)


def each_channel(op: Operator, values: NDArray[Number], view: tuple[int, ...]) -> NDArray[Number]:
    """Values of a constant beside a tensor: one, or one for each channel where they differ.

    Parameters
    ----------
    view : shape of the tensor without batch, channels last

    Raises
    ------
    UserError
        If it is neither.
    """
    flat = values.reshape(-1)
    alone = flat.size == 1
    whole = flat.size == view[-1] and values.shape[-1:] == view[-1:]
    if not (alone or whole) or values.ndim > 1 + len(view):
        raise op.error(
            f"takes a constant of shape {values.shape} beside {('batch', *view)}, allowed is one "
            "number, or one for each channel; use such a constant."
        )
    return flat[:1] if np.all(flat == flat[0]) else flat
