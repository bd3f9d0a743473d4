"""QuantizeLinear, DequantizeLinear and the clamps that fuse into them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steelyard.importer.builder import Builder, operator
from steelyard.importer.drafts import AvgPoolDraft
from steelyard.importer.graph import Node
from steelyard.importer.values import (
    Activation,
    Constant,
    NetworkInput,
    Pending,
    QuantizedConstant,
)


@operator("QuantizeLinear")
def quantize_linear(builder: Builder, node: Node) -> None:
    """Names an activation's scale: finishes the pending layer, or requantizes a quantized one."""
    value = builder.value(node, 0)
    if isinstance(value, Constant):
        builder.bind(node, _quantized_constant(builder, node, value.array))
        return
    scale, zero = _activation_parameters(builder, node)
    if isinstance(value, NetworkInput):
        tensor = builder.quantize_input(node, value, scale, zero)
        builder.bind(node, Activation(tensor, value.view))
    elif isinstance(value, Pending):
        tensor = builder.quantize(node, node.inputs[0], value, scale, zero)
        builder.bind(node, Activation(tensor, value.view))
    elif isinstance(value, Activation) and value.real:
        source = value.tensor
        if (source.scale, source.zero_point) != (scale, zero):
            pending = Pending(AvgPoolDraft(node.name, source.shape, source), value.view)
            source = builder.quantize(node, node.inputs[0], pending, scale, zero)
        builder.bind(node, replace(value, tensor=source, real=False))
    else:
        raise node.error(
            "takes a value that is quantized already, allowed is a real value; "
            "quantize the network with 'steelyard quantize'."
        )


@operator("DequantizeLinear")
def dequantize_linear(builder: Builder, node: Node) -> None:
    """Marks codes as real; scale and zero point must be those they were quantized with."""
    value = builder.value(node, 0)
    if isinstance(value, Constant):
        builder.bind(node, replace(_stored_constant(builder, node, value.array), real=True))
    elif isinstance(value, QuantizedConstant) and not value.real:
        builder.bind(node, replace(value, real=True))
    elif isinstance(value, Activation) and not value.real:
        parameters = _activation_parameters(builder, node)
        if parameters != (value.tensor.scale, value.tensor.zero_point):
            raise node.error(
                "has another scale or zero point than the QuantizeLinear before it, equal ones are "
                "allowed; quantize the network with 'steelyard quantize'."
            )
        builder.bind(node, replace(value, real=True))
    else:
        raise node.error(
            "takes a value that is not quantized, allowed are integer codes; "
            "quantize the network with 'steelyard quantize'."
        )


@operator("Relu", "Clip")
def clamp(builder: Builder, node: Node) -> None:
    """Narrows the pending layer's range; behind a DequantizeLinear it is a layer of its own."""
    low, high = 0.0, np.inf
    if node.op == "Clip":
        low, high = _clip_bounds(builder, node)
        if not low <= high:
            raise node.error(
                f"has bounds {low:g} and {high:g}, allowed is a lower bound up to the upper one; "
                "mend the bounds."
            )
    value = builder.value(node, 0)
    if isinstance(value, Pending):
        pending = value
    else:
        source = builder.activation(node).unpadded(node)
        draft = AvgPoolDraft(node.name, source.tensor.shape, source.tensor)
        pending = Pending(draft, source.view)
    # Clamping to [a, b] and then to [low, high] is clamping to the bounds below.
    bounds = [min(max(bound, low), high) for bound in (pending.low, pending.high)]
    builder.bind(node, replace(pending, low=bounds[0], high=bounds[1]))


def _clip_bounds(builder: Builder, node: Node) -> tuple[float, float]:
    bounds = [
        node.attributes.get("min", -np.inf),
        node.attributes.get("max", np.inf),
    ]
    for index in (1, 2):
        array = builder.constant(node, index)
        if array is not None:
            bounds[index - 1] = float(array)
    return float(bounds[0]), float(bounds[1])


def _scale(builder: Builder, node: Node) -> np.ndarray:
    scale = builder.constant(node, 1)
    if scale is None or not np.all(np.isfinite(scale)) or np.any(scale <= 0):
        raise node.error(
            "has a scale that is not finite and positive (NaN, infinite, zero or negative); train "
            "or load the weights again and quantize with 'steelyard quantize'."
        )
    return scale.astype(np.float32)


def _activation_parameters(builder: Builder, node: Node) -> tuple[float, int]:
    """Scale and int8 zero point of an activation; unsigned codes are shifted by 128."""
    scale = _scale(builder, node)
    zero = builder.constant(node, 2)
    if zero is None:
        zero = np.zeros((), np.uint8)  # ONNX's default
    if scale.size != 1 or zero.size != 1:
        raise node.error(
            f"has {scale.size} scales for an activation, one is allowed; "
            "quantize activations per tensor."
        )
    if zero.dtype not in (np.int8, np.uint8):
        raise node.error(
            f"quantizes an activation to {zero.dtype}, allowed are int8 and uint8; "
            "quantize activations to 8 bits."
        )
    offset = 128 if zero.dtype == np.uint8 else 0
    return float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]) - offset


def _stored_constant(builder: Builder, node: Node, codes: np.ndarray) -> QuantizedConstant:
    if codes.dtype not in (np.int8, np.int32):
        raise node.error(
            f"has constant codes of {codes.dtype}, allowed are int8 weights and int32 biases; "
            "quantize weights to signed 8 bits."
        )
    zero = builder.constant(node, 2)
    if zero is not None and np.any(zero):
        raise node.error(
            "has constants with a zero point other than 0, only symmetric weights are allowed; "
            "quantize weights symmetrically with 'steelyard quantize'."
        )
    return QuantizedConstant(codes, _scale(builder, node), _axis(node, codes))


def _quantized_constant(builder: Builder, node: Node, values: np.ndarray) -> QuantizedConstant:
    """Weights that the file stores as floats in front of a QuantizeLinear."""
    if not np.all(np.isfinite(values)):
        raise node.error(
            "takes weights that are NaN or infinite, allowed are finite weights; "
            "train or load the weights again."
        )
    zero = builder.constant(node, 2)
    if zero is None or zero.dtype != np.int8 or np.any(zero):
        raise node.error(
            "quantizes weights to other codes than int8 with zero point 0; "
            "quantize weights symmetrically with 'steelyard quantize'."
        )
    scale, axis = _scale(builder, node), _axis(node, values)
    steps = np.rint(values.astype(np.float32) / _along(scale, axis, values.ndim))
    return QuantizedConstant(np.clip(steps, -128, 127).astype(np.int8), scale, axis)


def _along(scale: np.ndarray, axis: int, rank: int) -> np.ndarray:
    """Scale shaped to broadcast along one axis of an array; scalars as they are."""
    if scale.size == 1:
        return scale
    return scale.reshape([-1 if i == axis else 1 for i in range(rank)])


def _axis(node: Node, array: np.ndarray) -> int:
    axis = int(node.attributes.get("axis", 1))
    return axis + array.ndim if axis < 0 else axis
