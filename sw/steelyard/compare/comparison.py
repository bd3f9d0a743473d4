"""A program beside the ONNX network that it was made of, or the float one before that."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.compare.agreement import Agreement, layer_agreements, traced
from steelyard.compare.watched import Watching
from steelyard.driver import float_codes
from steelyard.errors import UserError
from steelyard.importer.cutting import cut
from steelyard.importer.graph import is_quantized, model_name, read_constants, read_model
from steelyard.importer.graph import single_input as one_input
from steelyard.network import Conv, Layer, Network, golden
from steelyard.program import Program
from steelyard.progress import Progress
from steelyard.quantize.noise import Noise
from steelyard.quantize.normalize import batches
from steelyard.quantize.sessions import Session, with_outputs

if TYPE_CHECKING:
    import onnx

__all__ = ["Comparison", "LayerComparison", "compare"]

MOST_BYTES = 1 << 28
"""Of the tensors that are held at a time."""
BYTES_AN_ELEMENT = 24
"""Codes of both sides, real values, and differences in float64."""


@dataclass(frozen=True)
class LayerComparison:
    """A layer of a program beside onnxruntime.

    Members
    -------
    layer, kind, tensor : name and kind of the layer, and its output
    snr_db : power of onnxruntime's values over that of the difference to the program's, each run on
        its own from the input, in dB; infinite where nothing differs
    agreement : of the codes, the layer fed onnxruntime's own; None for a float network
    """

    layer: str
    kind: str
    tensor: str
    snr_db: float
    agreement: Agreement | None


@dataclass(frozen=True)
class Comparison:
    """All layers of a program that the network shows.

    Members
    -------
    network : name of the ONNX network
    quantized : whether it has codes
    images : that were compared
    layers : in the program's order
    missing : layers whose output the network has no value for
    """

    network: str
    quantized: bool
    images: int
    layers: tuple[LayerComparison, ...]
    missing: tuple[str, ...]

    @property
    def agreements(self) -> list[Agreement]:
        """Of the layers of a quantized network."""
        return [each.agreement for each in self.layers if each.agreement is not None]

    def wrong(self) -> Agreement | None:
        """The first layer with codes that differ and are no ties."""
        return next((each for each in self.agreements if each.others), None)


def compare(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto,
    program: Program,
    images: ArrayLike,
    progress: Progress | None = None,
) -> Comparison:
    """Noise of every layer, and for a quantized network the share of equal codes and the ties.

    The program's side is its golden model, which every device equals bit for bit.

    Parameters
    ----------
    source : quantized ONNX network that the program was compiled from, or the float network before
        its quantization, of which layers are compared whose values have kept their names
    program : compiled; what it leaves to the host is left out
    images : floating point, in the input's units, batch first
    progress : called with images done, images in all and what is being done

    Raises
    ------
    UserError
        If the network cannot be read or run, has no value of the program's names, or the images do
        not fit.
    """
    model = read_model(source)
    name = model_name(source, model.graph) or "network"
    if program.host is not None:
        model = cut(model, program.host.values).network
    network = program.network
    codes = float_codes(network, images)
    x = np.asarray(images, np.float32).reshape(len(codes), *network.input_view)
    side = _Quantized(model, program) if is_quantized(model) else _Float(model, program)
    if not side.names:
        raise UserError(
            f"ONNX network {name!r} has no value with the name and scale of a layer of program "
            f"{network.name!r}; give the network that the program was compiled from."
        )
    noises = {each: Noise() for each in side.names}
    tallies: dict[str, Agreement] = {}
    fixed = _batch(model)
    size = fixed or _batch_size(network)
    for first in range(0, len(x), size):
        if progress:
            progress(first, len(x), "comparing")
        part = x[first : first + size]
        run = batches(part, fixed)[0] if fixed else part
        values, agreed = side.on(run, len(part))
        whole = program.golden(codes[first : first + size])
        for each, noise in noises.items():
            mine = network.tensor(each).dequantize(whole[each])
            noise.add(network.planes(each, values[each]), mine)
        for row in agreed:
            before = tallies.get(row.tensor)
            tallies[row.tensor] = row if before is None else before.with_more(row)
    rows = tuple(
        LayerComparison(
            each.name,
            each.kind,
            each.output,
            noises[each.output].db,
            tallies.get(each.output),
        )
        for each in network.layers
        if each.output in noises
    )
    missing = tuple(each.name for each in network.layers if each.output not in noises)
    return Comparison(name, isinstance(side, _Quantized), len(x), rows, missing)


class _Quantized:
    """Codes of a quantized network, and the values that they stand for."""

    def __init__(self, model: onnx.ModelProto, program: Program) -> None:
        self._program = program
        watching = Watching(model, program.network)
        outputs = [layer.output for layer in program.network.layers]
        self.names = [name for name in outputs if name in watching.codes]
        if program.network.input not in watching.codes:
            self.names = []
        if self.names:
            self._trace = traced(watching, model)

    def on(
        self, x: NDArray[np.float32], count: int
    ) -> tuple[Mapping[str, NDArray[Any]], list[Agreement]]:
        """Real values of the first images by tensor, and how far each layer agrees on them."""
        found = self._trace(x).first(count)
        network = self._program.network
        agreed = layer_agreements(network, found, self._layer)
        values = {n: network.tensor(n).dequantize(found.codes[n]) for n in self.names}
        return values, agreed

    def _layer(self, layer: Layer, *inputs: NDArray[np.int8]) -> NDArray[np.int8]:
        if isinstance(layer, Conv):
            return self._program.engine.golden_layer(self._program, layer, *inputs)
        return golden.layer(self._program.network, layer, *inputs)


class _Float:
    """Values of a float network that have the names and sizes of the program's tensors."""

    def __init__(self, model: onnx.ModelProto, program: Program) -> None:
        made = {name for node in model.graph.node for name in node.output}
        self._source = one_input(model.graph, read_constants(model.graph, model.graph.name)).name
        self.names = list(
            dict.fromkeys(each.output for each in program.network.layers if each.output in made)
        )
        if self.names:
            self._session = Session(with_outputs(model, self.names), self.names, what="Images")

    def on(
        self, x: NDArray[np.float32], count: int
    ) -> tuple[Mapping[str, NDArray[Any]], list[Agreement]]:
        """Real values of the first images by tensor, and nothing of codes."""
        found = self._session.run({self._source: x})
        return {n: each[:count] for n, each in zip(self.names, found, strict=True)}, []


def _batch(model: onnx.ModelProto) -> int:
    """Images that the model takes at once, 0 for any number."""
    stored = {item.name for item in model.graph.initializer}
    source = next(item for item in model.graph.input if item.name not in stored)
    dims = source.type.tensor_type.shape.dim
    return dims[0].dim_value if dims else 0


def _batch_size(network: Network) -> int:
    elements = sum(int(np.prod(each.shape)) for each in network.tensors.values())
    return max(1, MOST_BYTES // (BYTES_AN_ELEMENT * elements))
