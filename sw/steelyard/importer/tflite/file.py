"""TFLite file as plain data, by the schema package's definitions.

Whatever bytes a file holds, reading ends: all lists together may not be much longer than the file.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from steelyard.errors import FileRefused, UserError
from steelyard.reading import MALFORMED, first_line

__all__ = ["MAGIC", "Graph", "Operator", "TensorInfo", "read_graph", "single_input"]

MAGIC = b"TFL3"
"""Bytes 4 to 7 of every TFLite file."""
SHARED = 4
"""Elements of all lists over bytes of the file."""
AGAIN = "convert the network again with the TFLite converter"

DTYPES = {
    "FLOAT32": np.float32,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
}
"""Types whose constants are read."""
POOL = ("FilterHeight", "FilterWidth", "FusedActivationFunction", "Padding", "StrideH", "StrideW")
DILATED = (
    "DilationHFactor", "DilationWFactor", "FusedActivationFunction", "Padding", "StrideH", "StrideW"
)  # fmt: skip
FUSED = ("FusedActivationFunction",)
PLACES = ("AlignCorners", "HalfPixelCenters")
OPTIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ADD": ("AddOptions", FUSED),
    "AVERAGE_POOL_2D": ("Pool2DOptions", POOL),
    "CONCATENATION": ("ConcatenationOptions", ("Axis", *FUSED)),
    "CONV_2D": ("Conv2DOptions", DILATED),
    "DEPTH_TO_SPACE": ("DepthToSpaceOptions", ("BlockSize",)),
    "DEPTHWISE_CONV_2D": ("DepthwiseConv2DOptions", DILATED),
    "FULLY_CONNECTED": ("FullyConnectedOptions", ("WeightsFormat", *FUSED)),
    "GELU": ("GeluOptions", ("Approximate",)),
    "LEAKY_RELU": ("LeakyReluOptions", ("Alpha",)),
    "MAX_POOL_2D": ("Pool2DOptions", POOL),
    "MIRROR_PAD": ("MirrorPadOptions", ("Mode",)),
    "MUL": ("MulOptions", FUSED),
    "RESIZE_BILINEAR": ("ResizeBilinearOptions", PLACES),
    "RESIZE_NEAREST_NEIGHBOR": ("ResizeNearestNeighborOptions", PLACES),
    "STRIDED_SLICE": (
        "StridedSliceOptions",
        ("BeginMask", "EllipsisMask", "EndMask", "NewAxisMask", "Offset", "ShrinkAxisMask"),
    ),
    "SUB": ("SubOptions", FUSED),
    "TRANSPOSE_CONV": ("TransposeConvOptions", ("Padding", "StrideH", "StrideW", *FUSED)),
}
"""Table and fields of the options of each operator whose options matter."""


@dataclass(frozen=True, eq=False)
class TensorInfo:
    """Tensor as the file describes it.

    Members
    -------
    shape : with the batch axis
    type : as the schema calls it
    scale, zero_point : none, one, or one for each place along `axis`
    data : elements where the file stores them; bytes where the type is none of `DTYPES`
    sparse : whether the elements are stored without their zeros
    """

    name: str
    shape: tuple[int, ...]
    type: str
    scale: NDArray[np.float32]
    zero_point: NDArray[np.int64]
    axis: int
    data: NDArray | None
    sparse: bool


@dataclass(frozen=True)
class Operator:
    """One operator.

    Members
    -------
    number : its place in the file
    op : type, as the schema calls it
    name : that of its first output
    inputs : numbers of tensors, -1 for an optional one that is absent
    outputs : numbers of tensors
    options : fields of the operator's options by the schema's names
    """

    number: int
    op: str
    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Type, place and name, as sentences begin."""
        return f"{self.op} operator {self.number} ({self.name!r})"

    def error(self, message: str) -> UserError:
        """Error whose sentence begins with the operator's title."""
        return UserError(f"{self.title} {message}")


