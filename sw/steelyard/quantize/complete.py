"""Missing quantizers of a graph that is quantized in part, with scales from calibration images.

Many tools leave the network's output in float, or one branch of an add, which a runtime with float
arithmetic may; the accelerator computes integers only, so every tensor needs a scale.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from steelyard.errors import UserError
from steelyard.importer.errors import NotQuantized
from steelyard.importer.graph import (
    needed_nodes,
    parse,
    read_model,
    without_qoperators,
)
from steelyard.importer.schema import VIEWS
from steelyard.importer.walk import Walk
from steelyard.quantize.images import checked_images
from steelyard.quantize.normalize import batches
from steelyard.quantize.sessions import Session

if TYPE_CHECKING:
    import onnx

CHUNK = 32
"""Images that run together while ranges are measured."""


@dataclass(frozen=True)
class Range:
    """Smallest and largest element of a value, and its type."""

    low: float
    high: float
    dtype: np.dtype


@dataclass(frozen=True)
class _Pair:
    """QuantizeLinear and DequantizeLinear that were added behind a value of the original graph."""

    value: str
    scale: str
    zero_point: str


def complete(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto, images: ArrayLike
) -> onnx.ModelProto:
    """Quantized model with a QuantizeLinear and DequantizeLinear wherever the importer misses them.

    What the model quantizes already stays as it is, to the bit; a value that has a pair for another
    reader uses that pair. An added pair is int8 with one scale, of the range that onnxruntime finds
    on the images; a float weight is quantized symmetrically with a scale for each output channel.

    Parameters
    ----------
    source : path, content of a file, or loaded model that has QuantizeLinear nodes
    images : float32 (n, channels, height, width) or (n, features), as the network takes them

    Raises
    ------
    UserError
        If the model cannot be imported for another reason, misses no quantizer, or the images do
        not run through it or leave a value at zero.
    """
    import onnx

    original = without_qoperators(read_model(source))
    given = checked_images(images)
    model = onnx.ModelProto()
    model.CopyFrom(original)
    graph = parse(model)
    editor = _Editor(model)
    # Every round adds what the importer asks for, which is at most every input of every node and
    # every output.
    most = sum(len(node.input) for node in original.graph.node) + len(original.graph.output)
    for _ in range(most + 1):
        try:
            Walk(parse(model), graph.name).build()
        except NotQuantized as missing:
            editor.add(missing)
        else:
            break
    if not editor.changed:
        raise UserError(
            f"ONNX graph {graph.name!r} is quantized already and misses no quantizer; "
            "give it to 'steelyard compile'."
        )
    ranges = measure(original, given, {pair.value for pair in editor.pairs})
    for pair in editor.pairs:
        scale, zero_point = int8_parameters(pair.value, ranges[pair.value])
        editor.constant(pair.scale, scale)
        editor.constant(pair.zero_point, zero_point)
    return model


def int8_parameters(name: str, found: Range) -> tuple[np.floating, np.int8]:
    """Scale, of the value's type, and zero point whose codes hold `low`, 0 and `high`.

    Raises
    ------
    UserError
        If the range is zero, naming the value.
    """
    low, high = min(found.low, 0.0), max(found.high, 0.0)
    scale = found.dtype.type((high - low) / 255)
    if not (np.isfinite(scale) and scale > np.finfo(found.dtype).tiny):
        raise UserError(
            f"Value {name!r} runs from {low:g} to {high:g} on the calibration images, which gives "
            "no scale; give images that reach it."
        )
    return scale, np.int8(np.clip(np.rint(-128 - low / float(scale)), -128, 127))


def measure(
    model: onnx.ModelProto, images: NDArray[np.float32], names: Iterable[str]
) -> dict[str, Range]:
    """Smallest and largest element of values of a model over images, by name.

    Raises
    ------
    UserError
        If onnxruntime cannot run the images through the model, or a value is NaN or infinite.
    """
    import onnx

    constants = {item.name for item in model.graph.initializer}
    source = next(item for item in model.graph.input if item.name not in constants)
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    inner = sorted(set(names) - {source.name})
    # onnxruntime looks at nodes that no output needs too.
    outputs = [item.name for item in model.graph.output]
    nodes = needed_nodes(model.graph, outputs, {source.name, *constants})
    del watched.graph.node[:], watched.graph.output[:]
    watched.graph.node.extend(nodes)
    watched.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in inner)
    ranges: dict[str, Range] = {}
    dtype = onnx.helper.tensor_dtype_to_np_dtype(source.type.tensor_type.elem_type or 1)
    if source.name in names:
        ranges[source.name] = Range(float(images.min()), float(images.max()), dtype)
    if not inner:
        return ranges
    fixed = source.type.tensor_type.shape.dim[0].dim_value
    session = Session(watched)
    for batch in batches(images, fixed or min(CHUNK, len(images))):
        found = session.run({source.name: batch})
        for name, values in zip(inner, found, strict=True):
            if not np.all(np.isfinite(values)):
                raise UserError(
                    f"Value {name!r} is NaN or infinite on the calibration images, allowed are "
                    "finite values; train or load the weights again."
                )
            low, high = float(values.min()), float(values.max())
            before = ranges.get(name, Range(low, high, values.dtype))
            low, high = min(low, before.low), max(high, before.high)
            ranges[name] = Range(low, high, values.dtype)
    return ranges


def _existing_pairs(model: onnx.ModelProto) -> dict[str, str]:
    """What a pair that the model has makes of a value, by the value's name."""
    # Nodes that no output needs may lack both.
    whole = [node for node in model.graph.node if node.input and node.output]
    quantized = {
        node.output[0]: node.input[0] for node in whole if node.op_type == "QuantizeLinear"
    }
    return {
        quantized[node.input[0]]: node.output[0]
        for node in reversed(whole)
        if node.op_type == "DequantizeLinear" and node.input[0] in quantized
    }


