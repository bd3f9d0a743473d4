"""Max and average pooling."""

from __future__ import annotations

import numpy as np

from steelyard.importer.builder import Builder, operator
from steelyard.importer.drafts import AvgPoolDraft, MaxPoolDraft
from steelyard.importer.graph import Node
from steelyard.importer.values import NO_PADDING, Activation, Pending
from steelyard.importer.windows import Window, read_window


@operator("MaxPool")
def max_pool(builder: Builder, node: Node) -> None:
    """Max pooling; ceil_mode becomes padding, which never wins."""
    source = builder.activation(node)
    if source.padding != NO_PADDING and source.tensor.zero_point != -128:
        raise node.error(
            "follows a Pad node whose zeros can be the maximum; "
            "use the pooling's own padding, or pad after a ReLU."
        )
    if len([name for name in node.outputs if name]) != 1:
        raise node.error("has an output of indices, one output is allowed; remove the second.")
    window = _pooling_window(node, source)
    top, left, bottom, right = window.padding
    shape = (source.tensor.shape[0], *window.output_size)
    padding = (top, left, bottom + window.ceil_excess[0], right + window.ceil_excess[1])
    draft = MaxPoolDraft(node.name, shape, source.tensor, window.kernel, window.stride, padding)
    builder.bind(node, Pending(draft, shape))


@operator("AveragePool")
def average_pool(builder: Builder, node: Node) -> None:
    """Average pooling whose padding counts as zeros."""
    source = builder.activation(node)
    window = _pooling_window(node, source)
    if any(window.own_padding) and not node.attributes.get("count_include_pad", 0):
        raise node.error(
            f"has pads {window.own_padding} that do not count (count_include_pad = 0), allowed is "
            "padding that counts as zeros; set count_include_pad or remove the padding."
        )
    if window.ceil_excess != (0, 0):
        raise node.error(
            "has ceil_mode with windows beyond the map, allowed are windows inside the padded map; "
            "remove ceil_mode or pad the map."
        )
    shape = (source.tensor.shape[0], *window.output_size)
    draft = AvgPoolDraft(
        node.name, shape, source.tensor, window.kernel, window.stride, window.padding
    )
    builder.bind(node, Pending(draft, shape))


@operator("GlobalAveragePool", "GlobalMaxPool")
def global_pool(builder: Builder, node: Node) -> None:
    """Pooling over the whole map."""
    source = builder.activation(node).unpadded(node)
    channels, height, width = source.plane(node)
    shape, kernel = (channels, 1, 1), (height, width)
    if node.op == "GlobalAveragePool":
        builder.bind(node, Pending(AvgPoolDraft(node.name, shape, source.tensor, kernel), shape))
    else:
        draft = MaxPoolDraft(node.name, shape, source.tensor, kernel, 1, NO_PADDING)
        builder.bind(node, Pending(draft, shape))


@operator("ReduceMean")
def reduce_mean(builder: Builder, node: Node) -> None:
    """Mean over height and width, which is global average pooling."""
    source = builder.activation(node).unpadded(node)
    channels, height, width = source.plane(node)
    given = builder.constant(node, 1)
    axes = node.attributes.get("axes") if given is None else np.atleast_1d(given).tolist()
    if axes is None or {axis % 4 for axis in axes} != {2, 3}:
        raise node.error(
            f"has axes {axes}, allowed is the mean over height and width (2, 3); "
            "use global average pooling."
        )
    view = (channels, 1, 1) if node.attributes.get("keepdims", 1) else (channels,)
    draft = AvgPoolDraft(node.name, (channels, 1, 1), source.tensor, (height, width))
    builder.bind(node, Pending(draft, view))


def _pooling_window(node: Node, source: Activation) -> Window:
    _, height, width = source.plane(node)
    kernel = tuple(node.attributes.get("kernel_shape", ()))
    if len(kernel) != 2:
        raise node.error(
            f"has the kernel shape {kernel}, allowed are two sizes (height, width); "
            "use two-dimensional pooling."
        )
    return read_window(node, (kernel[0], kernel[1]), (height, width), source.padding)
