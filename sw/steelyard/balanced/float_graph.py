"""A float graph to prune, and copies of it whose weights change."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from steelyard.balanced.layers import GraphLayer, GraphLayers, find_layers
from steelyard.balanced.running import batch_of
from steelyard.errors import UserError
from steelyard.importer.graph import is_quantized, read_constants, read_model
from steelyard.progress import Log
from steelyard.quantize import check_float_model, checked, checked_images, modern, quiet

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Teacher:
    """A network that a thinner one follows.

    Members
    -------
    model : the network, whose values have the same names
    kept : channels of its layers' outputs that the thinner one has, by layer
    weights, macs : outside its first layer
    """

    model: onnx.ModelProto
    kept: Mapping[str, NDArray[np.intp]]
    weights: int
    macs: int


class FloatGraph:
    """A float graph that is pruned: its layers, its constants, what it takes.

    Parameters
    ----------
    source : path of an ONNX file, or loaded model
    calibration : float32 network inputs, batch first
    exclude : layers to leave dense
    depthwise : whether depthwise convolutions are pruned too
    warn : called with a sentence for everything that will not compile
    teacher : network that the outputs of layers are fitted to; the graph itself unless given

    Raises
    ------
    UserError
        If the graph is quantized or not of one float input and output, a weight or image is NaN or
        infinite, or it does not run on the images.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | onnx.ModelProto,
        calibration: NDArray[np.float32],
        *,
        exclude: Collection[str] = (),
        depthwise: bool = False,
        warn: Log | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        self.images = checked_images(calibration)
        file = read_model(source)
        if is_quantized(file):
            raise UserError(
                f"ONNX graph {file.graph.name or 'network'!r} is quantized, pruned are float "
                "networks; prune the float one and run 'steelyard quantize' on the result."
            )
        check_float_model(file, self.images)
        if warn is not None:
            with tempfile.TemporaryDirectory() as folder:
                for sentence in checked(file, Path(folder))[0]:
                    warn(f"This network will not compile: {sentence}")
        with quiet():
            self.dense = modern(file)
            self.batch = batch_of(self.dense, self.images)
            self.constants = read_constants(self.dense.graph, self.dense.graph.name)
            fixed = self.dense.graph.input[0].type.tensor_type.shape.dim[0].dim_value
            shape = (fixed or 1, *self.images.shape[1:])
            self.sample = np.resize(self.images[: fixed or 1], shape)
            self.layers: GraphLayers = find_layers(
                self.dense, self.constants, self.sample, exclude, depthwise
            )
        self.exclude, self.depthwise = tuple(exclude), depthwise
        self.teacher = teacher or Teacher(
            self.dense,
            {},
            self.layers.weights_outside_first,
            self.layers.macs_outside_first,
        )

    def rows(self, layer: GraphLayer) -> NDArray[np.float64]:
        """Trained weights of a layer (outputs, positions)."""
        return layer.to_rows(self.constants[layer.weight])

    def bias(self, layer: GraphLayer) -> NDArray[np.float64] | None:
        """Trained bias of a layer (outputs,), None where it can have none."""
        if not layer.offset:
            return None
        values = self.constants[layer.bias] if layer.bias else np.zeros(1)
        scaled = values.astype(np.float64).reshape(-1) * layer.bias_factor
        return np.broadcast_to(scaled, (layer.rows[0],))


class Weights:
    """A copy of a graph whose layers' constants are replaced.

    Parameters
    ----------
    model : graph to copy
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = type(model)()
        self.model.CopyFrom(model)
        self._constants = {item.name: item for item in self.model.graph.initializer}
        self._nodes = {node.name: node for node in self.model.graph.node}

    def stored(
        self, layer: GraphLayer, rows: NDArray[np.float64], offset: NDArray[np.float64] | None
    ) -> list[NDArray[np.float32]]:
        """Weight, and bias where there is an offset, as the file holds them."""
        found = [layer.from_rows(rows)]
        if offset is not None:
            found.append((offset / layer.bias_factor).astype(np.float32))
        return found

    def set(
        self, layer: GraphLayer, rows: NDArray[np.float64], offset: NDArray[np.float64] | None
    ) -> None:
        """Give a layer weights (outputs, positions), and a bias (outputs,) unless it is None."""
        from onnx import numpy_helper

        values = self.stored(layer, rows, offset)
        self._constants[layer.weight].CopyFrom(numpy_helper.from_array(values[0], layer.weight))
        if offset is None:
            return
        node = self._nodes[layer.name]
        own = f"{layer.name}/steelyard/bias"
        if own not in self._constants:
            # Another layer may read the old one.
            del node.input[2:]
            node.input.append(own)
            read = {name for node in self.model.graph.node for name in node.input}
            old = self._constants.get(layer.bias)
            if old is not None and layer.bias not in read:
                self.model.graph.initializer.remove(old)
            self._constants[own] = self.model.graph.initializer.add()
        self._constants[own].CopyFrom(numpy_helper.from_array(values[1], own))

    def opened(self, layer: GraphLayer) -> list[str]:
        """Names of a layer's constants, which become inputs of the graph."""
        from onnx import helper

        names = list(self._nodes[layer.name].input)[1:]
        for name in names:
            item = self._constants[name]
            self.model.graph.input.append(
                helper.make_tensor_value_info(name, item.data_type, list(item.dims))
            )
            self.model.graph.initializer.remove(item)
        return names
