"""QuantizeLinear, DequantizeLinear and the clamps that fuse into them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steelyard.importer.errors import REQUANTIZE
from steelyard.importer.node import Node
from steelyard.importer.registry import operator
from steelyard.importer.unscaled import UnscaledAvgPool
from steelyard.importer.values import (
    Activation,
    Codes,
    Constant,
    NetworkInput,
    Pending,
    QuantizedConstant,
    along,
)
from steelyard.importer.walk import Walk

CODE_TYPES = ("int8", "uint8", "int16", "uint16", "int32")
"""Types of constant codes; activations have the first two."""
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
LARGEST_SCALE = float(np.finfo(np.float32).max) / 256
"""A range of 256 steps must have float32 ends."""

FLOAT8_ONLY = {"saturate": "it is about codes of 8-bit floating point, which are refused"}


@operator(
    "QuantizeLinear",
    inputs=3,
    reads=("axis", "block_size", "output_dtype", "precision"),
    ignores=FLOAT8_ONLY,
)
def quantize_linear(walk: Walk, node: Node) -> None:
    """Names an activation's scale; the DequantizeLinear finishes the layer."""
    dtype = _code_type(walk, node)
    _check_options(node)
    value = walk.value(node, 0)
    if isinstance(value, Constant):
        walk.bind(node, _quantized_constant(walk, node, value.array, dtype))
        return
    scale, zero, unsigned = _activation_parameters(walk, node, dtype)
    if not isinstance(value, NetworkInput | Pending | Activation):
        raise node.error(
            "takes codes or a quantized constant, allowed is a real value; "
            "leave the second quantization out."
        )
    name = node.inputs[0]
    walk.bind(node, Codes(value, name, scale, zero, unsigned, value.view))


@operator("DequantizeLinear", inputs=3, reads=("axis", "block_size", "output_dtype"))
def dequantize_linear(walk: Walk, node: Node) -> None:
    """Makes codes real; scale and zero point must be those they were quantized with."""
    _check_options(node)
    value = walk.value(node, 0)
    if isinstance(value, Constant):
        walk.bind(node, _stored_constant(walk, node, value.array))
    elif isinstance(value, QuantizedConstant) and not value.real:
        walk.bind(node, _requantized_constant(walk, node, value))
    elif isinstance(value, Codes):
        dtype = np.dtype(np.uint8 if value.unsigned else np.int8)
        zero = walk.constant(node, 2)
        if zero is not None and zero.dtype != dtype:
            raise node.error(
                f"has a zero point of {zero.dtype} for codes of {dtype}, allowed is one type; "
                "export the network again."
            )
        scale, zero_point, _ = _activation_parameters(walk, node, dtype)
        if (scale, zero_point) != (value.scale, value.zero_point):
            offset = 128 if value.unsigned else 0
            here, before = str(np.float32(scale)), str(np.float32(value.scale))
            raise node.error(
                f"has scale {here} and zero point {zero_point + offset} where the QuantizeLinear "
                f"before it has {before} and {value.zero_point + offset}, allowed are equal ones; "
                f"make them equal, or {REQUANTIZE}."
            )
        walk.bind(node, walk.dequantized(value))
    else:
        raise node.error(
            "takes a real value, allowed are integer codes behind a QuantizeLinear or stored in "
            "the file; export the network with a float input and leave this node out."
        )


@operator("Relu", inputs=1)
def relu(walk: Walk, node: Node) -> None:
    """Clamp from zero on."""
    clamp(walk, node, 0.0, np.inf)


@operator("Clip", inputs=3, reads=("min", "max"))
def clip(walk: Walk, node: Node) -> None:
    """Clamp to constant bounds, of real values or of codes."""
    bounds = [node.attributes.get("min"), node.attributes.get("max")]
    for index in (1, 2):
        array = walk.constant(node, index)
        if array is not None and array.size != 1:
            raise node.error(
                f"has {array.size} numbers as input {index}, allowed is one; use one bound."
            )
        if array is not None:
            bounds[index - 1] = array.reshape(-1)[0].item()
    low, high = (
        float(default if bound is None else bound)
        for bound, default in zip(bounds, (-np.inf, np.inf), strict=True)
    )
    if not low <= high:
        raise node.error(
            f"has bounds {low:g} and {high:g}, allowed is a lower bound up to the upper one; "
            "exchange the bounds."
        )
    clamp(walk, node, low, high)


