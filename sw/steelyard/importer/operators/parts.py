"""Parts of a tensor: some channels, rows or columns."""

from __future__ import annotations

from dataclasses import replace

from steelyard import network
from steelyard.contract.limits import MAX_POOL_STRIDE
from steelyard.importer.node import Node
from steelyard.importer.operators.shapes import axis_of
from steelyard.importer.registry import operator
from steelyard.importer.unscaled import Move
from steelyard.importer.values import Activation
from steelyard.importer.walk import Walk
from steelyard.network import Stride

EVERYTHING = (1 << 31) - 1
"""An end that is at least this large is the end of any axis."""

Part = tuple[int, int]
"""First place along an axis and the place behind the last one."""


@operator("Slice", inputs=5, reads=("axes", "ends", "starts"))
def slice_(walk: Walk, node: Node) -> None:
    """Neighbouring channels, and rows and columns, of which it may leave out some."""
    source = channelled(walk, node)
    sizes = (walk.graph.batch, *source.view)
    given = [node.attributes.get("starts"), node.attributes.get("ends"), None, None]
    given[2] = node.attributes.get("axes")
    if len(node.inputs) > 1:
        given = [walk.integers(node, index) for index in (1, 2, 3, 4)]
    starts, ends = (list(each or ()) for each in given[:2])
    axes = list(range(len(starts))) if given[2] is None else list(given[2])
    steps = [1] * len(starts) if given[3] is None else list(given[3])
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise node.error(
            f"has {len(starts)} starts, {len(ends)} ends, {len(axes)} axes and {len(steps)} steps, "
            "allowed is one of each for an axis; export the network again."
        )
    places = [axis_of(node, axis, len(sizes)) for axis in axes]
    plane = source.view == source.tensor.shape
    for axis, step in zip(places, steps, strict=True):
        most = MAX_POOL_STRIDE if axis > 1 and plane else 1
        if not 1 <= step <= most:
            raise node.error(
                f"has steps {steps}, allowed are 1, and for rows and columns of a map up to "
                f"{MAX_POOL_STRIDE}; use a convolution or pooling with a stride."
            )
    strides = dict(zip(places, steps, strict=True))
    parts: dict[int, Part] = {}
    for axis, start, end in zip(places, starts, ends, strict=True):
        size = sizes[axis]
        if size is None:
            if start or end < EVERYTHING:
                raise node.error(
                    f"takes images {start} to {end} of a batch of any size, allowed are all "
                    "images; give the batch to the network as it should be."
                )
            continue
        first, stop = (min(max(v + size if v < 0 else v, 0), size) for v in (start, end))
        parts[axis] = (first, stop)
    if parts.pop(0, (0, sizes[0])) != (0, sizes[0]):
        raise node.error(
            "takes some images of a batch, allowed are all images; give the batch to the network "
            "as it should be."
        )
    _bind_part(walk, node, source, parts, 0, (strides.get(2, 1), strides.get(3, 1)))


@operator("Split", inputs=2, reads=("axis", "num_outputs", "split"))
def split(walk: Walk, node: Node) -> None:
    """Channels, rows or columns dealt out to several outputs."""
    source = channelled(walk, node)
    rank = 1 + len(source.view)
    axis = axis_of(node, node.attributes["axis"], rank)
    if axis == 0:
        raise node.error(
            "splits the batch, allowed are the axes of channels, height and width; give the batch "
            "to the network as it should be."
        )
    size = source.view[axis - 1]
    named = node.attributes.get("split")
    counts = walk.integers(node, 1) if len(node.inputs) > 1 else named
    if counts is None:
        outputs = node.attributes.get("num_outputs") or len(node.proto.output)
        # All parts are equal but the last.
        each = -(-size // outputs)
        counts = [min(each, size - each * number) for number in range(outputs)]
    if sum(counts) != size or min(counts) < 1 or len(counts) != len(node.proto.output):
        raise node.error(
            f"splits {size} places of axis {axis} into {counts} for {len(node.proto.output)} "
            "outputs, allowed are as many parts as outputs, which fill the axis; "
            "export the network again."
        )
    first = 0
    for number, count in enumerate(counts):
        if number < len(node.outputs) and node.outputs[number]:
            _bind_part(walk, node, source, {axis: (first, first + count)}, number)
        first += count


def channelled(walk: Walk, node: Node, index: int = 0) -> Activation:
    """Activation whose first axis behind the batch is that of its tensor's channels.

    Raises
    ------
    UserError
        As :meth:`Walk.plane`.
    """
    value = walk.value(node, index)
    if isinstance(value, Activation) and (*value.view, 1, 1) == value.tensor.shape:
        return walk.activation(node, index)
    source, _ = walk.plane(node, index)
    return walk.unpadded(source)


def _bind_part(
    walk: Walk,
    node: Node,
    source: Activation,
    parts: dict[int, Part],
    output: int,
    stride: Stride = (1, 1),
) -> None:
    """Let an output be a part of the source, by axis; axes that are not named stay whole.

    Of rows and columns it takes one of each `stride`.
    """
    sizes = source.tensor.shape
    (first, stop), (top, bottom), (left, right) = (
        parts.get(axis, (0, size)) for axis, size in enumerate(sizes, start=1)
    )
    view = tuple(
        -(-(stop - start) // (stride[axis - 2] if axis > 1 else 1))
        for axis, size in enumerate(source.view, start=1)
        for start, stop in [parts.get(axis, (0, size))]
    )
    if min(view) < 1:
        raise node.error(
            f"takes nothing of a tensor of shape {('batch', *source.view)}, allowed are parts of "
            "one element and more; leave the node out."
        )
    moves: list[Move] = []
    if (first, stop) != (0, sizes[0]):
        moves.append((network.Slice, {"first": first, "count": stop - first}))
    cut = (-top, -left, bottom - sizes[1], right - sizes[2])
    if any(cut):
        moves.append((network.Pad, {"padding": cut}))
    if stride != (1, 1):
        moves.append((network.MaxPool, {"kernel": (1, 1), "stride": stride}))
    tensor = walk.moved(node, source.tensor, *moves, output=output)
    walk.bind(node, replace(source, tensor=tensor, view=view), output)
