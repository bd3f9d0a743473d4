"""Quantized graphs written by hand, and their comparison with onnxruntime without optimizations."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from steelyard.compare import runtime_names
from steelyard.network import Network, golden

AGREEMENT = 0.999


def images(shape: tuple[int, ...], count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32)


def runtime_codes(model: onnx.ModelProto, x: np.ndarray) -> dict[str, np.ndarray]:
    """Int8 codes of every quantized activation by its tensor's name, without any fusion."""
    watching = dict(runtime_names(model))
    names = {name: each.codes for name, each in watching.items()}
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    outputs = list(dict.fromkeys(names.values()))
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in outputs)
    found = dict(
        zip(outputs, session(watched).run(outputs, {model.graph.input[0].name: x}), strict=True)
    )
    codes_of_all = {
        name: found[codes].astype(np.int16) - (128 if found[codes].dtype == np.uint8 else 0)
        for name, codes in names.items()
    }
    for name, each in watching.items():
        if each.order is not None:
            codes_of_all[name] = codes_of_all[name].transpose(each.order)
    return codes_of_all


def assert_agrees(
    model: onnx.ModelProto, network: Network, x: np.ndarray, agreement: float = AGREEMENT
) -> None:
    """Each layer on onnxruntime's own codes, and the whole network end to end.

    Float32 sums that fall within rounding noise of a half step differ by one code; the layers
    behind carry such a code on, so end to end the share of equal elements counts.
    """
    expected = runtime_codes(model, x)
    source = network.tensor(network.input)
    codes = source.quantize(network.planes(source.name, x))
    traced = golden.run(network, codes, trace=True, threads=1)
    if not expected.keys() >= set(network.outputs):
        # What a moved tensor or joined codes hold has no QuantizeLinear of its own.
        assert_within_a_step(model, network, x, agreement)
    truth = {source.name: codes}
    np.testing.assert_array_equal(codes, network.planes(network.input, expected[network.input]))
    end_to_end = []
    for layer in network.layers:
        alone = golden.layer(network, layer, *(truth[name] for name in layer.inputs))
        truth[layer.output] = alone
        if layer.output not in expected:
            continue
        right = network.planes(layer.output, expected[layer.output]).astype(np.int8)
        truth[layer.output] = right
        difference = np.abs(alone.astype(np.int16) - right)
        equal = float(np.mean(difference == 0))
        assert difference.max() <= 1, f"{layer.name} is off by {difference.max()}"
        assert equal >= agreement, f"{layer.name} agrees on {equal:.4%} of {alone.size} elements"
        end_to_end.append((traced[layer.output] == right).ravel())
    if end_to_end:
        assert np.mean(np.concatenate(end_to_end)) >= agreement


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Of one thread, without optimizations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def runtime_output(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    """Output of a model in onnxruntime without optimizations."""
    return session(model).run(None, {model.graph.input[0].name: x})[0]


def scores(network: Network, x: np.ndarray) -> np.ndarray:
    """Real output of the golden model."""
    tensor = network.tensor(network.input)
    codes = tensor.quantize(network.planes(tensor.name, x))
    return network.tensor(network.output).dequantize(golden.run(network, codes, threads=1))


def assert_within_a_step(
    model: onnx.ModelProto, network: Network, x: np.ndarray, agreement: float = 0.98
) -> None:
    """Outputs of the golden model against onnxruntime's: at most one step, and seldom that."""
    right = session(model).run(None, {model.graph.input[0].name: x})
    source = network.tensor(network.input)
    codes = source.quantize(network.planes(source.name, x))
    traced = golden.run(network, codes, trace=True, threads=1)
    for name, view, expected in zip(network.outputs, network.output_views, right, strict=True):
        tensor = network.tensor(name)
        assert expected.shape == (len(x), *view), f"{name} is seen as {view}"
        difference = tensor.dequantize(traced[name]) - network.planes(name, expected)
        steps = np.rint(np.abs(difference) / tensor.scale)
        equal = np.mean(steps == 0)
        assert steps.max() <= 1, f"{name} is off by {steps.max()} steps"
        assert equal >= agreement, f"{name}: {equal:.2%} of {steps.size} equal"


class Qdq:
    """Small QDQ graph written by hand: methods append nodes and return the name of their result.

    Below opset 10, quantizers are those of onnxruntime's own domain.
    """

    def __init__(self, *shape: int | str, opset: int = 17) -> None:
        self.shape = shape
        self.opset = opset
        self.domain = "com.microsoft" if opset < 10 else ""
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, array: np.ndarray) -> str:
        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(op, inputs, [f"{name}.out"], name, domain=domain, **attributes)
        )
        return f"{name}.out"

    def pair(self, value: str, scale: Any, zero: int = 0, dtype: Any = np.int8) -> str:
        """QuantizeLinear and DequantizeLinear of an activation."""
        parameters = (self.constant(np.float32(scale)), self.constant(np.array(zero, dtype)))
        codes = self.op("QuantizeLinear", value, *parameters, domain=self.domain)
        return self.op("DequantizeLinear", codes, *parameters, domain=self.domain)

    def weight(self, codes: np.ndarray, scale: Any = 0.00971, axis: int = 0) -> str:
        """DequantizeLinear of stored codes."""
        if self.opset < 13:
            # One scale: these opsets have none along an axis.
            stored = [self.constant(a) for a in (codes, np.float32(scale), codes.dtype.type(0))]
            return self.op("DequantizeLinear", *stored, domain=self.domain)
        scales = np.broadcast_to(np.float32(scale), codes.shape[axis])
        zeros = np.zeros(codes.shape[axis], codes.dtype)
        stored = [self.constant(each) for each in (codes, scales, zeros)]
        return self.op("DequantizeLinear", *stored, axis=axis)

    def conv(self, value: str, channels: int = 3, outputs: int = 4, **attributes: Any) -> str:
        """3x3 convolution of random weights."""
        weight = np.random.default_rng(5).integers(-127, 128, (outputs, channels, 3, 3), np.int8)
        return self.op("Conv", value, self.weight(weight), **attributes)

    def model(self, *outputs: str) -> onnx.ModelProto:
        kind = TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes,
            "by_hand",
            [helper.make_tensor_value_info("x", kind, ("batch", *self.shape))],
            [helper.make_tensor_value_info(output, kind, None) for output in outputs],
            self.constants,
        )
        others = ("com.other", "com.microsoft")
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(d, 1) for d in others)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def start(*shape: int | str) -> tuple[Qdq, str]:
    """Graph and its quantized input of 3 channels, 9x9 by default."""
    graph = Qdq(*(shape or (3, 9, 9)))
    return graph, graph.pair("x", 0.0203, 5)


def codes_of(g: Qdq, value: str, scale: float) -> str:
    """Codes of a value, int8 around 3, without their DequantizeLinear."""
    return g.op("QuantizeLinear", value, g.constant(np.float32(scale)), g.constant(np.int8(3)))
