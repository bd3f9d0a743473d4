"""Convolution, fully connected layers and adds of two activations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.contract.limits import MAX_KERNEL
from steelyard.importer.biases import rounded_bias
from steelyard.importer.errors import REQUANTIZE, NotQuantized
from steelyard.importer.node import Node
from steelyard.importer.operators.constants import add_constant, constant_operand
from steelyard.importer.registry import operator
from steelyard.importer.unscaled import UnscaledAdd, UnscaledConv
from steelyard.importer.values import NO_PADDING, Constant, Pending, QuantizedConstant, along
from steelyard.importer.walk import Walk
from steelyard.importer.wide import LARGEST, WIDEST
from steelyard.importer.windows import WINDOW, read_window


@operator("Conv", inputs=3, reads=(*WINDOW, "group"))
def conv(walk: Walk, node: Node) -> None:
    """Convolution, of one group or several."""
    source, (channels, height, width) = walk.plane(node)
    weight, weight_scale = _weight(walk, node, 1, axis=0)
    if weight.ndim != 4:
        raise node.error(
            f"has a weight of {weight.ndim} axes, allowed are 4 (two-dimensional convolution); "
            "rewrite the layer as Conv2d."
        )
    groups = node.attributes["group"]
    if groups < 1 or len(weight) % groups or weight.shape[1] * groups != channels:
        of = f" in each of {groups} groups" * (groups != 1)
        raise node.error(
            f"has a weight of {len(weight)} outputs for {weight.shape[1]} channels{of} where its "
            f"input has {channels} channels; export the network again."
        )
    kernel = (weight.shape[2], weight.shape[3])
    named = node.attributes.get("kernel_shape")
    if named is not None and tuple(named) != kernel:
        raise node.error(
            f"has kernel_shape = {tuple(named)} and a weight of {kernel[0]}x{kernel[1]}, allowed "
            "is the weight's size; export the network again."
        )
    weight = _dilated(node, weight)
    kernel = (weight.shape[2], weight.shape[3])
    window = read_window(node, kernel, (height, width), source.padding, dilated=True)
    padding = window.padding
    if window.needs_pad:
        source, padding = walk.unpadded(replace(source, padding=padding)), NO_PADDING
    scale = source.tensor.scale * weight_scale
    bias = _bias(walk, node, scale)
    shape = (weight.shape[0], *window.output_size)
    layer = UnscaledConv(
        node.name,
        shape,
        source.tensor,
        weight,
        bias,
        scale,
        window.stride,
        padding,
        groups,
    )
    walk.bind(node, Pending(layer, shape))


def _dilated(node: Node, weight: NDArray[np.int8]) -> NDArray[np.int8]:
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
    spread = np.zeros((*weight.shape[:2], *sides), np.int8)
    spread[:, :, :: steps[0], :: steps[1]] = weight
    return spread


@operator("Gemm", "MatMul", inputs=3, reads=("alpha", "beta", "transA", "transB"))
def fully_connected(walk: Walk, node: Node) -> None:
    """Fully connected layer, as a convolution whose kernel is the map before the flatten."""
    source = walk.unpadded(walk.activation(node))
    alpha, beta = (node.attributes.get(key, 1.0) for key in ("alpha", "beta"))
    for name, value, fits in (
        ("alpha", alpha, 0 < alpha < np.inf),
        ("beta", beta, np.isfinite(beta)),
        ("transA", node.attributes.get("transA", 0), not node.attributes.get("transA", 0)),
    ):
        if not fits:
            what = {"alpha": "a positive number", "beta": "a finite number", "transA": "0"}[name]
            raise node.error(
                f"has {name} = {value:g}, allowed is {what}; use an ordinary fully connected layer."
            )
    if len(source.view) != 1:
        raise node.error(
            f"takes a tensor of shape {('batch', *source.view)}, allowed is ('batch', features); "
            "flatten the tensor before the fully connected layer."
        )
    transposed = bool(node.attributes.get("transB", 0))
    weight, weight_scale = _weight(walk, node, 1, axis=0 if transposed else 1)
    matrix = weight if transposed else weight.T
    if matrix.ndim != 2 or matrix.shape[1] != source.tensor.size or not len(matrix):
        raise node.error(
            f"has a weight of shape {weight.shape} where its input has {source.tensor.size} "
            "features; export the network again."
        )
    scale = source.tensor.scale * weight_scale * alpha
    bias = _bias(walk, node, scale, beta) if node.op == "Gemm" else None
    outputs = matrix.shape[0]
    layer = UnscaledConv(
        node.name,
        (outputs, 1, 1),
        source.tensor,
        np.ascontiguousarray(matrix.reshape(outputs, *source.tensor.shape)),
        bias,
        scale,
        fully_connected=True,
    )
    walk.bind(node, Pending(layer, (outputs,)))


@operator("Add", inputs=2)
def add(walk: Walk, node: Node) -> None:
    """Residual add of two activations, or a constant that goes into a layer's bias."""
    for index in (0, 1):
        constant = constant_operand(walk, node, index)
        if constant is not None:
            add_constant(walk, node, 1 - index, constant)
            return
    a = walk.unpadded(walk.activation(node, 0))
    b = walk.unpadded(walk.activation(node, 1))
    if a.tensor.shape != b.tensor.shape or a.view != b.view:
        raise node.error(
            f"adds tensors of shapes {('batch', *a.view)} and {('batch', *b.view)}, only equal "
            "shapes are allowed; bring both to one shape with a 1x1 convolution."
        )
    walk.bind(node, Pending(UnscaledAdd(node.name, a.tensor.shape, a.tensor, b.tensor), a.view))


def _weight(
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
    codes = value.codes.astype(np.int16) - zero.astype(np.int16)
    low, high = (int(codes.min()), int(codes.max())) if codes.size else (0, 0)
    if max(-low, high) > WIDEST:
        raise node.error(
            f"has a weight whose codes run from {low} to {high} around their zero point, allowed "
            f"are {-WIDEST} to {WIDEST}; {REQUANTIZE}, which keeps to {-LARGEST} to {LARGEST}."
        )
    return codes.astype(np.int8) if max(-low, high) <= LARGEST else codes


def _bias(
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
    view = (len(scale), 1, 1) if node.op == "Conv" else (len(scale),)
    if node.op == "Conv" and constant.codes.ndim == 1:
        constant = constant.along_channels()
    return rounded_bias(node, constant, scale, view, factor)
