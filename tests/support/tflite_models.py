"""TFLite files written with the schema's own builder functions, and what the interpreter makes of
them."""

from __future__ import annotations

import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import ArrayLike, NDArray

from steelyard.network import Network, golden

CODES = {name: code for code, name in tflite.utils.BUILTIN_OPCODE2NAME.items()}
OPTIONS = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTH_TO_SPACE": "DepthToSpaceOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GELU": "GeluOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MIRROR_PAD": "MirrorPadOptions",
    "MUL": "MulOptions",
    "RESIZE_BILINEAR": "ResizeBilinearOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SOFTMAX": "SoftmaxOptions",
    "SPLIT": "SplitOptions",
    "SPLIT_V": "SplitVOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
    "TRANSPOSE_CONV": "TransposeConvOptions",
}
TYPES = {
    np.dtype(np.float32): tflite.TensorType.FLOAT32,
    np.dtype(np.int8): tflite.TensorType.INT8,
    np.dtype(np.int32): tflite.TensorType.INT32,
    np.dtype(np.uint8): tflite.TensorType.UINT8,
    np.dtype(np.int16): tflite.TensorType.INT16,
}
SAME, VALID = tflite.Padding.SAME, tflite.Padding.VALID
NONE = tflite.ActivationFunctionType.NONE
RELU = tflite.ActivationFunctionType.RELU
RELU6 = tflite.ActivationFunctionType.RELU6
RELU_N1_TO_1 = tflite.ActivationFunctionType.RELU_N1_TO_1


@dataclass
class _Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: tuple[float, ...]
    zero: tuple[int, ...]
    axis: int
    data: NDArray | None


@dataclass
class _Operator:
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)


class Model:
    """TFLite model under construction; tensors are known by their numbers."""

    def __init__(self) -> None:
        self.tensors: list[_Tensor] = []
        self.operators: list[_Operator] = []
        self.inputs: list[int] = []
        self.outputs: list[int] = []

    def tensor(
        self,
        shape: tuple[int, ...],
        scale: ArrayLike = (),
        zero: ArrayLike = 0,
        *,
        name: str | None = None,
        dtype: Any = np.int8,
        data: NDArray | None = None,
        axis: int = 0,
    ) -> int:
        """Number of a new tensor."""
        scales = tuple(np.atleast_1d(np.asarray(scale, np.float32)).tolist())
        zeros = tuple(np.broadcast_to(np.asarray(zero, np.int64), (len(scales),)).tolist())
        number = len(self.tensors)
        dtype = np.dtype(dtype if data is None else data.dtype)
        self.tensors.append(
            _Tensor(name or f"tensor {number}", shape, dtype, scales, zeros, axis, data)
        )
        return number

    def constant(self, data: NDArray, scale: ArrayLike = (), zero: ArrayLike = 0, axis=0) -> int:
        """Number of a new constant."""
        return self.tensor(data.shape, scale, zero, data=data, axis=axis)

    def op(self, name: str, inputs: tuple[int, ...], output: int, **options: Any) -> int:
        """Append an operator; returns its output."""
        return self.ops(name, inputs, (output,), **options)[0]

    def ops(
        self, name: str, inputs: tuple[int, ...], outputs: tuple[int, ...], **options: Any
    ) -> tuple[int, ...]:
        """Append an operator; returns its outputs."""
        self.operators.append(_Operator(name, inputs, outputs, options))
        return outputs

    def write(self) -> bytes:
        """The file."""
        b = flatbuffers.Builder(1 << 16)
        names = sorted({each.name for each in self.operators})
        constants = [each for each in self.tensors if each.data is not None]
        buffers = [self._buffer(b, None)]
        buffers += [self._buffer(b, each.data) for each in constants]
        places = {id(each): number for number, each in enumerate(constants, 1)}
        tensors = [self._tensor(b, each, places.get(id(each), 0)) for each in self.tensors]
        operators = [self._operator(b, each, names.index(each.name)) for each in self.operators]
        graph = _table(
            b,
            "SubGraph",
            Tensors=_vector(b, tensors),
            Inputs=b.CreateNumpyVector(np.array(self.inputs, np.int32)),
            Outputs=b.CreateNumpyVector(np.array(self.outputs, np.int32)),
            Operators=_vector(b, operators),
        )
        codes = [
            _table(
                b,
                "OperatorCode",
                DeprecatedBuiltinCode=min(CODES[name], 127),
                BuiltinCode=CODES[name],
                Version=1,
            )
            for name in names
        ]
        model = _table(
            b,
            "Model",
            Version=3,
            OperatorCodes=_vector(b, codes),
            Subgraphs=_vector(b, [graph]),
            Buffers=_vector(b, buffers),
        )
        b.Finish(model, b"TFL3")
        return bytes(b.Output())

    def _buffer(self, b: flatbuffers.Builder, data: NDArray | None) -> int:
        if data is None:
            return _table(b, "Buffer")
        # The interpreter wants weights at multiples of 16 bytes.
        raw = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
        b.StartVector(1, len(raw), 16)
        b.head = b.head - len(raw)
        b.Bytes[b.head : b.head + len(raw)] = raw.tobytes()
        return _table(b, "Buffer", Data=b.EndVector())

    def _tensor(self, b: flatbuffers.Builder, each: _Tensor, buffer: int) -> int:
        fields: dict[str, Any] = {
            "Name": b.CreateString(each.name),
            "Shape": b.CreateNumpyVector(np.array(each.shape, np.int32)),
            "Type": TYPES[each.dtype],
            "Buffer": buffer,
        }
        if each.scale:
            fields["Quantization"] = _table(
                b,
                "QuantizationParameters",
                Scale=b.CreateNumpyVector(np.array(each.scale, np.float32)),
                ZeroPoint=b.CreateNumpyVector(np.array(each.zero, np.int64)),
                QuantizedDimension=each.axis,
            )
        return _table(b, "Tensor", **fields)

    def _operator(self, b: flatbuffers.Builder, each: _Operator, code: int) -> int:
        fields: dict[str, Any] = {
            "OpcodeIndex": code,
            "Inputs": b.CreateNumpyVector(np.array(each.inputs, np.int32)),
            "Outputs": b.CreateNumpyVector(np.array(each.outputs, np.int32)),
        }
        kind = OPTIONS.get(each.name)
        if kind is not None:
            fields["BuiltinOptions"] = _table(b, kind, **each.options)
            fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, kind)
        return _table(b, "Operator", **fields)


