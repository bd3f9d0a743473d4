"""TFLite files written with the schema's own builder functions, and what the interpreter makes of
them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import ArrayLike, NDArray

CODES = {name: code for code, name in tflite.utils.BUILTIN_OPCODE2NAME.items()}
OPTIONS = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighborOptions",
    "SOFTMAX": "SoftmaxOptions",
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
        self.operators.append(_Operator(name, inputs, (output,), options))
        return output

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


def interpreted(content: bytes, images: NDArray) -> dict[str, NDArray]:
    """Every tensor of every image by its name, from the interpreter's reference kernels.

    Parameters
    ----------
    images : of the input's type, (images, ...) without the batch axis of 1
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=True,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    (source,) = interpreter.get_input_details()
    details = interpreter.get_tensor_details()
    found: dict[str, list[NDArray]] = {each["name"]: [] for each in details if each["name"]}
    for image in images:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        for each in details:
            if each["name"]:
                found[each["name"]].append(interpreter.get_tensor(each["index"]).copy())
    return {name: np.concatenate(values) for name, values in found.items() if values[0].ndim}
