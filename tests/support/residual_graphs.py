"""ResNet-50 in its full width as a graph written by hand, float or quantized, of random weights.

Of any size of image and width, and without torch, which would take longer than all that reads it.
"""

from __future__ import annotations

import numpy as np
import onnx

from qdq_graphs import Qdq

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Channels inside a bottleneck, number of bottlenecks, stride of the first (He et al. 2015)."""
EXPANSION = 4
STEP = 0.05
"""Scale of every activation."""


class Residual(Qdq):
    """Graph whose layers have a scale for each channel, an int32 bias and a ReLU, as most tools do.

    Parameters
    ----------
    size : of the images, in pixels
    quantized : else there are no quantizers
    seed : of the weights
    """

    def __init__(self, size: int, quantized: bool, seed: int) -> None:
        super().__init__(3, size, size)
        self.quantized = quantized
        self.draw = np.random.default_rng(seed)

    def pair(self, value: str, scale: float, zero: int = 0, dtype: type = np.int8) -> str:
        """Quantizers of an activation, if there are any."""
        return super().pair(value, scale, zero, dtype) if self.quantized else value

    def stored(self, codes: np.ndarray, scales: np.ndarray) -> str:
        """Codes behind a DequantizeLinear, with a scale for each of the first axis, or reals."""
        if not self.quantized:
            along = scales.reshape(-1, *[1] * (codes.ndim - 1))
            return self.constant(codes * along)
        zeros = np.zeros(len(codes), codes.dtype)
        stored = [self.constant(each) for each in (codes, scales, zeros)]
        return self.op("DequantizeLinear", *stored, axis=0)

    def layer(self, op: str, value: str, shape: tuple[int, ...], **attributes: object) -> str:
        """A layer of random weights, whose sums are about as large as its inputs."""
        outputs, fan = shape[0], int(np.prod(shape[1:]))
        codes = np.clip(np.rint(self.draw.standard_normal(shape, np.float32) * 40), -127, 127)
        scales = (self.draw.uniform(0.8, 1.2, outputs) / 40 / np.sqrt(fan)).astype(np.float32)
        bias = self.draw.integers(-999, 1000, outputs, np.int32)
        stored = self.stored(codes.astype(np.int8), scales), self.stored(bias, scales * STEP)
        return self.op(op, value, *stored, **attributes)

    def convolution(
        self, value: str, inputs: int, outputs: int, kernel: int, stride: int, *, relu: bool = True
    ) -> str:
        """Convolution between quantizers."""
        made = self.layer(
            "Conv", value, (outputs, inputs, kernel, kernel),
            kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4,
        )  # fmt: skip
        return self.rectified(made) if relu else self.pair(made, STEP)

    def rectified(self, value: str) -> str:
        """ReLU and its quantizer, which has no negative codes."""
        return self.pair(self.op("Relu", value), STEP / 2, -128)

    def bottleneck(self, value: str, inputs: int, middle: int, stride: int) -> str:
        outputs = middle * EXPANSION
        inner = self.convolution(value, inputs, middle, 1, 1)
        inner = self.convolution(inner, middle, middle, 3, stride)
        inner = self.convolution(inner, middle, outputs, 1, 1, relu=False)
        if inputs != outputs:
            value = self.convolution(value, inputs, outputs, 1, stride, relu=False)
        return self.rectified(self.op("Add", inner, value))


def resnet50(
    size: int = 224,
    *,
    classes: int = 1000,
    divisor: int = 1,
    quantized: bool = True,
    seed: int = 0,
) -> onnx.ModelProto:
    """ResNet-50.

    Parameters
    ----------
    size : of the images, in pixels
    classes : outputs
    divisor : of the number of channels of every layer, 1 in the paper's network
    quantized : between quantizers, or float
    seed : of the weights
    """
    graph = Residual(size, quantized, seed)
    channels = 64 // divisor
    value = graph.convolution(graph.pair("x", STEP, 5), 3, channels, 7, 2)
    value = graph.op("MaxPool", value, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    value = graph.pair(value, STEP / 2, -128)
    for middle, count, stride in STAGES:
        for number in range(count):
            first = number == 0
            value = graph.bottleneck(value, channels, middle // divisor, stride if first else 1)
            channels = middle // divisor * EXPANSION
    value = graph.pair(graph.op("GlobalAveragePool", value), STEP / 2, -128)
    value = graph.op("Flatten", value)
    value = graph.layer("Gemm", value, (classes, channels), transB=1)
    return graph.model(graph.pair(value, STEP))
