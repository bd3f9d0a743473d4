"""Whole networks as several quantizers leave them, against onnxruntime without optimizations.

torch's are made by torch. Brevitas, TensorRT (as ModelOpt writes for it) and AIMET are not
installed, so their networks are written by hand after what they export.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from agreement.measure import assert_ties
from qdq_graphs import Qdq, images
from steelyard import importer, quantize
from steelyard.compare import agreements
from structures.blocks import PooledResidual

SHAPE = (3, 12, 12)
OPSETS = (13, 17, 19, 21, 25, 26)
TRAINED = np.random.default_rng(11)
STEM, BODY, HEAD = (
    (TRAINED.standard_normal(shape) * 0.2).astype(np.float32)
    for shape in ((8, 3, 3, 3), (8, 8, 3, 3), (10, 32))
)
BIASES = [
    (TRAINED.standard_normal(len(each)) * 0.1).astype(np.float32) for each in (STEM, BODY, HEAD)
]


class Style(Qdq):
    """One network; subclasses say what a tool quantizes, and how."""

    def activation(self, value: str, scale: float, rectified: bool = False) -> str:
        """Quantizer that the tool puts behind a value that a layer reads."""
        raise NotImplementedError

    def elsewhere(self, value: str, scale: float, rectified: bool = False) -> str:
        """Quantizer of a value that no layer with weights reads."""
        return self.activation(value, scale, rectified)

    def kernel(self, weight: np.ndarray) -> str:
        """Weight behind its quantizers."""
        raise NotImplementedError

    def bias(self, bias: np.ndarray, scale: float) -> str:
        """Bias, in float by default."""
        return self.constant(bias)

    def build(self) -> onnx.ModelProto:
        x = self.activation("x", 0.031)
        y = self.op("Conv", x, self.kernel(STEM), self.bias(BIASES[0], 0.031), pads=[1] * 4)
        y = self.op("MaxPool", self.op("Relu", y), kernel_shape=[2, 2], strides=[2, 2])
        x = self.activation(y, 0.0173, rectified=True)
        y = self.op("Conv", x, self.kernel(BODY), self.bias(BIASES[1], 0.0173), pads=[1] * 4)
        y = self.op("Add", self.elsewhere(y, 0.0297), self.elsewhere(x, 0.0171, rectified=True))
        y = self.elsewhere(self.op("Relu", y), 0.0201, rectified=True)
        y = self.op("AveragePool", y, kernel_shape=[3, 3], strides=[3, 3])
        y = self.op("Flatten", self.activation(y, 0.0113, rectified=True))
        y = self.op("Gemm", y, self.kernel(HEAD), self.bias(BIASES[2], 0.0113), transB=1)
        return self.model(self.elsewhere(y, 0.0311))


def steps_of(weight: np.ndarray, per_channel: bool) -> np.ndarray:
    axes = tuple(range(1, weight.ndim)) if per_channel else None
    return np.asarray(np.abs(weight).max(axes) / 127, np.float32)


class Brevitas(Style):
    """QCDQ: codes are clamped between the quantizers; biases in int32; the output in float."""

    def activation(self, value: str, scale: float, rectified: bool = False) -> str:
        dtype = np.uint8 if rectified else np.int8
        ends = (0, 200) if rectified else (-127, 127)
        parameters = (self.constant(np.float32(scale)), self.constant(dtype(0)))
        codes = self.op("QuantizeLinear", value, *parameters)
        codes = self.op("Clip", codes, *(self.constant(dtype(end)) for end in ends))
        return self.op("DequantizeLinear", codes, *parameters)

    def elsewhere(self, value: str, scale: float, rectified: bool = False) -> str:
        return value if scale == 0.0311 else self.activation(value, scale, rectified)

    def kernel(self, weight: np.ndarray) -> str:
        parameters = (self.constant(steps_of(weight, False)), self.constant(np.int8(0)))
        codes = self.op("QuantizeLinear", self.constant(weight), *parameters)
        ends = (self.constant(np.int8(-127)), self.constant(np.int8(127)))
        return self.op("DequantizeLinear", self.op("Clip", codes, *ends), *parameters)

    def bias(self, bias: np.ndarray, scale: float) -> str:
        weight = {8: STEM, 10: HEAD}[len(bias)] if scale != 0.0173 else BODY
        step = np.float32(scale) * steps_of(weight, False)
        codes = np.rint(bias / step).astype(np.int32)
        stored = (codes, np.float32(step), np.int32(0))
        return self.op("DequantizeLinear", *map(self.constant, stored))


class TensorRT(Style):
    """Only what layers with weights read is quantized, symmetrically; weights are stored in float.

    ModelOpt leaves one input of an add in float, and the output.
    """

    def activation(self, value: str, scale: float, rectified: bool = False) -> str:
        scale = scale * 2 if rectified else scale
        if self.opset >= 21:
            steps = self.constant(np.float32(scale))
            codes = self.op("QuantizeLinear", value, steps, output_dtype=onnx.TensorProto.INT8)
            return self.op("DequantizeLinear", codes, steps)
        return self.pair(value, scale)

    def elsewhere(self, value: str, scale: float, rectified: bool = False) -> str:
        return value

    def kernel(self, weight: np.ndarray) -> str:
        steps = self.constant(steps_of(weight, True))
        zeros = [self.constant(np.zeros(len(weight), np.int8))] if self.opset < 21 else []
        options = {} if zeros else {"output_dtype": onnx.TensorProto.INT8}
        codes = self.op("QuantizeLinear", self.constant(weight), steps, *zeros, axis=0, **options)
        return self.op("DequantizeLinear", codes, steps, *zeros, axis=0)


class Aimet(Style):
    """Everything per tensor, weights in float behind quantizers of unsigned codes around 128."""

    def activation(self, value: str, scale: float, rectified: bool = False) -> str:
        return self.pair(value, scale, 0 if rectified else 131, np.uint8)

    def kernel(self, weight: np.ndarray) -> str:
        return self.pair(self.constant(weight), steps_of(weight, False), 128, np.uint8)


class Ends(Aimet):
    """Codes pass through what only moves or compares them: quantizers stand at the ends."""

    def build(self) -> onnx.ModelProto:
        y = self.op("Conv", self.activation("x", 0.031), self.kernel(STEM), pads=[1] * 4)
        parameters = (self.constant(np.float32(0.0173)), self.constant(np.uint8(0)))
        codes = self.op("QuantizeLinear", y, *parameters)
        codes = self.op("MaxPool", codes, kernel_shape=[6, 6], strides=[6, 6])
        codes = self.op("Cast", self.op("Flatten", codes), to=onnx.TensorProto.UINT8)
        y = self.op("DequantizeLinear", codes, *parameters)
        return self.model(self.activation(self.op("Gemm", y, self.kernel(HEAD), transB=1), 0.0311))


STYLES: dict[str, tuple[type[Style], bool]] = {
    "Brevitas": (Brevitas, False),
    "TensorRT": (TensorRT, False),
    "AIMET": (Aimet, True),
    "ends": (Ends, True),
}
"""With whether a network has all its quantizers."""


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("style", STYLES)
def test_network_in_style_agrees(style: str, opset: int, external: bool, tmp_path: Path) -> None:
    build, whole = STYLES[style]
    model = build(*SHAPE, opset=opset).build()
    path = tmp_path / "net.onnx"
    more = {"save_as_external_data": True, "location": "weights", "size_threshold": 0}
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.save(copy, path, **(more if external else {}))
    assert (tmp_path / "weights").exists() == external
    if not whole:
        with pytest.raises(importer.NotQuantized, match="is float|which is not quantized"):
            importer.load(path)
        model = quantize.complete(path, images(SHAPE, 32, seed=1))
        path = tmp_path / "completed.onnx"
        onnx.save(model, path)
    assert_ties(agreements(model, importer.load(path), images(SHAPE, 60, seed=2)))


def exported(model: nn.Module, x: np.ndarray) -> onnx.ModelProto:
    file = io.BytesIO()
    torch.onnx.export(
        model, torch.tensor(x[:1]), file, dynamo=False, opset_version=17,
        input_names=["input"], output_names=["output"],
        dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
    )  # fmt: skip
    return onnx.load_from_string(file.getvalue())


def torch_network(engine: str, how: str, x: np.ndarray) -> onnx.ModelProto:
    """Network that torch has quantized after or during training, exported."""
    from torch.ao import quantization as q
    from torch.ao.quantization import quantize_fx

    torch.manual_seed(5)
    example = (torch.tensor(x[:1]),)
    calibration = torch.tensor(x)
    if how == "after training":
        mapping: Any = q.get_default_qconfig_mapping(engine)
        prepared = quantize_fx.prepare_fx(PooledResidual().eval(), mapping, example)
        prepared(calibration)
        return exported(quantize_fx.convert_fx(prepared), x)
    mapping = q.QConfigMapping().set_global(q.get_default_qat_qconfig(engine, version=0))
    prepared = quantize_fx.prepare_qat_fx(PooledResidual().train(), mapping, example)
    prepared(calibration)
    prepared.eval().apply(q.disable_observer)
    return exported(prepared, x)


@pytest.mark.parametrize("how", ["after training", "in training"])
@pytest.mark.parametrize("engine", ["x86", "qnnpack"])
def test_network_that_torch_has_quantized_agrees(
    engine: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine not in torch.backends.quantized.supported_engines:
        pytest.skip(f"torch has no {engine} here")
    monkeypatch.setattr(torch.backends.quantized, "engine", engine)
    x = images(SHAPE, 32, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch calls its own functions outdated.
        model = torch_network(engine, how, x)
    network = importer.load(model)
    kinds = [layer.kind for layer in network.layers]
    # torch's weights go down to -128, which takes two weights of ours.
    assert "shuffle" in kinds and [k for k in kinds if k in ("conv", "fc")] == [
        "conv",
        "conv",
        "fc",
    ]
    assert_ties(agreements(model, network, images(SHAPE, 60, seed=2)))
