"""Quantized graphs in the styles of several exporters, made from a seed, against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

from qdq_graphs import Qdq, assert_agrees, images
from steelyard import importer
from steelyard.errors import UserError

SEEDS = 200
SHAPE = (3, 20, 20)
OPSETS = (13, 14, 17, 18, 19, 21, 23, 25, 26)
STYLES = ("onnxruntime", "brevitas", "tensorrt", "nncf")
"""What they do differently: constants stored as codes or as floats behind a QuantizeLinear, codes
clamped, unsigned codes behind a ReLU, symmetric scales, one scale or one for each channel."""


class Variant(Qdq):
    """Graph whose every choice comes from a seed."""

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)
        super().__init__(*SHAPE, opset=int(self.pick(*OPSETS)))
        self.style = str(self.pick(*STYLES))

    def constant(self, array: np.ndarray) -> str:
        """Stored in the file, or made by a node as torch's exporters do."""
        if self.pick(0, 1):
            return self.op("Constant", value=numpy_helper.from_array(np.asarray(array)))
        return super().constant(array)

    def pick(self, *choices: Any) -> Any:
        return choices[int(self.draw.integers(len(choices)))]

    def quantizer(self, value: str, scale: float, rectified: bool = False) -> str:
        """Pair of an activation in the style."""
        dtype: type = np.int8
        zero = int(self.draw.integers(-100, 20)) if rectified else int(self.draw.integers(-9, 9))
        if self.style in ("tensorrt", "brevitas"):
            zero = 0
        if self.style == "nncf" or (self.style == "brevitas" and rectified):
            dtype, zero = np.uint8, zero + 128 if self.style == "nncf" else 0
        scale *= float(self.draw.uniform(0.7, 1.4))
        steps = self.constant(np.float32(scale) if self.pick(0, 1) else np.float32([scale]))
        point = self.constant(np.array(zero, dtype))
        given = [point]
        options: dict[str, Any] = {}
        if zero == 0 and self.pick(0, 1):
            # Left out where the default or output_dtype says the same.
            if self.opset >= 21:
                given = []
                options["output_dtype"] = int(
                    TensorProto.UINT8 if dtype is np.uint8 else TensorProto.INT8
                )
            elif dtype is np.uint8:
                given = []
        codes = self.op("QuantizeLinear", value, steps, *given, **options)
        if self.style == "brevitas":
            ends = (0, 255) if dtype is np.uint8 else self.pick((-127, 127), (-64, 63))
            codes = self.op("Clip", codes, *(self.constant(dtype(end)) for end in ends))
        elif self.pick(0, 0, 1):
            codes = self.op("Identity", codes)
        last = [] if zero == 0 and self.pick(0, 1) else [point]
        return self.op("DequantizeLinear", codes, steps, *last)

    def kernel(self, *shape: int, axis: int = 0) -> str:
        """Quantized weight in the style."""
        per_channel = self.style != "brevitas" and bool(self.pick(0, 1))
        size = shape[axis] if per_channel else 1
        scale = self.draw.uniform(0.004, 0.012, size).astype(np.float32)
        codes = self.draw.integers(-127, 128, shape).astype(np.int8)
        if not per_channel:
            scale = scale.reshape(())
        steps = self.constant(scale)
        zeros = self.constant(np.zeros(scale.shape, np.int8))
        key = {"axis": int(self.pick(axis, axis - len(shape)))} if per_channel else {}
        if self.style == "onnxruntime" or self.pick(0, 1):
            stored = self.constant(codes)
            if self.style == "brevitas":
                ends = (self.constant(np.int8(-127)), self.constant(np.int8(127)))
                stored = self.op("Clip", stored, *ends)
            return self.op("DequantizeLinear", stored, steps, zeros, **key)
        along = scale.reshape([-1 if i == axis else 1 for i in range(len(shape))])
        real = self.constant(codes.astype(np.float32) * (along if per_channel else scale))
        quantized = self.op("QuantizeLinear", real, steps, zeros, **key)
        if self.style == "brevitas":
            ends = (self.constant(np.int8(-127)), self.constant(np.int8(127)))
            quantized = self.op("Clip", quantized, *ends)
        return self.op("DequantizeLinear", quantized, steps, zeros, **key)

    def biased(self, op: str, value: str, kernel: str, count: int, **attributes: Any) -> str:
        """Layer with its bias in one of the places where exporters put it."""
        bias = self.draw.uniform(-0.5, 0.5, count).astype(np.float32)
        how = self.pick("none", "float", "codes", "add", "subtract")
        if how in ("add", "subtract"):
            shape = (count, 1, 1) if op == "Conv" else self.pick((count,), (1, count))
            y = self.op(op, value, kernel, **attributes)
            return self.op(
                {"add": "Add", "subtract": "Sub"}[how], y, self.constant(bias.reshape(shape))
            )
        if how == "none" or op == "MatMul":
            return self.op(op, value, kernel, **attributes)
        if how == "float":
            return self.op(op, value, kernel, self.constant(bias), **attributes)
        scale = np.float32(self.draw.uniform(1e-4, 2e-4))
        codes = np.rint(bias / scale).astype(np.int32)
        stored = (self.constant(codes), self.constant(scale))
        return self.op(op, value, kernel, self.op("DequantizeLinear", *stored), **attributes)

    def convolution(self, value: str, inputs: int, outputs: int) -> str:
        size = int(self.pick(1, 3))
        geometry = self.pick(
            {}, {"pads": [size // 2] * 4}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"},
            {"strides": [2, 2], "pads": [0, 0, size // 2, size // 2]},
            {"auto_pad": "VALID", "strides": [2, 2]}, {"kernel_shape": [size, size]},
        )  # fmt: skip
        y = self.biased(
            "Conv", value, self.kernel(outputs, inputs, size, size), outputs, **geometry
        )
        return self.activated(y)

    def activated(self, y: str, scale: float = 0.06) -> str:
        how = self.pick("relu", "relu6", "clip", "none")
        if how == "relu":
            y = self.op("Relu", y)
        elif how != "none":
            low, high = (0, 6) if how == "relu6" else (-1.25, 2.5)
            y = self.op("Clip", y, self.constant(np.float32(low)), self.constant(np.float32(high)))
        return self.quantizer(y, scale, how in ("relu", "relu6"))

    def pooling(self, value: str) -> str:
        attributes = self.pick(
            {"op": "MaxPool", "strides": [2, 2], "ceil_mode": 1},
            {"op": "MaxPool", "pads": [1] * 4},
            {"op": "MaxPool", "auto_pad": "SAME_UPPER", "strides": [2, 2], "storage_order": 1},
            {"op": "AveragePool"},
            {"op": "AveragePool", "count_include_pad": 1, "pads": [1] * 4},
            {"op": "AveragePool", "strides": [2, 2], "auto_pad": "VALID", "ceil_mode": 0},
        )  # fmt: skip
        op = str(attributes.pop("op"))
        # Nine elements: an average never falls in the middle between two codes.
        return self.quantizer(self.op(op, value, kernel_shape=[3, 3], **attributes), 0.05)

    def flattened(self, value: str) -> str:
        how = self.pick("flatten", "negative", "zero", "shape", "mean", "squeeze")
        if how in ("flatten", "negative"):
            return self.op("Flatten", value, **({"axis": -3} if how == "negative" else {}))
        if how == "zero":
            return self.op("Reshape", value, self.constant(np.array([0, -1])))
        if how == "shape":
            batch = self.op("Gather", self.op("Shape", value), self.constant(np.array([0])))
            rest = self.constant(np.array([-1]))
            return self.op("Reshape", value, self.op("Concat", batch, rest, axis=0))
        axes = [self.constant(np.array([2, 3]))]
        if how == "mean":
            key = {"axes": [2, 3]} if self.opset < 18 else {}
            y = self.op("ReduceMean", value, *([] if key else axes), keepdims=0, **key)
            return self.quantizer(y, 0.02)
        return self.op("Squeeze", self.quantizer(self.op("GlobalMaxPool", value), 0.05), *axes)

    def build(self) -> str:
        value = self.quantizer("x", 0.03)
        value = self.convolution(value, 3, 4)
        if self.pick(0, 1):
            value = self.pooling(value)
        if self.pick(0, 1):
            side = self.quantizer(self.op("Conv", value, self.kernel(4, 4, 1, 1)), 0.06)
            value = self.activated(self.op("Add", *self.pick((side, value), (value, side))))
        if self.pick(0, 0, 1):
            value = self.quantizer(self.op("Mul", value, self.constant(np.float32(0.5))), 0.04)
        if self.pick(0, 1):
            return self.convolution(value, 4, 5)
        return self.flattened(value)


def widths(graph: Variant, value: str) -> int:
    """Features of a flattened value, from onnx's own shape inference."""
    import onnx

    model = graph.model(value)
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    found = {v.name: v for v in inferred.graph.value_info}
    found |= {v.name: v for v in inferred.graph.output}
    dims = found[value].type.tensor_type.shape.dim
    return int(dims[1].dim_value) if len(dims) == 2 else 0


@pytest.mark.parametrize("seed", range(SEEDS))
def test_variant_agrees_within_a_step(seed: int) -> None:
    graph = Variant(seed)
    value = graph.build()
    features = widths(graph, value)
    if features:
        op = graph.pick("Gemm", "MatMul")
        transposed = op == "Gemm" and bool(graph.pick(0, 1))
        shape = (6, features) if transposed else (features, 6)
        kernel = graph.kernel(*shape, axis=0 if transposed else 1)
        y = graph.biased(op, value, kernel, 6, **({"transB": 1} if transposed else {}))
        value = graph.quantizer(y, 0.2)
    model = graph.model(value)
    network = importer.load(model)
    assert_agrees(model, network, images(SHAPE, 12, seed), 0.94)


def test_all_styles_and_opsets_occur() -> None:
    found = [Variant(seed) for seed in range(SEEDS)]
    assert {graph.style for graph in found} == set(STYLES)
    assert {graph.opset for graph in found} == set(OPSETS)


REFUSED = {
    "4-bit weights": (TensorProto.INT4, "constant codes of int4, allowed are int8"),
    "unsigned 4-bit weights": (TensorProto.UINT4, "constant codes of uint4, allowed are int8"),
    "float8 weights": (TensorProto.FLOAT8E4M3FN, "constant codes of float8_e4m3fn"),
    "16-bit weights": (TensorProto.INT16, "has a weight of int16, allowed are int8 and uint8; "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_types_of_weights_are_refused_by_name(case: str) -> None:
    import onnx

    kind, sentence = REFUSED[case]
    graph = Qdq(*SHAPE, opset=21)
    value = graph.pair("x", 0.03)
    numbers = np.ones(12, np.float32).tolist()
    graph.constants.append(onnx.helper.make_tensor("w", kind, [4, 3, 1, 1], numbers))
    kernel = graph.op("DequantizeLinear", "w", graph.constant(np.float32(0.01)))
    model = graph.model(graph.pair(graph.op("Conv", value, kernel), 0.1))
    with pytest.raises(UserError, match=sentence):
        importer.load(model)
