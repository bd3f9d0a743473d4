"""The layers of an ONNX graph as pruning sees them: weights as rows, what is left dense and why."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steelyard.balanced.atoms import POINTWISE, WEIGHTED
from steelyard.balanced.budget import check_prunable
from steelyard.balanced.running import Runner
from steelyard.errors import UserError
from steelyard.quantize import attribute

if TYPE_CHECKING:
    import onnx

Map = tuple[int, int, int]
"""Channels, height and width of the map that a fully connected layer's input was flattened from."""
FLATTENING = ("Flatten", "Reshape", "Squeeze")


@dataclass(frozen=True)
class Window:
    """How a convolution moves over its input.

    Members
    -------
    kernel, strides, dilations : (y, x)
    pads : before y, before x, behind y, behind x
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]


@dataclass(frozen=True)
class GraphLayer:
    """A convolution or fully connected layer of a graph.

    Members
    -------
    name : of the node
    weight, bias : names of its constants; no bias is ``""``
    input, output : values that it reads and makes
    rows : outputs and weights of each
    macs : multiplications for one sample
    window : how it moves, None for a fully connected layer
    groups : of a convolution
    source : map that a fully connected layer's input was flattened from, None if it was none
    offset : whether a constant can be added to its outputs
    transposed : whether the weight of a fully connected layer is stored (inputs, outputs)
    factor, bias_factor : what a Gemm multiplies its weight and its bias by
    """

    name: str
    weight: str
    bias: str
    input: str
    output: str
    rows: tuple[int, int]
    macs: int
    window: Window | None = None
    groups: int = 1
    source: Map | None = None
    offset: bool = True
    transposed: bool = False
    factor: float = 1.0
    bias_factor: float = 1.0

    @property
    def weights(self) -> int:
        """Weights of the layer."""
        return self.rows[0] * self.rows[1]

    @property
    def own(self) -> int:
        """Input channels that an output reads, or the inputs of a fully connected layer."""
        if self.window is None:
            return self.rows[1]
        return self.rows[1] // math.prod(self.window.kernel)

    @property
    def depthwise(self) -> bool:
        """Whether every output channel reads one input channel of several."""
        return self.groups > 1 and self.own == 1

    def segment(self, group: int) -> int:
        """Weights of a run that is pruned alike, at most ``group``.

        Grouped convolutions run beside each other in one group of the array, each with its own
        input channels; what divides both is a run of one tap in any of its groups. Depthwise
        weights, which the array reads one a group, are one run.
        """
        if self.groups == 1:
            return group
        return min(group, self.rows[1]) if self.own == 1 else math.gcd(self.own, group)

    def kept_in(self, k: int, group: int) -> int:
        """Weights that stay of each run of :meth:`segment` at ``k`` of ``group``."""
        return -(-k * self.segment(group) // group)

    def kept(self, k: int, group: int) -> int:
        """Weights that stay at ``k`` of every ``group``."""
        full, rest = divmod(self.rows[1], self.segment(group))
        own = self.kept_in(k, group)
        return self.rows[0] * (full * own + min(own, rest))

    def to_rows(self, stored: NDArray[Any]) -> NDArray[np.float64]:
        """Weight as the file stores it as float64 (outputs, positions), input channel fastest."""
        weight = stored.astype(np.float64)
        if self.window is not None:
            return weight.transpose(0, 2, 3, 1).reshape(self.rows)
        weight = (weight if not self.transposed else weight.T) * self.factor
        if self.source is not None:
            weight = weight.reshape(-1, *self.source).transpose(0, 2, 3, 1)
        return weight.reshape(self.rows)

    def from_rows(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """The inverse of :meth:`to_rows`."""
        if self.window is not None:
            shape = (self.rows[0], *self.window.kernel, self.own)
            return np.ascontiguousarray(rows.reshape(shape).transpose(0, 3, 1, 2), np.float32)
        if self.source is not None:
            channels, height, width = self.source
            rows = rows.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
        weight = rows.reshape(self.rows) / self.factor
        return np.ascontiguousarray(weight.T if self.transposed else weight, np.float32)


@dataclass(frozen=True)
class GraphLayers:
    """The layers of a graph in its order; as :class:`steelyard.prune.Structure`.

    Members
    -------
    prunable : layers to prune
    left_dense : name and reason of every other layer with a weight
    first : name of the first layer
    weights_outside_first, macs_outside_first : of all layers but the first, for one sample
    """

    prunable: tuple[GraphLayer, ...]
    left_dense: tuple[tuple[str, str], ...]
    first: str
    weights_outside_first: int
    macs_outside_first: int

    def check_prunable(self, name: str) -> None:
        """Refuse the name of a layer that cannot be pruned.

        Raises
        ------
        UserError
            Names the reason and the layers that can be.
        """
        check_prunable(name, [layer.name for layer in self.prunable], dict(self.left_dense))


def find_layers(
    model: onnx.ModelProto,
    constants: Mapping[str, NDArray[Any]],
    sample: NDArray[np.float32],
    exclude: Collection[str] = (),
    depthwise: bool = False,
) -> GraphLayers:
    """The layers of a float graph by one run of a sample.

    Left dense are the first layer, those in ``exclude``, depthwise convolutions unless asked for,
    transposed ones, and layers whose weight is no constant of their own or whose input is no batch
    of maps or vectors.

    Parameters
    ----------
    model : every node named, constants as initializers
    constants : its initializers by name
    sample : float32 images, as many as the graph takes at once

    Raises
    ------
    UserError
        If ``exclude`` names no layer, the graph has none, or it does not run on the sample.
    """
    nodes = [n for n in model.graph.node if n.op_type in WEIGHTED and _matrix(n, constants)]
    names = [node.name for node in nodes]
    for name in exclude:
        if name not in names:
            raise UserError(
                f"The excluded layer {name!r} is no convolution or fully connected layer of the "
                f"network; its layers are {', '.join(names) or 'none'}."
            )
    if not nodes:
        raise UserError(
            "The network has no convolution or fully connected layer with a constant weight; "
            "there is nothing to prune."
        )
    shapes = _shapes(model, nodes, constants, sample)
    producers = {name: node for node in model.graph.node for name in node.output}
    users = Counter(name for node in model.graph.node for name in node.input)
    found: list[GraphLayer] = []
    dense: list[tuple[str, str]] = []
    weights = macs = 0
    for number, node in enumerate(nodes):
        layer = _layer(node, constants, shapes, producers)
        size = constants[node.input[1]].size
        work = math.prod(shapes[node.output[0]]) // len(sample) * size
        work //= max(1, _outputs(node, constants))
        if number:
            weights += size
            macs += work
        if number == 0:
            why = "first layer"
        elif node.name in exclude:
            why = "excluded"
        elif isinstance(layer, str):
            why = layer
        elif users[node.input[1]] > 1:
            why = "its weight is used in other ways too"
        elif layer.depthwise and not depthwise:
            why = "depthwise convolution"
        else:
            found.append(layer)
            continue
        dense.append((node.name, why))
    return GraphLayers(tuple(found), tuple(dense), names[0], weights, macs)


def _matrix(node: onnx.NodeProto, constants: Mapping[str, NDArray[Any]]) -> bool:
    """Whether a node has a constant weight of more than one axis."""
    weight = constants.get(node.input[1]) if len(node.input) > 1 else None
    return weight is not None and weight.ndim > 1


def _outputs(node: onnx.NodeProto, constants: Mapping[str, NDArray[Any]]) -> int:
    """Outputs that share the weights, by which work is counted."""
    shape = constants[node.input[1]].shape
    if node.op_type == "Conv":
        return shape[0]
    if node.op_type == "ConvTranspose":
        return shape[1] * int(attribute(node, "group", 1))
    return shape[0] if attribute(node, "transB", 0) else shape[-1]


def _shapes(
    model: onnx.ModelProto,
    nodes: Collection[onnx.NodeProto],
    constants: Mapping[str, NDArray[Any]],
    sample: NDArray[np.float32],
) -> dict[str, tuple[int, ...]]:
    """Shapes of what layers read and make and of what is flattened, as one run has them."""
    wanted = [name for node in nodes for name in (node.input[0], node.output[0])]
    wanted += [n.input[0] for n in model.graph.node if n.op_type in FLATTENING]
    source = model.graph.input[0].name
    inner = [name for name in dict.fromkeys(wanted) if name != source and name not in constants]
    arrays = Runner(model, inner).run(sample)
    return {source: sample.shape, **{n: a.shape for n, a in zip(inner, arrays, strict=True)}}


def _layer(
    node: onnx.NodeProto,
    constants: Mapping[str, NDArray[Any]],
    shapes: Mapping[str, tuple[int, ...]],
    producers: Mapping[str, onnx.NodeProto],
) -> GraphLayer | str:
    """A layer, or why it is left dense."""
    weight = constants[node.input[1]]
    bias = node.input[2] if len(node.input) > 2 else ""
    shape = shapes.get(node.input[0], ())
    made = math.prod(shapes[node.output[0]][1:])
    if node.op_type == "ConvTranspose":
        return "transposed convolution"
    if bias and bias not in constants:
        return "its bias is no constant"
    if node.op_type == "Conv":
        if weight.ndim != 4 or len(shape) != 4:
            return "its input is no batch of maps"
        rows = (weight.shape[0], weight[0].size)
        return GraphLayer(
            node.name, node.input[1], bias, node.input[0], node.output[0], rows, made * rows[1],
            _window(node, weight.shape[2:], shape, shapes[node.output[0]]),
            int(attribute(node, "group", 1)),
        )  # fmt: skip
    if weight.ndim != 2 or len(shape) != 2 or attribute(node, "transA", 0):
        return "its input is no batch of vectors"
    transposed = not attribute(node, "transB", 0)
    inputs, outputs = weight.shape if transposed else weight.shape[::-1]
    gemm = node.op_type == "Gemm"
    factor = float(attribute(node, "alpha", 1.0)) if gemm else 1.0
    beta = float(attribute(node, "beta", 1.0)) if gemm else 1.0
    if factor == 0.0:
        return "its weight is multiplied by 0"
    return GraphLayer(
        node.name, node.input[1], bias, node.input[0], node.output[0], (outputs, inputs),
        outputs * inputs, source=_source(node.input[0], inputs, shapes, producers),
        offset=gemm and beta != 0.0,
        transposed=transposed, factor=factor, bias_factor=beta,
    )  # fmt: skip


def _window(
    node: onnx.NodeProto, kernel: tuple[int, ...], shape: tuple[int, ...], made: tuple[int, ...]
) -> Window:
    strides = tuple(attribute(node, "strides", [1, 1]))
    dilations = tuple(attribute(node, "dilations", [1, 1]))
    pads = tuple(attribute(node, "pads", [0, 0, 0, 0]))
    auto = attribute(node, "auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        missing = [
            max(0, (made[axis + 2] - 1) * strides[axis]
                + (kernel[axis] - 1) * dilations[axis] + 1 - shape[axis + 2])
            for axis in (0, 1)
        ]  # fmt: skip
        less = [each // 2 for each in missing]
        more = [each - half for each, half in zip(missing, less, strict=True)]
        pads = (*less, *more) if auto == "SAME_UPPER" else (*more, *less)
    elif auto == "VALID":
        pads = (0, 0, 0, 0)
    return Window(
        (kernel[0], kernel[1]), (strides[0], strides[1]), (dilations[0], dilations[1]),
        (pads[0], pads[1], pads[2], pads[3]),
    )  # fmt: skip


def _source(
    name: str,
    inputs: int,
    shapes: Mapping[str, tuple[int, ...]],
    producers: Mapping[str, onnx.NodeProto],
) -> Map | None:
    """Map that a vector was flattened from, channels first."""
    while (node := producers.get(name)) is not None:
        if node.op_type in POINTWISE:
            name = node.input[0]
            continue
        shape = shapes.get(node.input[0], ()) if node.op_type in FLATTENING else ()
        if len(shape) != 4 or math.prod(shape[1:]) != inputs:
            return None
        before = producers.get(node.input[0])
        if before is not None and before.op_type == "Transpose":
            return None
        return (shape[1], shape[2], shape[3])
    return None
