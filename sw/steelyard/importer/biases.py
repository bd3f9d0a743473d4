"""Constants that are added to a layer's sums, in steps of its accumulator."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steelyard.importer.errors import REQUANTIZE
from steelyard.importer.node import Node
from steelyard.importer.values import QuantizedConstant, along

INT32 = np.iinfo(np.int32)


def rounded_bias(
    node: Node,
    constant: QuantizedConstant,
    scale: NDArray[np.float64],
    view: tuple[int, ...],
    factor: float = 1.0,
) -> NDArray[np.int32]:
    """Constant times `factor` as int32 (output channels,), in steps of `scale`.

    Parameters
    ----------
    node : adds the constant, for messages
    constant : broadcasts against ``(batch, *view)`` without changing along the map
    scale : float64 (output channels,), real value of one accumulator step
    view : shape of the sums without batch, channels first

    Raises
    ------
    UserError
        If the constant differs along the map, is not finite, or exceeds 32 bits.
    """
    codes = constant.codes
    channels = len(scale)
    shape = (1,) * (1 + len(view) - codes.ndim) + codes.shape
    wanted = {1, channels} if view[0] == channels else {1}
    if len(shape) != 1 + len(view) or shape[1] not in wanted or codes.size != shape[1]:
        raise node.error(
            f"adds a constant of shape {codes.shape} to sums of shape {('batch', *view)}, allowed "
            f"is one number, or one for each of {channels} channels; use such a bias."
        )
    steps = np.broadcast_to(_steps(constant, scale, factor), (channels,))
    if not np.all(np.isfinite(steps)):
        raise node.error(
            "has a bias that is NaN or infinite, allowed are finite values; "
            "train or load the weights again."
        )
    rounded = np.rint(steps)
    if np.any(rounded < INT32.min) or np.any(rounded > INT32.max):
        raise node.error(
            "has a bias that exceeds 32 bits at the accumulator's scale, the product of the scales "
            f"of its input and weight; {REQUANTIZE}, on images that reach this layer."
        )
    return rounded.astype(np.int32)


def _steps(
    constant: QuantizedConstant, scale: NDArray[np.float64], factor: float
) -> NDArray[np.float64]:
    zero, own = (
        along(each, constant.axis, constant.codes.ndim)
        for each in (constant.zero_point, constant.scale)
    )
    codes = (constant.codes.astype(np.float64) - zero).reshape(-1)
    step = np.broadcast_to(own, constant.codes.shape).reshape(-1).astype(np.float64)
    # Exporters round s_x * s_w to float32; that is the same scale, not another one.
    if codes.size == scale.size and factor == 1 and np.allclose(step, scale, rtol=1e-6, atol=0):
        return codes
    return codes * step * factor / scale
