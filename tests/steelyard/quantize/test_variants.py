"""Every habit of exporters: quantized, imported and run as integers, or refused by name."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

from float_variants import SHAPES, VARIANTS, external, typed
from steelyard import importer
from steelyard.network import golden
from steelyard.quantize import quantize_measured

SEEDS = (1, 2)
LEAST_DB = 20.0
"""Int8 against float scores. A lost clamp, factor or bias is below 10 dB in these networks."""


def reference(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    """Scores of the network as it is, in its own types and batches."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    constants = {item.name for item in session.get_overridable_initializers()}
    value = next(item for item in session.get_inputs() if item.name not in constants)
    kind = {"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(value.type, np.float32)
    size = value.shape[0] if isinstance(value.shape[0], int) else 1
    parts = [
        session.run(None, {value.name: images[start : start + size].astype(kind)})[0]
        for start in range(0, len(images), size)
    ]
    return np.concatenate(parts).astype(np.float64)


def runnable(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network in a form that onnxruntime takes: names of their own, no float64."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for number, node in enumerate(copy.graph.node):
        node.name = f"{node.op_type}_{number}"
    if copy.graph.input[0].type.tensor_type.elem_type == TensorProto.DOUBLE:
        typed(copy, TensorProto.FLOAT, np.float32)
    return copy


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", VARIANTS)
def test_scores_are_those_of_the_file(name: str, seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng([zlib.crc32(name.encode()), seed])
    model = VARIANTS[name](rng)
    path = tmp_path / "f.onnx"
    if seed % 2:
        onnx.save(model, path)
    else:
        external(model, path)
    shape = SHAPES["vector" if name.startswith("vector") else "map"]
    images = rng.standard_normal((24, *shape)).astype(np.float32)
    expected = reference(runnable(model), images)
    network = importer.load(quantize_measured(path, images).content)
    source = network.tensor(network.input)
    codes = golden.run(network, source.quantize(images.reshape(24, *source.shape)))
    found = network.tensor(network.output).dequantize(codes).reshape(expected.shape)
    difference = float(np.sum((found - expected) ** 2))
    signal = float(np.sum(expected**2))
    ratio = 10 * np.log10(max(signal, 1e-30) / max(difference, 1e-30))
    # A network whose scores are all zero has no signal, and may have no noise.
    assert ratio > LEAST_DB or difference < 1e-12, f"{name} of seed {seed}: {ratio:.1f} dB"
