"""Convolution, fully connected layers and adds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from steelyard.importer.builder import Builder, operator
from steelyard.importer.drafts import AddDraft, ConvDraft
from steelyard.importer.errors import NotQuantized
from steelyard.importer.graph import Node
from steelyard.importer.values import Constant, Pending, QuantizedConstant
from steelyard.importer.windows import read_window

INT32 = np.iinfo(np.int32)


@operator("Conv")
def conv(builder: Builder, node: Node) -> None:
    """Convolution of one group."""
    source = builder.activation(node)
    channels, height, width = source.plane(node)
    weight, weight_scale = _weight(builder, node, 1, axis=0)
    if weight.ndim != 4:
        raise node.error(
            f"has a weight of {weight.ndim} axes, allowed are 4 (two-dimensional convolution); "
            "rewrite the layer as Conv2d."
        )
    groups = int(node.attributes.get("group", 1))
    if groups != 1 or weight.shape[1] != channels:
        raise node.error(
            f"has {groups} groups, allowed is 1; use a convolution over all channels."
            if groups != 1
            else f"has a weight for {weight.shape[1]} channels where its input has {channels}; "
            "mend the weight."
        )
    kernel = (weight.shape[2], weight.shape[3])
    window = read_window(node, kernel, (height, width), source.padding)
    if window.ceil_excess != (0, 0):
        raise node.error("has ceil_mode, which convolutions do not know; remove the attribute.")
    scale = source.tensor.scale * weight_scale
    bias = _bias(builder, node, 2, scale)
    shape = (weight.shape[0], *window.output_size)
    draft = ConvDraft(
        node.name,
        shape,
        source.tensor,
        weight,
        bias,
        scale,
        window.stride,
        window.padding,
    )
    builder.bind(node, Pending(draft, shape))


@operator("Gemm", "MatMul")
def fully_connected(builder: Builder, node: Node) -> None:
    """Fully connected layer, as a convolution whose kernel is the map before the flatten."""
    source = builder.activation(node).unpadded(node)
    for name, allowed in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
        if node.attributes.get(name, allowed) != allowed:
            raise node.error(
                f"has {name} = {node.attributes[name]}, allowed is {allowed:g}; "
                "use an ordinary fully connected layer."
            )
    if len(source.view) != 1:
        raise node.error(
            f"takes a tensor of shape {('batch', *source.view)}, allowed is ('batch', features); "
            "flatten the tensor before the fully connected layer."
        )
    transposed = bool(node.attributes.get("transB", 0))
    weight, weight_scale = _weight(builder, node, 1, axis=0 if transposed else 1)
    matrix = weight if transposed else weight.T
    if matrix.ndim != 2 or matrix.shape[1] != source.tensor.size:
        raise node.error(
            f"has a weight of shape {weight.shape} where its input has {source.tensor.size} "
            "features; mend the weight."
        )
    scale = source.tensor.scale * weight_scale
    bias = _bias(builder, node, 2, scale) if node.op == "Gemm" else None
    outputs = matrix.shape[0]
    draft = ConvDraft(
        node.name,
        (outputs, 1, 1),
        source.tensor,
        np.ascontiguousarray(matrix.reshape(outputs, *source.tensor.shape)),
        bias,
        scale,
        fully_connected=True,
    )
    builder.bind(node, Pending(draft, (outputs,)))


@operator("Add")
def add(builder: Builder, node: Node) -> None:
    """Residual add of two activations, or the bias of a layer that has none yet."""
    for index in (0, 1):
        pending = builder.value(node, index)
        other = builder.value(node, 1 - index)
        if isinstance(pending, Pending) and isinstance(other, Constant | QuantizedConstant):
            builder.bind(node, _add_bias(builder, node, pending, 1 - index))
            return
    a = builder.activation(node, 0).unpadded(node)
    b = builder.activation(node, 1).unpadded(node)
    if a.tensor.shape != b.tensor.shape or a.view != b.view:
        raise node.error(
            f"adds tensors of shapes {('batch', *a.view)} and {('batch', *b.view)}, only equal "
            "shapes are allowed; bring both to one shape with a 1x1 convolution."
        )
    builder.bind(node, Pending(AddDraft(node.name, a.tensor.shape, a.tensor, b.tensor), a.view))


def _add_bias(builder: Builder, node: Node, pending: Pending, index: int) -> Pending:
    draft = pending.draft
    clamped = (pending.low, pending.high) != (-np.inf, np.inf)
    if not isinstance(draft, ConvDraft) or draft.bias is not None or clamped:
        raise node.error(
            "adds a constant to a result that cannot take it, allowed is the bias of a layer "
            "without one; put the constant into the layer's own bias."
        )
    bias = _bias(builder, node, index, draft.scale)
    return replace(pending, draft=replace(draft, bias=bias))


def _weight(
    builder: Builder, node: Node, index: int, axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float64]]:
    """Int8 weight and its float64 scale (output channels along `axis`,)."""
    value = builder.value(node, index)
    if isinstance(value, Constant) and value.array.ndim > axis:
        raise NotQuantized(
            f"{node.title} has a weight that is not quantized, allowed is int8",
            node.inputs[index],
            node.outputs[0],
            index,
            value.array,
            axis,
        )
    if not isinstance(value, QuantizedConstant) or not value.real or value.codes.dtype != np.int8:
        raise node.error(
            "has a weight that is not an int8 constant behind a DequantizeLinear, as it must be; "
            "start from the float network and quantize it with 'steelyard quantize'."
        )
    codes = value.codes
    if codes.size and codes.min() < -127:
        raise node.error(
            "has a weight of -128, allowed are -127 to 127; "
            "quantize weights symmetrically with 'steelyard quantize'."
        )
    outputs = codes.shape[axis] if codes.ndim > axis else 0
    if value.scale.size != 1 and (value.axis != axis or value.scale.size != outputs):
        raise node.error(
            f"has weight scales along axis {value.axis}, allowed is the output axis {axis}; "
            "quantize weights per output channel."
        )
    scale = np.broadcast_to(value.scale.reshape(-1).astype(np.float64), (outputs,))
    return codes, scale


def _bias(
    builder: Builder, node: Node, index: int, scale: NDArray[np.float64]
) -> NDArray[np.int32] | None:
    """Bias in accumulator steps of `scale`, None if absent."""
    value = builder.value(node, index)
    if value is None:
        return None
    if isinstance(value, QuantizedConstant) and value.real:
        codes = value.codes.reshape(-1).astype(np.float64)
        own = np.broadcast_to(value.scale.reshape(-1).astype(np.float64), codes.shape)
        # Exporters round s_x * s_w to float32; that is the same scale, not another one.
        same = codes.shape == scale.shape and np.allclose(own, scale, rtol=1e-6, atol=0)
        steps = codes if same else codes * own / (scale if codes.shape == scale.shape else 1)
    elif isinstance(value, Constant) and value.array.size == scale.size:
        steps = value.array.reshape(-1).astype(np.float64) / scale
    else:
        steps = np.zeros(0)
    if steps.shape != scale.shape:
        raise node.error(
            f"has a bias that is not a constant of {scale.size} output channels; mend the bias."
        )
    if not np.all(np.isfinite(steps)):
        raise node.error(
            "has a bias that is NaN or infinite, allowed are finite values; "
            "train or load the weights again."
        )
    rounded = np.rint(steps)
    if np.any(rounded < INT32.min) or np.any(rounded > INT32.max):
        raise node.error(
            "has a bias that exceeds 32 bits at the accumulator's scale; quantize the network "
            "again with calibration data that reaches this layer."
        )
    return rounded.astype(np.int32)