class _Editor:
    """Adds nodes and constants to a model in place.

    Members
    -------
    pairs : what was added behind activations; their constants hold 1 and 0 until they are measured
    changed : whether anything was added
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._stored = {item.name: item for item in model.graph.initializer}
        self._taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
        self._taken |= set(self._stored)
        self._real = _existing_pairs(model)
        self._outputs = {item.name for item in model.graph.output}
        self.pairs: list[_Pair] = []
        self.changed = False

    def add(self, missing: NotQuantized) -> None:
        """Quantize a value for the node that reads it, or as the network's output."""
        self.changed = True
        value = missing.value
        if missing.weight is not None:
            self._add_weight(missing, missing.weight)
        elif missing.reader is None:
            self._add_output(value)
        else:
            if value not in self._real:
                self._real[value] = self._pair(value, value)
            self._reader(missing.reader).input[missing.index] = self._real[value]

    def constant(self, name: str, array: Any) -> None:
        """Store a constant, in place of an earlier one of the name."""
        from onnx import numpy_helper

        proto = numpy_helper.from_array(np.asarray(array), name)
        if name in self._stored:
            self._stored[name].CopyFrom(proto)
        else:
            self._graph.initializer.append(proto)
            self._stored[name] = self._graph.initializer[-1]

    def _add_output(self, value: str) -> None:
        """Let the DequantizeLinear of the value's pair take the output's name."""
        inner = self._unused(f"{value}/float")
        self._rename(value, inner)
        real = self._real.pop(value, None)
        if real is None or real in self._outputs:
            real = self._pair(inner, value, output=value)
        else:
            self._rename(real, value)
        self._real[inner] = value
        # A view of the output needs no codes of its own.
        for node in self._graph.node:
            if node.op_type in VIEWS:
                node.input[:] = [value if name == inner else name for name in node.input]

    def _rename(self, old: str, new: str) -> None:
        for node in self._graph.node:
            for names in (node.input, node.output):
                names[:] = [new if name == old else name for name in names]

    def _add_weight(self, missing: NotQuantized, stored: NDArray) -> None:
        weight = stored.astype(np.float64)
        if not np.all(np.isfinite(weight)):
            raise UserError(
                f"Weight {missing.value!r} holds NaN or infinite values, allowed are finite ones; "
                "train or load the weights again."
            )
        others = tuple(axis for axis in range(weight.ndim) if axis != missing.axis)
        largest = np.abs(weight).max(axis=others)
        # A channel of zeros, or next to it, has no scale of its own; any gives zeros.
        tiny = 127 * float(np.finfo(stored.dtype).tiny)
        scale = np.where(largest > tiny, largest / 127, 1).astype(stored.dtype)
        shape = [-1 if axis == missing.axis else 1 for axis in range(weight.ndim)]
        steps = scale.astype(np.float64).reshape(shape)
        codes = np.clip(np.rint(weight / steps), -127, 127).astype(np.int8)
        names = [self._unused(f"{missing.value}/{what}") for what in ("codes", "scale", "zeros")]
        for name, array in zip(names, (codes, scale, np.zeros(len(scale), np.int8)), strict=True):
            self.constant(name, array)
        real = self._unused(f"{missing.value}/quantized")
        self._insert("DequantizeLinear", names, real, 0, axis=missing.axis)
        self._reader(missing.reader).input[missing.index] = real

    def _pair(self, value: str, measured: str, output: str | None = None) -> str:
        """Add a pair behind `value` whose range is that of `measured` in the original graph."""
        scale, zero = (self._unused(f"{measured}/{what}") for what in ("scale", "zero_point"))
        self.constant(scale, np.float32(1))
        self.constant(zero, np.int8(0))
        codes = self._unused(f"{measured}/codes")
        real = output or self._unused(f"{measured}/quantized")
        makers = [i for i, node in enumerate(self._graph.node) if value in node.output]
        place = makers[0] + 1 if makers else 0
        self._insert("QuantizeLinear", [value, scale, zero], codes, place)
        self._insert("DequantizeLinear", [codes, scale, zero], real, place + 1)
        self.pairs.append(_Pair(measured, scale, zero))
        return real

    def _insert(
        self, op: str, inputs: list[str], output: str, place: int, **attributes: Any
    ) -> None:
        from onnx import helper

        name = self._unused(f"{output}/{op}")
        self._graph.node.insert(place, helper.make_node(op, inputs, [output], name, **attributes))

    def _reader(self, output: str | None) -> onnx.NodeProto:
        return next(node for node in self._graph.node if output in node.output)

    def _unused(self, name: str) -> str:
        candidate, count = name, 1
        while candidate in self._taken:
            count += 1
            candidate = f"{name}/{count}"
        self._taken.add(candidate)
        return candidate
