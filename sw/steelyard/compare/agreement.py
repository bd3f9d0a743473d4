"""Share of codes in which an imported network equals onnxruntime, and why others differ.

onnxruntime adds up float32 numbers, the accelerator integers. Where the exact result lies in the
middle between two codes, the rounding noise of float32 decides; such an element is a tie. So is one
that a bias puts there: the accelerator rounds biases to whole steps of its sums.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steelyard.compare.watched import Watching
from steelyard.network import Conv, Layer, Network, golden
from steelyard.quantize.sessions import Session, with_outputs

if TYPE_CHECKING:
    import onnx

__all__ = ["NOISE", "Agreement", "Compute", "Traced", "agreements", "layer_agreements", "traced"]

NOISE = 2e-4
"""Steps by which float32 sums of a few thousand products miss the exact one."""

Compute = Callable[..., NDArray[np.int8]]
"""Output of a layer, by the layer and its inputs."""


@dataclass(frozen=True)
class Agreement:
    """Comparison of one layer, fed onnxruntime's own codes of its inputs.

    Members
    -------
    layer : name
    kind : of the layer
    elements : compared
    equal : of the same code
    ties : differ by one where onnxruntime's real value lies in the middle between two codes, within
        `margin`
    worst : largest difference
    tensor : name of the layer's output
    margin : steps from the middle that count as a tie: NOISE and half a step of the layer's sums,
        and of those of layers before it whose output the file does not show
    farthest : greatest distance of a tie from the middle, in steps of the output
    """

    layer: str
    kind: str
    elements: int
    equal: int
    ties: int
    worst: int
    tensor: str = ""
    margin: float = 0.0
    farthest: float = 0.0

    @property
    def others(self) -> int:
        """Elements that differ and are no ties."""
        return self.elements - self.equal - self.ties

    def with_more(self, other: Agreement) -> Agreement:
        """The same layer on the images of both."""
        return Agreement(
            self.layer,
            self.kind,
            self.elements + other.elements,
            self.equal + other.equal,
            self.ties + other.ties,
            max(self.worst, other.worst),
            self.tensor,
            self.margin,
            max(self.farthest, other.farthest),
        )


@dataclass(frozen=True)
class Traced:
    """What onnxruntime computes of some images, by the network's tensors.

    Members
    -------
    codes : int8 (images, channels, height, width)
    reals : the values that are rounded to them, in the file's own shape
    """

    codes: Mapping[str, NDArray[np.int8]]
    reals: Mapping[str, NDArray[Any]]

    def first(self, count: int) -> Traced:
        """The same of the first images."""
        codes = {name: each[:count] for name, each in self.codes.items()}
        return Traced(codes, {name: each[:count] for name, each in self.reals.items()})


def traced(watching: Watching, model: onnx.ModelProto) -> Callable[[NDArray[Any]], Traced]:
    """Function that runs a model on images, without optimizations.

    Parameters
    ----------
    watching : of the model

    Raises
    ------
    UserError
        If onnxruntime cannot take the model.
    """
    constants = {item.name for item in model.graph.initializer}
    source = next(item.name for item in model.graph.input if item.name not in constants)
    inside = {} if watching.fed is not None else watching.reals
    wanted = [n for n in dict.fromkeys([*watching.codes.values(), *inside.values()]) if n != source]
    session = Session(with_outputs(model, wanted), wanted, what="Images")
    fed = None
    if watching.fed is not None:
        outputs = list(dict.fromkeys(watching.reals.values()))
        fed = Session(with_outputs(watching.fed, outputs), outputs, what="Images")

    def run(x: NDArray[Any]) -> Traced:
        values = dict(zip(wanted, session.run({source: x}), strict=True)) | {source: x}
        raw = {name: values[codes] for name, codes in watching.codes.items()}
        if fed is not None:
            feed = {given: raw[name] for name, given in watching.feeds.items()}
            values = dict(zip(outputs, fed.run({source: x} | feed), strict=True)) | {source: x}
        if watching.order is not None:
            raw[watching.source] = raw[watching.source].transpose(watching.order)
        reals = {name: values[real] for name, real in watching.reals.items()}
        return Traced({name: _signed(each) for name, each in raw.items()}, reals)

    return run


def agreements(model: onnx.ModelProto, network: Network, x: NDArray[np.float32]) -> list[Agreement]:
    """Every layer whose output the model quantizes, in order.

    A layer that the importer added in between passes its own codes on.

    Parameters
    ----------
    model : quantized, in which onnxruntime runs operator by operator
    network : what the importer made of it
    x : images in the shape that the model takes

    Raises
    ------
    UserError
        If onnxruntime cannot run the model.
    """

    def compute(layer: Layer, *inputs: NDArray[np.int8]) -> NDArray[np.int8]:
        return golden.layer(network, layer, *inputs)

    return layer_agreements(network, traced(Watching(model, network), model)(x), compute)


def layer_agreements(network: Network, found: Traced, compute: Compute) -> list[Agreement]:
    """Every layer whose codes onnxruntime has, in order, fed onnxruntime's codes of its inputs.

    Parameters
    ----------
    found : what onnxruntime computed
    compute : output of a layer, given the layer and its inputs
    """
    source = network.tensor(network.input)
    truth: dict[str, NDArray[np.int8]] = {}
    truth[source.name] = network.planes(source.name, found.codes[source.name])
    margins: dict[str, float] = {}
    rows = []
    for layer in network.layers:
        alone = compute(layer, *(truth[name] for name in layer.inputs))
        truth[layer.output] = alone
        # What moves codes that the model does not show ties where these tie.
        margins[layer.output] = _margin(layer) + max(
            (margins[name] for name in layer.inputs if name not in found.codes), default=0.0
        )
        if layer.output not in found.codes:
            continue
        right = network.planes(layer.output, found.codes[layer.output])
        truth[layer.output] = right
        difference = np.abs(alone.astype(np.int16) - right)
        distance: NDArray[np.float64] = np.full(alone.shape, np.inf)
        if layer.output in found.reals:
            real = network.planes(layer.output, found.reals[layer.output].astype(np.float64))
            steps = real / network.tensor(layer.output).scale
            distance = np.abs(steps - np.floor(steps) - 0.5)
        margin = NOISE + margins[layer.output]
        tied = (difference == 1) & (distance <= margin)
        rows.append(
            Agreement(
                layer.name,
                layer.kind,
                alone.size,
                int(np.sum(difference == 0)),
                int(np.sum(tied)),
                int(difference.max()),
                layer.output,
                margin,
                float(distance[tied].max(initial=0.0)),
            )
        )
    return rows


def _margin(layer: Layer) -> float:
    """Half a step of a layer's sums, in steps of its output."""
    if not isinstance(layer, Conv):
        return 0.0
    return float(0.5 * np.max(layer.multiplier / np.exp2(layer.shift)))


def _signed(codes: NDArray[Any]) -> NDArray[np.int8]:
    return (codes.astype(np.int16) - (128 if codes.dtype == np.uint8 else 0)).astype(np.int8)
