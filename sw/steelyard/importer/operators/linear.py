"""Convolution, fully connected layers and adds of two activations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steelyard.importer.functions import bind_joined
from steelyard.importer.node import Node
from steelyard.importer.operators.constants import add_activations, add_constant, constant_operand
from steelyard.importer.operators.shapes import identity
from steelyard.importer.operators.weights import bias_of, dilated, weight_of
from steelyard.importer.registry import operator
from steelyard.importer.unscaled import UnscaledConv
from steelyard.importer.values import NO_PADDING, Pending, Turned
from steelyard.importer.walk import Walk
from steelyard.importer.windows import WINDOW, read_window


@operator("Conv", inputs=3, reads=(*WINDOW, "group"))
def conv(walk: Walk, node: Node) -> None:
    """Convolution, of one group or several."""
    source, (channels, height, width) = walk.plane(node)
    weight, weight_scale = weight_of(walk, node, 1, axis=0)
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
    weight = dilated(node, weight)
    kernel = (weight.shape[2], weight.shape[3])
    window = read_window(node, kernel, (height, width), source.padding, dilated=True)
    padding = window.padding
    if window.needs_pad:
        source, padding = walk.unpadded(replace(source, padding=padding)), NO_PADDING
    scale = source.tensor.scale * weight_scale
    bias = bias_of(walk, node, scale)
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


@operator("Gemm", "MatMul", inputs=3, reads=("alpha", "beta", "transA", "transB"))
def fully_connected(walk: Walk, node: Node) -> None:
    """Fully connected layer, as a convolution whose kernel is the map before the flatten."""
    given = walk.value(node, 0)
    turned = given if isinstance(given, Turned) else None
    source = walk.unpadded(walk.activation(node, value=turned.value if turned else None))
    view = turned.view if turned else source.view
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
    if len(view) != 1:
        raise node.error(
            f"takes a tensor of shape {('batch', *view)}, allowed is ('batch', features); "
            "flatten the tensor before the fully connected layer."
        )
    transposed = bool(node.attributes.get("transB", 0))
    weight, weight_scale = weight_of(walk, node, 1, axis=0 if transposed else 1)
    matrix = weight if transposed else weight.T
    if matrix.ndim != 2 or matrix.shape[1] != source.tensor.size or not len(matrix):
        raise node.error(
            f"has a weight of shape {weight.shape} where its input has {source.tensor.size} "
            "features; export the network again."
        )
    scale = source.tensor.scale * weight_scale * alpha
    bias = bias_of(walk, node, scale, beta) if node.op == "Gemm" else None
    outputs = matrix.shape[0]
    kernel = matrix.reshape(outputs, *source.tensor.shape)
    if turned:
        channels, height, width = source.tensor.shape
        kernel = matrix.reshape(outputs, height, width, channels).transpose(0, 3, 1, 2)
    layer = UnscaledConv(
        node.name,
        (outputs, 1, 1),
        source.tensor,
        np.ascontiguousarray(kernel),
        bias,
        scale,
        fully_connected=True,
    )
    walk.bind(node, Pending(layer, (outputs,)))


@operator("Sum", inputs=1)
def sum_(walk: Walk, node: Node) -> None:
    """The sum of one value or two."""
    if len(node.inputs) == 1:
        identity(walk, node)
    elif len(node.inputs) == 2:
        add(walk, node)
    else:
        raise node.error(
            f"sums {len(node.inputs)} values and rounds once, allowed are two; add them one after "
            "the other, each sum with its own QuantizeLinear, as 'steelyard quantize' does with a "
            "float network."
        )


@operator("Add", inputs=2)
def add(walk: Walk, node: Node) -> None:
    """Residual add of two activations, or a constant that a layer's bias or a table takes."""
    for index in (0, 1):
        constant = constant_operand(walk, node, index)
        if constant is not None:
            add_constant(walk, node, 1 - index, constant)
            return
    if bind_joined(walk, node, np.add):
        return
    a, b = (walk.unpadded(walk.activation(node, index)) for index in (0, 1))
    add_activations(walk, node, a, b)