def clamp(walk: Walk, node: Node, low: float, high: float, index: int = 0) -> None:
    """Narrows a pending layer or codes; behind a DequantizeLinear it is a layer of its own.

    Parameters
    ----------
    low, high : bounds, infinite where there is none
    index : of the node's input
    """
    value = walk.value(node, index)
    if isinstance(value, QuantizedConstant) and not value.real:
        codes = np.clip(value.codes.astype(np.float64), low, high).astype(value.codes.dtype)
        walk.bind(node, replace(value, codes=codes))
        return
    if isinstance(value, Codes):
        offset = 128 if value.unsigned else 0
        # Codes are integers, so bounds between them move inwards.
        ends = (np.ceil(low) - offset, np.floor(high) - offset)
        lo, hi = (int(min(max(bound, ends[0]), ends[1])) for bound in (value.lo, value.hi))
        if not -128 <= lo <= hi <= 127:
            raise node.error(
                f"clamps codes to {low:g} to {high:g}, where their type has none; "
                "export the network again."
            )
        walk.bind(node, replace(value, lo=lo, hi=hi))
        return
    if isinstance(value, Pending):
        pending = value
    else:
        source = walk.unpadded(walk.activation(node, index))
        layer = UnscaledAvgPool(node.name, source.tensor.shape, source.tensor)
        pending = Pending(layer, source.view)
    # Clamping to [a, b] and then to [low, high] is clamping to the bounds below.
    bounds = [min(max(bound, low), high) for bound in (pending.low, pending.high)]
    walk.bind(node, replace(pending, low=bounds[0], high=bounds[1]))


def data_type(number: object) -> str:
    """Name of ONNX's number for a type, as messages print it."""
    from onnx import TensorProto

    names = {value: name for name, value in TensorProto.DataType.items()}
    return names.get(number, str(number)).lower()


def _check_options(node: Node) -> None:
    """Options of newer opsets that change the numbers."""
    block = node.attributes.get("block_size")
    if block:
        raise node.error(
            f"has block_size = {block}, allowed is 0 (one scale a tensor or channel); {REQUANTIZE}."
        )
    key = "precision" if node.op == "QuantizeLinear" else "output_dtype"
    number = node.attributes.get(key)
    if number and data_type(number) not in ("float", "double"):
        raise node.error(
            f"has {key} = {data_type(number)}, allowed is float; export the network in float32."
        )


def _code_type(walk: Walk, node: Node) -> np.dtype:
    """Type of the codes of a QuantizeLinear: that of its zero point, or else `output_dtype`."""
    zero = walk.constant(node, 2)
    number = node.attributes.get("output_dtype")
    named = data_type(number) if number else None
    if zero is None:
        found = named or "uint8"  # the standard's default
    else:
        found = str(zero.dtype)
        if named not in (None, found):
            raise node.error(
                f"has output_dtype = {named} and a zero point of {found}, allowed is one type; "
                "export the network again."
            )
    if found not in CODE_TYPES:
        raise node.error(
            f"quantizes to {found}, allowed are int8 and uint8; {REQUANTIZE}, to 8 bits."
        )
    return np.dtype(found)


def _scale(walk: Walk, node: Node) -> np.ndarray:
    """Scale as float32 of one axis.

    Raises
    ------
    UserError
        If it is absent, not of real numbers, blocked, or outside what float32 can compute with.
    """
    scale = walk.constant(node, 1)
    if scale is None or scale.ndim > 1 or not np.issubdtype(scale.dtype, np.floating):
        # bfloat16 and the like are no numpy types.
        what = "none" if scale is None else f"{scale.dtype} of shape {scale.shape}"
        raise node.error(
            f"has {what} as its scale, allowed is one float number or one for each channel; "
            f"{REQUANTIZE}."
        )
    exact = scale.astype(np.float64)
    if not np.all(np.isfinite(exact)) or np.any(exact <= 0):
        raise node.error(
            "has a scale that is not finite and positive (NaN, infinite, zero or negative); train "
            "or load the weights again and quantize the float network with 'steelyard quantize'."
        )
    if exact.size == 0 or exact.min() < SMALLEST_SCALE or exact.max() > LARGEST_SCALE:
        found = f"{exact.min():g} to {exact.max():g}" if exact.size else "no number"
        raise node.error(
            f"has scales of {found}, allowed are {SMALLEST_SCALE:.3g} to {LARGEST_SCALE:.3g}; "
            "train or load the weights again and quantize the float network with "
            "'steelyard quantize'."
        )
    return exact.astype(np.float32)


