"""ONNX quantized to int8 with QuantizeLinear/DequantizeLinear pairs, and proved against the float.

onnxruntime measures the ranges and writes the graph. What it gets wrong in graphs that are not as
it expects is kept from it (`normalize`), what it takes away is put back (`restore`), and the result
is compared with the float network (`proof`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError
from steelyard.files import replacing
from steelyard.importer.cutting import Cut, cut_names, joined
from steelyard.importer.cutting import cut as cut_at
from steelyard.importer.errors import NotQuantized
from steelyard.importer.graph import (
    is_quantized,
    parse,
    read_constants,
    read_model,
    single_input,
)
from steelyard.importer.obstacles import obstacles
from steelyard.importer.walk import Walk
from steelyard.progress import Log, Progress
from steelyard.quantize.complete import complete
from steelyard.quantize.export import export_onnx
from steelyard.quantize.images import checked_images
from steelyard.quantize.normalize import (
    Normalized,
    batches,
    float_faults,
    modern,
    named,
    normalized,
    rewritten,
)
from steelyard.quantize.proof import LayerNoise, prove
from steelyard.quantize.restore import remove_inner, restore_clamps
from steelyard.quantize.sessions import quiet, reason_of, refusals

if TYPE_CHECKING:
    import onnx
    from torch import nn

RANGES = ("minmax", "percentile", "entropy")
"""How the range of an activation is found: of all values, of most, or by what is lost."""
MAX_BATCH = 64


@dataclass(frozen=True)
class Quantized:
    """Int8 network and how far it is from the float one.

    Members
    -------
    content : ONNX file with QuantizeLinear/DequantizeLinear pairs
    layers : noise of every quantized activation, in the graph's order; empty where the file was
        quantized before and only missing quantizers were added
    images : calibration images on which `layers` was measured
    """

    content: bytes
    layers: tuple[LayerNoise, ...]
    images: int

    def warnings(self) -> list[str]:
        """A sentence for each layer whose codes say little; empty if there is none."""
        return [text for layer in self.layers if (text := layer.warning())]


def quantize(
    model: nn.Module | str | os.PathLike[str],
    calibration: NDArray[np.float32],
    path: str | os.PathLike[str] | None = None,
    *,
    ranges: str = "minmax",
) -> bytes:
    """Int8 ONNX model in QDQ format; also written to `path` where given.

    Weights are int8 from -127 to 127 with a scale for each output channel, so that a weight of 0
    stays exactly 0. Activations are int8 with scale and zero point a tensor. Deterministic.

    Parameters
    ----------
    model : torch module, or path of an ONNX file: float, or quantized with quantizers missing, such
        as at the network's output
    calibration : (n, channels, height, width) or (n, features) in the network's input units: a
        floating-point array, or what numpy makes one of (a list, a torch tensor)
    path : file to write
    ranges : how those of activations are found: ``minmax``, ``percentile`` (99.99 %) or ``entropy``

    Raises
    ------
    UserError
        As :func:`quantize_measured`.
    """
    content = quantize_measured(model, calibration, ranges=ranges).content
    if path is not None:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    return content


def quantize_measured(
    model: nn.Module | str | os.PathLike[str],
    calibration: NDArray[np.float32],
    *,
    ranges: str = "minmax",
    cut: str | Sequence[str] | None = None,
    progress: Progress | None = None,
    warn: Log | None = None,
) -> Quantized:
    """Int8 network with the noise that quantization adds in every layer.

    Parameters
    ----------
    model, calibration, ranges : as :func:`quantize` takes them
    cut : nodes or values, one or several, from which on the network stays as it is, for the host to
        compute; the same is given when the result is compiled
    progress : called with images done, images in all and what is being done
    warn : called with a sentence for everything that :func:`steelyard.compile.compile` will refuse,
        before the work begins, and for each layer whose codes say little, at its end

    Raises
    ------
    UserError
        If the network is not one of one float input, weights or images are NaN or infinite, shapes
        do not fit, or the quantized network computes anything else than the float one with rounded
        weights and activations; names the layer.
    """
    if ranges not in RANGES:
        raise UserError(f"Ranges must be one of {', '.join(RANGES)}, not {ranges!r}; choose one.")
    images = checked_images(calibration)
    tell = progress or (lambda done, total, now: None)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tell(0, len(images), "reading")
        if isinstance(model, str | os.PathLike):
            file = read_model(model)
        else:
            with quiet():
                export_onnx(model, images, folder / "float.onnx")
            file = read_model(folder / "float.onnx")
        parts = None
        if names := cut_names(cut):
            parts = cut_at(file if is_quantized(file) else modern(file), names)
            file = parts.network
        if warn is not None:
            for sentence in _obstacles(file, folder):
                warn(f"This network will not compile: {sentence}")
        if is_quantized(file):
            completed = _rejoined(complete(file, images), parts)
            return Quantized(completed.SerializeToString(), (), len(images))
        with quiet():
            reference = normalized(file, images, folder)
        tell(0, len(images), "calibrating")
        with quiet():
            quantized = _completed(_quantized(reference, images, ranges, folder), images)
        layers, count = prove(reference, quantized, images, tell)
        whole = _rejoined(quantized, parts)
        result = Quantized(whole.SerializeToString(), tuple(layers), count)
        if warn is not None:
            for sentence in result.warnings():
                warn(sentence)
        return result


def obstacles_of(model: nn.Module, images: NDArray[np.float32]) -> list[str]:
    """Everything of a torch network that cannot be quantized or compiled; empty if nothing is.

    Parameters
    ----------
    model : module of one input tensor
    images : float32, batch first

    Raises
    ------
    UserError
        If the module cannot be exported.
    """
    with tempfile.TemporaryDirectory() as name, quiet():
        source = Path(name) / "float.onnx"
        export_onnx(model, images, source)
        return _obstacles(read_model(source), Path(name))


def checked(model: onnx.ModelProto, folder: Path) -> tuple[list[str], onnx.ModelProto]:
    """All obstacles of a float network, and the graph that the quantizer would make of it.

    Where that cannot be made, because onnxruntime does not know an operator, the graph as it is.

    Parameters
    ----------
    model : float graph
    folder : temporary folder to write into
    """
    graph = model.graph
    try:
        constants = read_constants(graph, graph.name or "network")
        source = single_input(graph, constants)
        found = float_faults(source, graph, constants)
    except UserError:
        return obstacles(model), model
    try:
        plain = named(model)
    except UserError as error:
        # The graph as it is tells what else there is, this perhaps by another name of the node.
        listed, reason = obstacles(model), str(error).partition("' ")[2]
        known = bool(reason) and any(each.endswith(reason) for each in listed)
        return [*found, *([] if known else [str(error)]), *listed], model
    try:
        with quiet():
            form = rewritten(plain, folder)
    except UserError as error:
        # The quantizer's own sentence, unless the graph as it is tells more. What has been tried
        # is half rewritten.
        plain = named(model)
        return [*found, *obstacles(plain, original=model)] or [str(error)], plain
    return [*found, *obstacles(form, original=model)], form


def _obstacles(model: onnx.ModelProto, folder: Path) -> list[str]:
    """What 'steelyard compile' would refuse, but for quantizers that are added next."""
    if is_quantized(model):
        return obstacles(model, completing=True)
    return checked(model, folder)[0]


def _rejoined(model: onnx.ModelProto, parts: Cut | None) -> onnx.ModelProto:
    return model if parts is None else joined(model, parts)


def _quantized(
    reference: Normalized, images: NDArray[np.float32], ranges: str, folder: Path
) -> onnx.ModelProto:
    import onnx
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    source, target = folder / "prepared.onnx", folder / "quantized.onnx"
    onnx.save(reference.model, source)
    options: dict[str, Any] = {
        "WeightSymmetric": True,
        "ActivationSymmetric": False,
        # Else a pooling or reshape that the network begins with stays in float.
        "ForceQuantizeNoInputCheck": True,
    }
    if ranges == "percentile":
        options["CalibPercentile"] = 99.99
    try:
        # Scales of nothing are found by the proof.
        with np.errstate(all="ignore"):
            quantize_static(
                str(source),
                str(target),
                _reader(reference, images),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                reduce_range=False,
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
                calibrate_method={
                    "minmax": CalibrationMethod.MinMax,
                    "percentile": CalibrationMethod.Percentile,
                    "entropy": CalibrationMethod.Entropy,
                }[ranges],
                extra_options=options,
            )
    except refusals(AttributeError, IndexError, KeyError) as error:
        raise UserError(
            f"ONNX graph {reference.model.graph.name!r} cannot be quantized by onnxruntime "
            f"({reason_of(error)}); try --ranges minmax, or simplify the model before it is "
            "exported."
        ) from None
    model = onnx.load(target)
    restore_clamps(reference.model, model)
    remove_inner(reference.model, model)
    return model


def _completed(model: onnx.ModelProto, images: NDArray[np.float32]) -> onnx.ModelProto:
    """Graph with the quantizers that onnxruntime left out, as before a Relu that comes first."""
    try:
        Walk(parse(model), model.graph.name).build()
    except NotQuantized:
        return complete(model, images)
    except UserError:
        # Whatever the importer cannot take is said when the network is compiled.
        pass
    return model


def _reader(reference: Normalized, images: NDArray[np.float32]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    name = reference.model.graph.input[0].name
    # The histogram methods stack all batches, so these must be of one size.
    even = max(n for n in range(1, MAX_BATCH + 1) if len(images) % n == 0)
    size = reference.batch or even

    class Batches(CalibrationDataReader):
        """The calibration images in their order, a batch at a time."""

        def __init__(self) -> None:
            self._batches: Iterator[NDArray[np.float32]] = iter(batches(images, size))

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {name: batch}

    return Batches()
