"""ONNX quantized to int8 with QuantizeLinear/DequantizeLinear pairs."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import UserError
from steelyard.files import replacing
from steelyard.quantize.export import export_onnx
from steelyard.quantize.images import checked_images

if TYPE_CHECKING:
    import onnx
    from torch import nn

METHODS = ("minmax", "percentile", "entropy")
MAX_BATCH = 64


def quantize(
    model: nn.Module | str | os.PathLike[str],
    calibration: NDArray[np.float32],
    path: str | os.PathLike[str] | None = None,
    *,
    method: str = "minmax",
) -> bytes:
    """Int8 ONNX model in QDQ format; also written to `path` where given.

    Weights are int8 from -127 to 127 with a scale for each output channel, so that a weight of 0
    stays exactly 0. Activations are int8 with scale and zero point a tensor. Deterministic.

    Parameters
    ----------
    model : torch module, or path of a float ONNX file
    calibration : float32 (n, channels, height, width) or (n, features) in the network's input units
    path : file to write
    method : how activation ranges are found: ``minmax``, ``percentile`` (99.99 %) or ``entropy``

    Raises
    ------
    UserError
        If weights or images are NaN or infinite, shapes do not fit, or a pruned weight would not
        stay zero; names the layer.
    """
    if method not in METHODS:
        raise UserError(
            f"Calibration method must be one of {', '.join(METHODS)}, not {method!r}; choose one."
        )
    images = checked_images(calibration)
    # onnxruntime and torch report on standard output, which belongs to the command line.
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        source = Path(folder) / "float.onnx"
        if isinstance(model, str | os.PathLike):
            source = Path(model)
        else:
            export_onnx(model, images, source)
        target = Path(folder) / "quantized.onnx"
        _quantize_file(source, target, images, method)
        content = target.read_bytes()
    if path is not None:
        with replacing(path) as temporary:
            temporary.write_bytes(content)
    return content


def _quantize_file(source: Path, target: Path, images: NDArray[np.float32], method: str) -> None:
    import onnx
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime
    from onnxruntime.quantization import (
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quant_pre_process,
        quantize_static,
    )

    from steelyard.importer.graph import read_model

    _check_float_model(read_model(source))
    # Folds constants and batch norm, and fuses bias adds, before ranges are measured.
    prepared = target.with_name("prepared.onnx")
    quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
    reference = read_model(prepared)
    options: dict[str, Any] = {"WeightSymmetric": True, "ActivationSymmetric": False}
    if method == "percentile":
        options["CalibPercentile"] = 99.99
    try:
        quantize_static(
            str(prepared),
            str(target),
            _reader(_input_name(reference), images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=False,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method={
                "minmax": CalibrationMethod.MinMax,
                "percentile": CalibrationMethod.Percentile,
                "entropy": CalibrationMethod.Entropy,
            }[method],
            extra_options=options,
        )
    except (runtime.InvalidArgument, runtime.Fail, runtime.RuntimeException) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"Calibration images of shape {images.shape} do not run through the network "
            f"({reason}); give images of the shape that it takes."
        ) from None
    _check_zeros(reference, onnx.load(target))


def _reader(name: str, images: NDArray[np.float32]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Batches(CalibrationDataReader):
        """The calibration images in their order, a batch at a time."""

        def __init__(self) -> None:
            # The histogram methods stack all batches, so these must be of one size.
            size = max(n for n in range(1, MAX_BATCH + 1) if len(images) % n == 0)
            self._batches: Iterator[NDArray[np.float32]] = (
                images[start : start + size] for start in range(0, len(images), size)
            )

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {name: batch}

    return Batches()


def _input_name(model: onnx.ModelProto) -> str:
    constants = {item.name for item in model.graph.initializer}
    return next(item.name for item in model.graph.input if item.name not in constants)


def _layer_weights(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Constant weight of every Conv, Gemm and MatMul by node name, codes where it is quantized."""
    from onnx import numpy_helper

    constants = {item.name: item for item in model.graph.initializer}
    stored = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
    }
    weights = {}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            name = stored.get(node.input[1], node.input[1])
            if name in constants:
                weights[node.name or node.output[0]] = numpy_helper.to_array(constants[name])
    return weights


def _check_float_model(model: onnx.ModelProto) -> None:
    if any(node.op_type == "QuantizeLinear" for node in model.graph.node):
        raise UserError(
            f"ONNX graph {model.graph.name!r} is quantized already, a float graph is needed; "
            "give it to 'steelyard compile'."
        )
    for name, weight in _layer_weights(model).items():
        if not np.all(np.isfinite(weight)):
            raise UserError(
                f"Layer {name!r} holds NaN or infinite weights, allowed are finite ones; "
                "train or load the weights again."
            )


def _check_zeros(reference: onnx.ModelProto, quantized: onnx.ModelProto) -> None:
    """Pruned weights stay zero and no code is -128."""
    codes = _layer_weights(quantized)
    for name, weight in _layer_weights(reference).items():
        found = codes.get(name)
        if found is None or found.dtype != np.int8 or found.shape != weight.shape:
            raise UserError(
                f"Layer {name!r} was not quantized to int8, allowed are layers whose input is an "
                "activation; simplify the model around it."
            )
        if np.any(found[weight == 0]) or found.min() < -127:
            raise UserError(
                f"Layer {name!r} lost pruned zeros or holds -128 after quantization, only "
                "symmetric weights are allowed; report this model as a fault of steelyard."
            )
