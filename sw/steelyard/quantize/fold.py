"""Constant factors and summands of a float graph, folded into the layers beside them.

A node that computes ``a * x + c`` for each channel (batch normalization, Mul, Div, Add and Sub with
a constant) goes into the convolution or fully connected layer before it, or into the one behind it;
where neither can take it, it becomes a 1x1 convolution (a fully connected layer of a vector) with a
diagonal weight, which says the same with an operator that the accelerator has.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steelyard.quantize.edit import Edit, attribute

if TYPE_CHECKING:
    import onnx

LARGEST_DIAGONAL = 4096
"""Channels up to which a diagonal weight is made: its square is stored."""


@dataclass(frozen=True)
class Affine:
    """``factor * x + summand`` of a value `x`; both float64 of one element or one a channel."""

    x: str
    factor: NDArray[np.float64]
    summand: NDArray[np.float64]


def fold_constants(model: onnx.ModelProto) -> None:
    """Canonical fully connected layers, then every constant factor and summand folded, in place.

    Parameters
    ----------
    model : float32 graph with inferred shapes, constants as initializers, every node named
    """
    edit = Edit(model)
    for node in list(edit.nodes):
        if node.op_type == "MatMul":
            _matmul_as_gemm(edit, node)
    for node in list(edit.nodes):
        if node.op_type == "Gemm":
            _plain_gemm(edit, node)
    # One at a time: what was folded makes the next one foldable.
    while any(_fold(edit, node) for node in edit.nodes):
        pass
    edit.finish()


def _matmul_as_gemm(edit: Edit, node: onnx.NodeProto) -> None:
    from onnx import helper

    shape, matrix = edit.shape(node.input[0]), edit.constant(node.input[1])
    if shape is None or len(shape) != 2 or matrix is None or matrix.ndim != 2:
        return
    edit.replace(node, helper.make_node("Gemm", list(node.input), list(node.output), node.name))


def _plain_gemm(edit: Edit, node: onnx.NodeProto) -> None:
    """alpha and beta go into the constants, and a bias of any shape becomes one a column."""
    from onnx import helper

    matrix = edit.constant(node.input[1])
    if matrix is None or matrix.ndim != 2 or attribute(node, "transA", 0):
        return
    named = len(node.input) > 2 and bool(node.input[2])
    bias = edit.constant(node.input[2]) if named else None
    if named and bias is None:
        return
    columns = matrix.shape[0] if attribute(node, "transB", 0) else matrix.shape[1]
    if bias is not None:
        if bias.size not in (1, columns) or (bias.ndim == 2 and bias.shape[0] != 1):
            return
        scaled = bias.astype(np.float64) * attribute(node, "beta", 1.0)
        bias = np.broadcast_to(scaled.reshape(-1), (columns,)).astype(np.float32)
    alpha = attribute(node, "alpha", 1.0)
    if alpha != 1:
        matrix = (matrix.astype(np.float64) * alpha).astype(np.float32)
    inputs = [node.input[0], edit.add_constant(f"{node.name}/weight", matrix)]
    if bias is not None:
        inputs.append(edit.add_constant(f"{node.name}/bias", bias))
    edit.replace(
        node,
        helper.make_node(
            "Gemm", inputs, list(node.output), node.name, transB=attribute(node, "transB", 0)
        ),
    )


def _fold(edit: Edit, node: onnx.NodeProto) -> bool:
    """Whether the node was a constant factor or summand and has gone."""
    affine = _affine(edit, node)
    if affine is None:
        return False
    shape = edit.shape(node.output[0]) or edit.shape(affine.x)
    if shape is None or len(shape) < 2 or not shape[1]:
        return False
    channels = shape[1]
    if affine.factor.size not in (1, channels) or affine.summand.size not in (1, channels):
        return False
    return (
        _fold_back(edit, node, affine)
        or _fold_ahead(edit, node, affine, channels)
        or (
            not _goes_into_table(edit, node, affine)
            and _as_diagonal(edit, node, affine, len(shape), channels)
        )
    )


def _affine(edit: Edit, node: onnx.NodeProto) -> Affine | None:
    """What a node computes for each channel, None if it is not of that kind."""
    if node.op_type == "BatchNormalization":
        return _normalization(edit, node)
    if node.op_type == "Neg":
        return Affine(node.input[0], np.full(1, -1.0), np.zeros(1))
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(node.input) != 2:
        return None
    for index in (0, 1):
        constant = edit.constant(node.input[1 - index])
        shape = edit.shape(node.input[index])
        if constant is None or edit.constant(node.input[index]) is not None or shape is None:
            continue
        values = _by_channel(constant, shape)
        if values is None or (node.op_type == "Div" and (index == 1 or not np.all(values))):
            return None
        one, zero = np.ones(1), np.zeros(1)
        factor, summand = {
            "Add": (one, values),
            "Sub": (one, -values) if index == 0 else (-one, values),
            "Mul": (values, zero),
            "Div": (1 / np.where(values == 0, 1, values), zero),
        }[node.op_type]
        return Affine(node.input[index], factor, summand)
    return None


def _normalization(edit: Edit, node: onnx.NodeProto) -> Affine | None:
    found = [edit.constant(name) for name in node.input[1:5]]
    outputs = [name for name in node.output if name]
    if len(found) != 4 or any(each is None for each in found) or len(outputs) != 1:
        return None
    if attribute(node, "training_mode", 0):
        return None
    scale, bias, mean, variance = (np.asarray(each, np.float64) for each in found)
    factor = scale / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
    return Affine(node.input[0], factor, bias - mean * factor)


def _by_channel(constant: NDArray[Any], shape: tuple[int | None, ...]) -> NDArray[Any] | None:
    """Constant as (1,) or (channels,) if it broadcasts along axis 1 alone, else None."""
    if constant.ndim > len(shape) or constant.dtype != np.float32:
        return None
    sizes = (1,) * (len(shape) - constant.ndim) + constant.shape
    if any(size != 1 for axis, size in enumerate(sizes) if axis != 1):
        return None
    return constant.astype(np.float64).reshape(-1)


def _weights(edit: Edit, node: onnx.NodeProto) -> tuple[NDArray[Any], NDArray[Any], int] | None:
    """Weight and bias of a layer in float64, and the axis of its outputs; None for others."""
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm") or attribute(node, "transA", 0):
        return None
    weight = edit.constant(node.input[1])
    if weight is None:
        return None
    axis = 0 if node.op_type == "Conv" or attribute(node, "transB", 0) else 1
    bias = np.zeros(weight.shape[axis])
    if len(node.input) > 2 and node.input[2]:
        given = edit.constant(node.input[2])
        if given is None or given.shape != bias.shape:
            return None
        bias = given.astype(np.float64)
    return weight.astype(np.float64), bias, axis


def _set_weights(
    edit: Edit, node: onnx.NodeProto, weight: NDArray[Any], bias: NDArray[Any]
) -> None:
    """Give a layer constants of its own; others may read the old ones."""
    names = [
        edit.add_constant(f"{node.name}/weight", weight.astype(np.float32)),
        edit.add_constant(f"{node.name}/bias", bias.astype(np.float32)),
    ]
    del node.input[1:]
    node.input.extend(names)
    edit.replace(node, node)


def _fold_back(edit: Edit, node: onnx.NodeProto, affine: Affine) -> bool:
    """Into the layer before, past a Relu that only positive factors follow."""
    layer = edit.producer(affine.x)
    if layer is None or not edit.reads_alone(node, affine.x):
        return False
    if layer.op_type == "Relu":
        if np.any(affine.factor <= 0) or np.any(affine.summand):
            return False
        clamp = layer
        layer = edit.producer(clamp.input[0])
        if layer is None or not edit.reads_alone(clamp, clamp.input[0]):
            return False
    known = None if layer is None else _weights(edit, layer)
    if layer is None or known is None:
        return False
    weight, bias, axis = known
    lanes = [1] * weight.ndim
    lanes[axis] = -1
    _set_weights(
        edit, layer, weight * affine.factor.reshape(lanes), bias * affine.factor + affine.summand
    )
    # The variable operand may have been the second one.
    node.input[0] = affine.x
    edit.bypass(node)
    return True


def _fold_ahead(edit: Edit, node: onnx.NodeProto, affine: Affine, channels: int) -> bool:
    """Into the layer behind; its padding stays zero only where nothing is added."""
    layer = edit.only_reader(node.output[0])
    known = None if layer is None else _weights(edit, layer)
    if layer is None or known is None or layer.input[0] != node.output[0]:
        return False
    padded = any(attribute(layer, "pads", [])) or attribute(layer, "auto_pad", "NOTSET") not in (
        "NOTSET", "VALID",
    )  # fmt: skip
    # The pixels of a transposed convolution are sums of unlike many terms.
    padded = padded or layer.op_type == "ConvTranspose"
    if attribute(layer, "group", 1) != 1 or (padded and np.any(affine.summand)):
        return False
    weight, bias, axis = known
    if weight.shape[1 - axis] != channels:
        return False
    lanes = [1] * weight.ndim
    lanes[1 - axis] = -1
    summand = np.broadcast_to(affine.summand, (channels,)).reshape(lanes)
    others = tuple(place for place in range(weight.ndim) if place != axis)
    bias = bias + (weight * summand).sum(axis=others)
    _set_weights(edit, layer, weight * affine.factor.reshape(lanes), bias)
    layer.input[0] = affine.x
    edit.replace(node)
    return True


def _goes_into_table(edit: Edit, node: onnx.NodeProto, affine: Affine) -> bool:
    """Whether a factor or summand for all channels is part of a function that is a table anyway."""
    if affine.factor.size != 1 or affine.summand.size != 1:
        return False
    return edit.functions().is_table(node.output[0])


def _as_diagonal(
    edit: Edit, node: onnx.NodeProto, affine: Affine, rank: int, channels: int
) -> bool:
    """A layer of its own, whose weight is zero but on the diagonal."""
    from onnx import helper

    if rank not in (2, 4) or channels > LARGEST_DIAGONAL:
        return False
    matrix = np.diag(np.broadcast_to(affine.factor, (channels,)).astype(np.float32))
    bias = np.broadcast_to(affine.summand, (channels,)).astype(np.float32)
    weight = matrix.reshape(channels, channels, 1, 1) if rank == 4 else matrix
    names = [
        affine.x,
        edit.add_constant(f"{node.name}/weight", weight),
        edit.add_constant(f"{node.name}/bias", bias),
    ]
    operator = "Conv" if rank == 4 else "Gemm"
    edit.replace(node, helper.make_node(operator, names, [node.output[0]], node.name))
    return True