class Net(Model):
    """Model that grows layer by layer, with random weights and scales that keep codes in range.

    Parameters
    ----------
    shape : height, width and channels of the input
    zero : zero point of the input
    """

    def __init__(self, shape: tuple[int, ...], seed: int, zero: int = 3) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.input = self.tensor((1, *shape), self.rng.uniform(0.02, 0.05), zero, name="x")
        self.inputs = [self.input]

    def made(self, output: int) -> bytes:
        """The file, with one output."""
        self.outputs = [output]
        return self.write()

    def made_by(self) -> dict[str, str]:
        """Operator that makes each tensor, by the tensor's name."""
        return {self.tensors[y].name: each.name for each in self.operators for y in each.outputs}

    def images(self, count: int) -> NDArray[np.int8]:
        """Codes of the input whose means differ from channel to channel."""
        shape = self.tensors[self.input].shape[1:]
        noise = self.rng.integers(-60, 61, (count, *shape))
        base = self.rng.integers(-90, 91, (count, *(1,) * (len(shape) - 1), shape[-1]))
        return np.clip(noise + base, -128, 127).astype(np.int8)

    def conv(
        self, x: int, channels: int, kernel: tuple[int, int] = (3, 3), stride: int = 1,
        padding: int = SAME, act: int = NONE, groups: int = 1, per_channel: bool = True,
        bias: bool = True, strides: tuple[int, int] | None = None, dilation: int = 1,
    ) -> int:  # fmt: skip
        """Output of a new CONV_2D."""
        own = self.tensors[x].shape[3] // groups
        weight = self.weight((channels, *kernel, own))
        scale = self.weight_scale(channels if per_channel else 1)
        sizes = self.windows(x, kernel, strides or (stride, stride), padding, dilation)
        fan_in = own * kernel[0] * kernel[1]
        return self.weighted(
            "CONV_2D", x, weight, scale, 0, (*sizes, channels), fan_in, act, bias,
            **self.options(strides or (stride, stride), padding, dilation),
        )  # fmt: skip

    def depthwise(
        self, x: int, multiplier: int = 1, kernel: tuple[int, int] = (3, 3), stride: int = 1,
        padding: int = SAME, act: int = NONE, dilation: int = 1,
    ) -> int:  # fmt: skip
        """Output of a new DEPTHWISE_CONV_2D."""
        channels = self.tensors[x].shape[3] * multiplier
        weight = self.weight((1, *kernel, channels))
        sizes = self.windows(x, kernel, (stride, stride), padding, dilation)
        return self.weighted(
            "DEPTHWISE_CONV_2D", x, weight, self.weight_scale(channels), 3, (*sizes, channels),
            kernel[0] * kernel[1], act, True, DepthMultiplier=multiplier,
            **self.options((stride, stride), padding, dilation),
        )  # fmt: skip

    def dense(self, x: int, outputs: int, act: int = NONE, per_channel: bool = False) -> int:
        """Output of a new FULLY_CONNECTED."""
        inputs = int(np.prod(self.tensors[x].shape[1:]))
        weight = self.weight((outputs, inputs))
        scale = self.weight_scale(outputs if per_channel else 1)
        return self.weighted(
            "FULLY_CONNECTED", x, weight, scale, 0, (outputs,), inputs, act, True, WeightsFormat=0
        )

    def pool(
        self, name: str, x: int, kernel: tuple[int, int], stride: int, padding: int = VALID,
        act: int = NONE,
    ) -> int:  # fmt: skip
        """Output of a new MAX_POOL_2D or AVERAGE_POOL_2D."""
        sizes = self.windows(x, kernel, (stride, stride), padding)
        y = self.like(x, (*sizes, self.tensors[x].shape[3]))
        return self.op(
            name, (x,), y, Padding=padding, StrideH=stride, StrideW=stride,
            FilterHeight=kernel[0], FilterWidth=kernel[1], FusedActivationFunction=act,
        )  # fmt: skip

    def mean(self, x: int, keep: bool = False, axes: tuple[int, ...] = (1, 2)) -> int:
        """Output of a new MEAN."""
        channels = self.tensors[x].shape[3]
        shape = (1, 1, channels) if keep else (channels,)
        y = self.rescaled(x, shape, 0.6)
        axis = self.constant(np.array(axes, np.int32))
        return self.op("MEAN", (x, axis), y, KeepDims=keep)

    def add(self, a: int, b: int, act: int = NONE) -> int:
        """Output of a new ADD."""
        y = self.rescaled(a, self.tensors[a].shape[1:], 1.3)
        return self.op("ADD", (a, b), y, FusedActivationFunction=act)

    def function(self, name: str, x: int, scale: float, zero: int, **options: Any) -> int:
        """Output of a new operator on each element, of its own scale and zero point."""
        return self.op(name, (x,), self.tensor(self.tensors[x].shape, scale, zero), **options)

    def part(self, x: int, shape: tuple[int, ...], name: str, *places: Any, **options: Any) -> int:
        """Output of a new operator whose other inputs are integers."""
        given = tuple(self.constant(np.array(each, np.int32)) for each in places)
        return self.op(name, (x, *given), self.like(x, shape), **options)

    def like(self, x: int, shape: tuple[int, ...]) -> int:
        """New tensor of the scale and zero point of another."""
        return self.tensor((1, *shape), self.tensors[x].scale, self.tensors[x].zero)

    def rescaled(
        self, x: int, shape: tuple[int, ...], ratio: float, zero: int | None = None
    ) -> int:
        """New tensor whose scale is about `ratio` times another's."""
        scale = self.tensors[x].scale[0] * ratio * self.rng.uniform(0.9, 1.1)
        zero = int(self.rng.integers(-40, 41)) if zero is None else zero
        return self.tensor((1, *shape), scale, zero)

    def reshaped(self, x: int, shape: tuple[int, ...], name: str = "RESHAPE") -> int:
        """Output of a new RESHAPE, SQUEEZE or EXPAND_DIMS."""
        sizes = self.constant(np.array((1, *shape), np.int32))
        inputs = (x, sizes) if name == "RESHAPE" else (x,)
        return self.op(name, inputs, self.like(x, shape))

    def weight(self, shape: tuple[int, ...]) -> NDArray[np.int8]:
        """Random weights."""
        return self.rng.integers(-127, 128, shape, np.int8)

    def weight_scale(self, count: int) -> NDArray[np.float32]:
        """Random scales of weights."""
        return self.rng.uniform(0.002, 0.004, count).astype(np.float32)

    def weighted(
        self, name: str, x: int, weight: NDArray[np.int8], scale: NDArray[np.float32], axis: int,
        shape: tuple[int, ...], fan_in: int, act: int, bias: bool, **options: Any,
    ) -> int:  # fmt: skip
        """Output of a new operator with weights."""
        step = self.tensors[x].scale[0]
        spread = np.sqrt(fan_in) * step * float(scale.mean()) * 50 * 73
        zero = -128 if act in (RELU, RELU6) else int(self.rng.integers(-20, 21))
        y = self.tensor((1, *shape), spread / 50 * self.rng.uniform(0.9, 1.1), zero)
        inputs = [x, self.constant(weight, scale, axis=axis)]
        if bias:
            steps = self.rng.integers(-2000, 2001, weight.shape[axis]).astype(np.int32)
            inputs.append(self.constant(steps, step * scale))
        return self.op(name, tuple(inputs), y, FusedActivationFunction=act, **options)

    def windows(
        self, x: int, kernel: tuple[int, int], strides: tuple[int, int], padding: int,
        dilation: int = 1,
    ) -> tuple[int, ...]:  # fmt: skip
        """Height and width of what windows over a map give."""
        spans = [(side - 1) * dilation + 1 for side in kernel]
        return tuple(
            -(-size // stride) if padding == SAME else (size - span) // stride + 1
            for size, span, stride in zip(self.tensors[x].shape[1:3], spans, strides, strict=True)
        )

    @staticmethod
    def options(strides: tuple[int, int], padding: int, dilation: int) -> dict[str, int]:
        """Options of convolutions."""
        return {
            "Padding": padding, "StrideH": strides[0], "StrideW": strides[1],
            "DilationHFactor": dilation, "DilationWFactor": dilation,
        }  # fmt: skip


def mobilenet(seed: int, size: int = 32) -> tuple[Net, bytes]:
    """Depthwise separable blocks, one of them padded apart, residual adds, a mean and scores."""
    net = Net((size, size, 3), seed, zero=-1)
    x = net.conv(net.input, 8, stride=2, act=RELU6)
    for channels, stride in ((8, 1), (16, 2), (16, 1)):
        y = net.conv(x, 24, (1, 1), act=RELU6)
        if stride == 2:
            _, height, width, own = net.tensors[y].shape
            pads = net.constant(np.array([[0, 0], [0, 1], [0, 1], [0, 0]], np.int32))
            y = net.op("PAD", (y, pads), net.like(y, (height + 1, width + 1, own)))
            y = net.depthwise(y, stride=2, padding=VALID, act=RELU6)
        else:
            y = net.depthwise(y, act=RELU6)
        y = net.conv(y, channels, (1, 1))
        same = net.tensors[x].shape == net.tensors[y].shape
        x = net.add(x, y) if same else y
    logits = net.dense(net.mean(net.conv(x, 32, (1, 1), act=RELU6)), 10)
    return net, net.made(net.op("SOFTMAX", (logits,), net.tensor((1, 10), 1 / 256, -128), Beta=1.0))


def _table(b: flatbuffers.Builder, kind: str, **fields: Any) -> int:
    getattr(tflite, f"{kind}Start")(b)
    for name, value in fields.items():
        getattr(tflite, f"{kind}Add{name}")(b, value)
    return getattr(tflite, f"{kind}End")(b)


def _vector(b: flatbuffers.Builder, items: list[int]) -> int:
    b.StartVector(4, len(items), 4)
    for item in reversed(items):
        b.PrependUOffsetTRelative(item)
    return b.EndVector()


AGREEMENT = 0.995


def interpreted(content: bytes, images: NDArray, reference: bool = False) -> dict[str, NDArray]:
    """Every tensor of every image by its name, as the interpreter computes it by default.

    Parameters
    ----------
    images : of the input's type, (images, ...) without the batch axis of 1
    reference : whether TFLite's slow kernels compute in place of the default ones
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kernels = OpResolverType.BUILTIN_REF if reference else OpResolverType.AUTO

    with warnings.catch_warnings():
        # That it takes memory to keep all tensors.
        warnings.simplefilter("ignore")
        interpreter = Interpreter(
            model_content=content,
            experimental_op_resolver_type=kernels,
            experimental_preserve_all_tensors=True,
            num_threads=1,
        )
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    details = [each for each in interpreter.get_tensor_details() if each["name"]]
    found: dict[str, list[NDArray]] = {each["name"]: [] for each in details}
    for image in images:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        for each in details:
            # Kernels keep no real values between two of theirs.
            with suppress(ValueError):
                found[each["name"]].append(interpreter.get_tensor(each["index"]).copy())
    return {name: np.stack(values) for name, values in found.items() if values}


def agreement(
    content: bytes, images: NDArray[np.int8], network: Network, reference: bool = False
) -> dict[str, float]:
    """Share of equal codes of every layer that is fed the interpreter's own codes.

    A tensor that the file does not have is the golden model's. Fails where a code is off by more
    than 1.
    """
    expected = interpreted(content, images, reference)
    shape = network.tensor(network.input).shape
    truth = {network.input: planes(images, shape)}
    shares = {}
    for layer in network.layers:
        found = golden.layer(network, layer, *(truth[name] for name in layer.inputs))
        truth[layer.output] = found
        if layer.output not in expected:
            continue
        right = planes(expected[layer.output], found.shape[1:])
        truth[layer.output] = right
        difference = np.abs(found.astype(np.int16) - right)
        assert difference.max() <= 1, f"{layer.name} is off by {difference.max()}"
        shares[layer.name] = float(np.mean(difference == 0))
    return shares


def planes(values: NDArray, shape: tuple[int, ...]) -> NDArray:
    """Values with channels last as (images, channels, height, width) of a shape."""
    channels, height, width = shape
    return np.ascontiguousarray(
        values.reshape(len(values), height, width, channels).transpose(0, 3, 1, 2)
    )
