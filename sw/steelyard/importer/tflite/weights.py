"""Weights and biases."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from steelyard.importer.tflite.file import Operator
from steelyard.importer.tflite.walk import Walk

__all__ = ["bias_of", "weight_of"]


def weight_of(
    walk: Walk, op: Operator, rank: int, axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Weight as the file has it, and its scales: one, or one for each output channel.

    Parameters
    ----------
    rank : number of its axes
    axis : that of the output channels

    Raises
    ------
    UserError
        If it is no int8 constant with zero point 0, or its scales lie along another axis.
    """
    info = walk.info(op, 1)
    if info is None or info.data is None:
        raise op.error("has weights that are computed, allowed are constants; convert it so.")
    if info.type != "INT8" or info.sparse:
        stored = "sparse storage" if info.sparse else f"type {info.type}"
        raise op.error(
            f"has weights of {stored}, allowed is dense INT8; convert the network to int8 "
            "weights without sparse storage."
        )
    if info.data.ndim != rank:
        raise op.error(
            f"has weights of shape {info.shape}, allowed are {rank} axes; convert it again."
        )
    scale = info.scale.astype(np.float64)
    channels = info.shape[axis]
    along = scale.size == 1 or (scale.size == channels and info.axis == axis)
    if not along or info.zero_point.any():
        raise op.error(
            f"has weights with {scale.size} scales along axis {info.axis} and zero points from "
            f"{min(info.zero_point, default=0)} to {max(info.zero_point, default=0)}, allowed are "
            f"one scale or {channels} along axis {axis}, and zero points 0; convert it with a "
            "current TFLite converter."
        )
    return info.data, scale


def bias_of(walk: Walk, op: Operator, channels: int, index: int = 2) -> NDArray[np.int32]:
    """Bias at an input of an operator, zeros where it is absent.

    Raises
    ------
    UserError
        If it is no int32 constant for each of the channels.
    """
    info = walk.info(op, index)
    if info is None:
        return np.zeros(channels, np.int32)
    if info.data is None or info.type != "INT32" or info.shape != (channels,):
        kind = info.type if info.data is not None else f"computed {info.type}"
        raise op.error(
            f"has a bias of {kind} {info.shape}, allowed are {channels} INT32 constants; convert "
            "it with a current TFLite converter."
        )
    return info.data.astype(np.int32)