def _activation_parameters(walk: Walk, node: Node, dtype: np.dtype) -> tuple[float, int, bool]:
    """Scale and int8 zero point of an activation, and whether its codes are unsigned."""
    scale = _scale(walk, node)
    zero = walk.constant(node, 2)
    if scale.size != 1 or (zero is not None and zero.size != 1):
        raise node.error(
            f"has {scale.size} scales for an activation, one is allowed; "
            "quantize activations per tensor."
        )
    if dtype not in (np.int8, np.uint8):
        raise node.error(
            f"quantizes an activation to {dtype}, allowed are int8 and uint8; "
            "quantize activations to 8 bits."
        )
    offset = 128 if dtype == np.uint8 else 0
    point = 0 if zero is None else int(zero.reshape(-1)[0])
    return float(scale.reshape(-1)[0]), point - offset, bool(offset)


def _constant_parameters(
    walk: Walk, node: Node, rank: int, shape: tuple[int, ...], dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray, int]:
    """Scale, zero point and axis of a constant."""
    scale = _scale(walk, node)
    zero = walk.constant(node, 2)
    if zero is None:
        zero = np.zeros((), dtype)  # the standard's default
    elif zero.dtype != dtype or zero.size not in (1, scale.size):
        raise node.error(
            f"has a zero point of {zero.dtype} of shape {zero.shape} for {dtype} codes with "
            f"{scale.size} scales, allowed is the codes' type and one for each scale; {REQUANTIZE}."
        )
    axis = node.attributes.get("axis")
    if scale.size == 1 and zero.size == 1:
        return scale, zero, 0
    if axis is None or not -rank <= axis < rank or shape[axis] != max(scale.size, zero.size):
        raise node.error(
            f"has {scale.size} scales along axis {axis} of a constant of shape {shape}, allowed "
            f"is one scale or one for each channel of an axis; {REQUANTIZE}."
        )
    return scale, zero, axis % rank


def _stored_constant(walk: Walk, node: Node, codes: np.ndarray) -> QuantizedConstant:
    if str(codes.dtype) not in CODE_TYPES:
        raise node.error(
            f"has constant codes of {codes.dtype}, allowed are int8 weights and int32 biases; "
            f"{REQUANTIZE}, to signed 8 bits."
        )
    scale, zero, axis = _constant_parameters(walk, node, codes.ndim, codes.shape, codes.dtype)
    return QuantizedConstant(codes, scale, zero, axis, real=True)


def _quantized_constant(
    walk: Walk, node: Node, values: np.ndarray, dtype: np.dtype
) -> QuantizedConstant:
    """Codes of a constant that the file stores in floats in front of a QuantizeLinear."""
    if not np.issubdtype(values.dtype, np.floating):
        raise node.error(
            f"takes a constant of {values.dtype}, allowed are float numbers; "
            "export the network again."
        )
    if not np.all(np.isfinite(values)):
        raise node.error(
            "takes weights that are NaN or infinite, allowed are finite weights; "
            "train or load the weights again."
        )
    if dtype == np.int32:
        raise node.error(f"quantizes to int32, allowed are 8 and 16 bits; {REQUANTIZE}.")
    scale, zero, axis = _constant_parameters(walk, node, values.ndim, values.shape, dtype)
    limits = np.iinfo(dtype)
    # A value beyond float32's range of codes saturates.
    with np.errstate(over="ignore"):
        steps = np.rint(values.astype(np.float32) / along(scale, axis, values.ndim))
    shifted = steps + along(zero, axis, values.ndim).astype(np.float32)
    codes = np.clip(shifted, limits.min, limits.max).astype(dtype)
    return QuantizedConstant(codes, scale, zero, axis)


def _requantized_constant(walk: Walk, node: Node, value: QuantizedConstant) -> QuantizedConstant:
    """Constant codes with the scale and zero point of the DequantizeLinear."""
    codes = value.codes
    scale, zero, axis = _constant_parameters(walk, node, codes.ndim, codes.shape, codes.dtype)
    return QuantizedConstant(codes, scale, zero, axis, real=True)
