"""Max and average pooling."""

from __future__ import annotations

import math
from dataclasses import replace

from steelyard.errors import UserError
from steelyard.importer.node import Node
from steelyard.importer.operators.shapes import axes_of
from steelyard.importer.registry import operator
from steelyard.importer.unscaled import UnscaledAvgPool, UnscaledMaxPool
from steelyard.importer.values import NO_PADDING, Activation, Codes, LaterMaxPool, Padding, Pending
from steelyard.importer.walk import Walk
from steelyard.importer.windows import WINDOW, NodeWindow, read_window
from steelyard.network import Shape


@operator(
    "MaxPool",
    inputs=1,
    reads=(*WINDOW, "ceil_mode"),
    ignores={"storage_order": "it orders the indices of the second output, which is refused"},
)
def max_pool(walk: Walk, node: Node) -> None:
    """Max pooling, of real values or of codes; ceil_mode becomes padding, which never wins."""
    given = walk.value(node, 0)
    if isinstance(given, Pending):
        _pool_later(walk, node, given)
        return
    # The largest code belongs to the largest value, so codes are pooled as real values are.
    codes = given if isinstance(given, Codes) else None
    source, _ = walk.plane(node, value=walk.dequantized(codes) if codes else None)
    if source.tensor.zero_point != -128:
        # A Pad node's zeros can be the maximum, padding cannot.
        source = walk.unpadded(source)
    shape, window, padding = _max_window(node, source.tensor.shape, source.padding)
    layer = UnscaledMaxPool(node.name, shape, source.tensor, window.kernel, window.stride, padding)
    pooled = Pending(layer, shape)
    if codes:
        name = node.outputs[0]
        parameters = (codes.scale, codes.zero_point, codes.unsigned)
        walk.bind(node, Codes(pooled, name, *parameters, shape))
    else:
        walk.bind(node, pooled)


def _pool_later(walk: Walk, node: Node, value: Pending) -> None:
    """Pools what is quantized only behind the pooling, which rounding may precede."""
    layer = value.layer
    if value.view != layer.shape:
        raise node.error(
            f"takes a tensor of shape {('batch', *value.view)}, allowed is the unflattened "
            f"{('batch', *layer.shape)}; place flatten and reshape right before the fully "
            "connected layers."
        )
    shape, window, padding = _max_window(node, layer.shape, NO_PADDING)
    later = LaterMaxPool(
        node.name, shape, node.inputs[0], value, window.kernel, window.stride, padding
    )
    walk.bind(node, Pending(later, shape))


def _max_window(node: Node, shape: Shape, before: Padding) -> tuple[Shape, NodeWindow, Padding]:
    """Shape of the result, window, and padding with what ceil_mode reads beyond the map."""
    if len(node.outputs) != 1:
        raise node.error("has an output of indices, one output is allowed; remove the second.")
    window = _pooling_window(node, shape, before)
    top, left, bottom, right = window.padding
    padding = (top, left, bottom + window.ceil_excess[0], right + window.ceil_excess[1])
    return (shape[0], *window.output_size), window, padding


@operator("AveragePool", inputs=1, reads=(*WINDOW, "ceil_mode", "count_include_pad"))
def average_pool(walk: Walk, node: Node) -> None:
    """Average pooling, whose padding counts as zeros or not at all."""
    source, _ = walk.plane(node)
    window = _pooling_window(node, source.tensor.shape, source.padding)
    top, left, bottom, right = window.padding
    padding = (top, left, bottom + window.ceil_excess[0], right + window.ceil_excess[1])
    counted = window.padding if node.attributes["count_include_pad"] else source.padding
    if counted == padding and window.needs_pad:
        source, padding = walk.unpadded(replace(source, padding=padding)), NO_PADDING
        counted = NO_PADDING
    shape = (source.tensor.shape[0], *window.output_size)
    layer = UnscaledAvgPool(
        node.name, shape, source.tensor, window.kernel, window.stride, padding, counted=counted
    )
    if counted != padding:
        try:
            layer.runs()
        except UserError as error:
            raise node.error(f"has pads {window.own_padding}: {error}") from None
    walk.bind(node, Pending(layer, shape))


@operator("GlobalAveragePool", "GlobalMaxPool", inputs=1)
def global_pool(walk: Walk, node: Node) -> None:
    """Pooling over the whole map."""
    source, _ = walk.plane(node)
    source = walk.unpadded(source)
    channels, height, width = source.tensor.shape
    shape, kernel = (channels, 1, 1), (height, width)
    if node.op == "GlobalAveragePool":
        walk.bind(node, Pending(UnscaledAvgPool(node.name, shape, source.tensor, kernel), shape))
    else:
        layer = UnscaledMaxPool(node.name, shape, source.tensor, kernel, (1, 1), NO_PADDING)
        walk.bind(node, Pending(layer, shape))


@operator("ReduceMean", inputs=2, reads=("axes", "keepdims", "noop_with_empty_axes"))
def reduce_mean(walk: Walk, node: Node) -> None:
    """Mean over height, width or both, or over the pixels of maps that were flattened."""
    value = walk.value(node, 0)
    flat = isinstance(value, Activation) and value.view == (
        value.tensor.shape[0],
        math.prod(value.tensor.shape[1:]),
    )
    source = walk.unpadded(walk.activation(node) if flat else walk.plane(node)[0])
    channels, height, width = source.tensor.shape
    axes = axes_of(walk, node, 1 + len(source.view))
    if not axes and node.attributes.get("noop_with_empty_axes"):
        raise node.error(
            "has noop_with_empty_axes = 1 and no axes, which leaves its input as it is; "
            "leave the node out."
        )
    if not axes or not set(axes) <= set(range(2, 1 + len(source.view))):
        raise node.error(
            f"has axes {axes}, allowed is a mean over height (2), width (3) or both; "
            "use global average pooling."
        )
    kernel = (height if flat or 2 in axes else 1, width if flat or 3 in axes else 1)
    shape = (channels, height - kernel[0] + 1, width - kernel[1] + 1)
    kept = bool(node.attributes["keepdims"])
    view = tuple(
        1 if axis in axes else size
        for axis, size in enumerate(source.view, start=1)
        if kept or axis not in axes
    )
    layer = UnscaledAvgPool(node.name, shape, source.tensor, kernel)
    walk.bind(node, Pending(layer, view))


def _pooling_window(node: Node, shape: Shape, before: Padding) -> NodeWindow:
    _, height, width = shape
    kernel = tuple(node.attributes["kernel_shape"])
    if len(kernel) != 2:
        raise node.error(
            f"has the kernel shape {kernel}, allowed are two sizes (height, width); "
            "use two-dimensional pooling."
        )
    return read_window(node, (kernel[0], kernel[1]), (height, width), before)