@dataclass(frozen=True)
class Graph:
    """The file's first graph: tensors, operators in order, numbers of inputs and outputs."""

    tensors: tuple[TensorInfo, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def single_input(graph: Graph, network: str) -> int:
    """Number of the one input of a graph that has outputs.

    Parameters
    ----------
    network : its name, for sentences

    Raises
    ------
    UserError
        If it has several inputs, no outputs, or gives its input out.
    """
    label, inputs = f"TFLite network {network!r}", graph.inputs
    if len(inputs) != 1:
        names = ", ".join(repr(graph.tensors[number].name) for number in inputs) or "none"
        raise UserError(
            f"{label} has {len(inputs)} inputs ({names}), one is allowed; convert it with one "
            "input."
        )
    if not graph.outputs:
        raise UserError(
            f"{label} has no outputs, at least one is needed; convert it with its outputs."
        )
    if inputs[0] in graph.outputs:
        raise UserError(
            f"{label} gives its input {graph.tensors[inputs[0]].name!r} out unchanged, allowed are "
            "outputs that layers compute; convert it without that output."
        )
    return inputs[0]


def read_graph(content: bytes, label: str) -> Graph:
    """Graph of a file's bytes.

    Parameters
    ----------
    label : what errors call the file

    Raises
    ------
    FileRefused
        If they are no TFLite file, or one that is truncated or altered.
    """
    if content[4:8] != MAGIC:
        raise FileRefused(f"{label} is no TFLite file; {AGAIN}.")
    # flatbuffers checks nothing, so a malformed file raises anything from struct's and numpy's.
    try:
        return _Reader(content).graph()
    except MALFORMED as error:
        raise FileRefused(
            f"{label} cannot be read as TFLite ({first_line(error)}); {AGAIN}."
        ) from None


class _Reader:
    """Tables of one file as plain data; raises whatever a malformed one leads to."""

    def __init__(self, content: bytes) -> None:
        import tflite

        self._schema = tflite
        self._model = tflite.Model.GetRootAs(content, 0)
        # Tables may share lists; a few do, and more would be a way to make a small file endless.
        self._left = SHARED * len(content)
        self._types = {
            code: name for name, code in vars(tflite.TensorType).items() if name.isupper()
        }

    def graph(self) -> Graph:
        if not self._count(self._model.SubgraphsLength()):
            raise ValueError("it holds no graph")
        graph = self._model.Subgraphs(0)
        tensors = tuple(
            self._tensor(graph.Tensors(i)) for i in range(self._count(graph.TensorsLength()))
        )
        codes = [
            self._code(self._model.OperatorCodes(i))
            for i in range(self._count(self._model.OperatorCodesLength()))
        ]
        operators = tuple(
            self._operator(i, graph.Operators(i), codes, tensors)
            for i in range(self._count(graph.OperatorsLength()))
        )
        ends = [
            self._numbers(values, len(tensors), 0)
            for values in (graph.InputsAsNumpy(), graph.OutputsAsNumpy())
        ]
        return Graph(tensors, operators, ends[0], ends[1])

    def _count(self, length: int) -> int:
        self._left -= length
        if self._left < 0:
            raise ValueError("its lists together are too long for the file")
        return length

    def _list(self, values: NDArray | int) -> NDArray:
        """Elements of a list, which the schema's functions give as 0 where it is absent."""
        array = np.asarray(values if isinstance(values, np.ndarray) else [])
        self._count(array.size)
        return array

    def _numbers(self, values: NDArray | int, tensors: int, least: int) -> tuple[int, ...]:
        numbers = tuple(int(each) for each in self._list(values))
        for each in numbers:
            if not least <= each < tensors:
                raise ValueError(f"it has {tensors} tensors, and none of number {each}")
        return numbers

    def _text(self, value: bytes | None) -> str:
        text = value or b""
        self._count(len(text))
        return text.decode("utf-8", "replace")

    def _code(self, code: Any) -> str:
        # Codes over 127 did not fit the field that files had first.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        names = self._schema.utils.BUILTIN_OPCODE2NAME
        name = names.get(number, f"unknown ({number})")
        return f"CUSTOM {self._text(code.CustomCode())}" if name == "CUSTOM" else name

    def _tensor(self, tensor: Any) -> TensorInfo:
        name = self._text(tensor.Name())
        shape = tuple(int(size) for size in self._list(tensor.ShapeAsNumpy()))
        kind = self._types.get(tensor.Type(), f"unknown ({tensor.Type()})")
        quantization = tensor.Quantization()
        scale, zero, axis = np.zeros(0, np.float32), np.zeros(0, np.int64), 0
        if quantization is not None:
            scale = self._list(quantization.ScaleAsNumpy()).astype(np.float32)
            zero = self._list(quantization.ZeroPointAsNumpy()).astype(np.int64)
            axis = quantization.QuantizedDimension()
        data = self._data(tensor.Buffer(), name)
        sparse = tensor.Sparsity() is not None
        if data is not None and kind in DTYPES and not sparse:
            wanted = math.prod(shape) * np.dtype(DTYPES[kind]).itemsize
            if min(shape, default=1) < 1 or data.size != wanted:
                raise ValueError(f"tensor {name!r} of shape {shape} has {data.size} bytes")
            data = data.view(DTYPES[kind]).reshape(shape)
        return TensorInfo(name, shape, kind, scale, zero, axis, data, sparse)

    def _data(self, number: int, name: str) -> NDArray | None:
        if not 0 <= number < self._model.BuffersLength():
            raise ValueError(f"tensor {name!r} has no buffer")
        buffer = self._model.Buffers(number)
        if buffer.Offset() > 1:
            raise ValueError(f"tensor {name!r} is stored behind the schema's part of the file")
        data = buffer.DataAsNumpy()
        return data if isinstance(data, np.ndarray) and data.size else None

    def _operator(
        self, number: int, operator: Any, codes: list[str], tensors: tuple[TensorInfo, ...]
    ) -> Operator:
        op = codes[operator.OpcodeIndex()]
        inputs = self._numbers(operator.InputsAsNumpy(), len(tensors), -1)
        outputs = self._numbers(operator.OutputsAsNumpy(), len(tensors), 0)
        if not outputs:
            raise ValueError(f"operator {number} has no output")
        options: dict[str, Any] = {}
        if op in OPTIONS:
            kind, names = OPTIONS[op]
            union = operator.BuiltinOptions()
            if union is None:
                raise ValueError(f"operator {number} has no options")
            if operator.BuiltinOptionsType() != getattr(self._schema.BuiltinOptions, kind):
                raise ValueError(f"operator {number} has the options of another")
            table = getattr(self._schema, kind)()
            table.Init(union.Bytes, union.Pos)
            options = {name: getattr(table, name)() for name in names}
        return Operator(number, op, tensors[outputs[0]].name, inputs, outputs, options)
