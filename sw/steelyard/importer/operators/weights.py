"""Weights and biases of linear layers: int8 constants, and int32 in accumulator steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.contract.limits import MAX_KERNEL
from steelyard.importer.biases import rounded_bias
from steelyard.importer.errors import REQUANTIZE, NotQuantized
from steelyard.importer.node import Node
from steelyard.importer.operators.constants import constant_operand
from steelyard.importer.values import Constant, QuantizedConstant, along
from steelyard.importer.walk import Walk
from steelyard.importer.wide import LARGEST, WIDEST

MAX_ELEMENTS = 1 << 28
"""Weights of one layer, with the zeros that dilations and phases add."""


def weight_of(
    walk: Walk, node: Node, index: int, axis: int
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Weight of int8, or int16 beyond it, and its float64 scale (output channels along `axis`,)."""
    value = walk.value(node, index)
    if isinstance(value, Constant) and value.array.ndim > axis and value.array.size:
        raise NotQuantized(
            f"{node.title} has a weight that is not quantized, allowed is int8",
            node.inputs[index],
            node.outputs[0],
            index,
            value.array,
            axis,
        )
    if not isinstance(value, QuantizedConstant) or not value.real:
        raise node.error(
            "has a weight that is not an int8 constant behind a DequantizeLinear, as it must be; "
            f"{REQUANTIZE}."
        )
    codes = _signed(node, value)
    outputs = codes.shape[axis] if codes.ndim > axis else 0
    if value.scale.size != 1 and (value.axis != axis or value.scale.size != outputs):
        raise node.error(
            f"has weight scales along axis {value.axis}, allowed is the output axis {axis}; "
            f"{REQUANTIZE}."
        )
    if not outputs:
        raise node.error(
            f"has a weight of shape {codes.shape}, allowed is one with output channels; "
            "export the network again."
        )
    scale = np.broadcast_to(value.scale.reshape(-1).astype(np.float64), (outputs,))
    return codes, scale


def _signed(node: Node, value: QuantizedConstant) -> NDArray[Any]:
    """Weight as codes around zero, int16 if any lies beyond -127 to 127.

    Raises
    ------
    UserError
        If its codes are not of 8 bits, or lie too far from their zero point.
    """
    if value.codes.dtype not in (np.int8, np.uint8):
        raise node.error(
            f"has a weight of {value.codes.dtype}, allowed are int8 and uint8; {REQUANTIZE}."
        )
    zero = along(value.zero_point, value.axis, value.codes.ndim)
    codes = value.codes
    if codes.dtype == np.uint8 or np.any(zero):
        codes = codes.astype(np.int16) - zero.astype(np.int16)
    low, high = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
    if max(-low, high) > WIDEST:
        raise node.error(
            f"has a weight whose codes run from {low} to {high} around their zero point, allowed "
            f"are {-WIDEST} to {WIDEST}; {REQUANTIZE}, which keeps to {-LARGEST} to {LARGEST}."
        )
    return codes.astype(np.int8 if max(-low, high) <= LARGEST else np.int16, copy=False)


def bias_of(
    walk: Walk, node: Node, scale: NDArray[np.float64], factor: float = 1.0
) -> NDArray[np.int32] | None:
    """Bias at input 2 times `factor`, in accumulator steps of `scale`; None if absent."""
    if walk.value(node, 2) is None:
        return None
    constant = constant_operand(walk, node, 2)
    if constant is None:
        raise node.error(
            "has a bias that is computed from data, allowed is a constant; "
            "export the network with a constant bias."
        )
    # A convolution's bias lies along the channels, a product's along the last axis.
    map_ = node.op in ("Conv", "ConvTranspose")
    view = (len(scale), 1, 1) if map_ else (len(scale),)
    if map_ and constant.codes.ndim == 1:
        constant = constant.along_channels()
    return rounded_bias(node, constant, scale, view, factor)


def check_size(node: Node, elements: int) -> None:
    """Refuse a weight that becomes far larger than the file by what its attributes say.

    Raises
    ------
    UserError
        Names the elements.
    """
    if elements > MAX_ELEMENTS:
        raise node.error(
            f"would become a convolution of {elements} weights, allowed are {MAX_ELEMENTS}; use "
            "smaller dilations or strides, or fewer channels."
        )


def dilated(node: Node, weight: NDArray[Any]) -> NDArray[Any]:
    """Weight with the zeros between its taps that the node's dilations stand for."""
    steps = tuple(node.attributes.get("dilations") or (1, 1))
    if len(steps) != 2 or min(steps) < 1:
        raise node.error(
            f"has dilations {steps}, allowed are two steps from 1, for height and width; "
            "export the network again."
        )
    if steps == (1, 1):
        return weight
    sides = tuple((n - 1) * step + 1 for n, step in zip(weight.shape[2:], steps, strict=True))
    if max(sides) > MAX_KERNEL:
        raise node.error(
            f"has a kernel of {weight.shape[2]}x{weight.shape[3]} with dilations {steps}, which "
            f"spans {sides[0]}x{sides[1]} pixels, allowed are sides up to {MAX_KERNEL}; use "
            "smaller dilations."
        )
    check_size(node, len(weight) * weight.shape[1] * sides[0] * sides[1])
    spread = np.zeros((*weight.shape[:2], *sides), weight.dtype)
    spread[:, :, :: steps[0], :: steps[1]] = weight
    return spread
