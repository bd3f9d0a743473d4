"""Nodes that compute with constants alone, evaluated within bounds that are known beforehand.

Exporters build shapes, paddings and axes from such nodes. What a node will make is bounded from its
inputs before it is evaluated, so that a small file cannot ask for all memory or time.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from steelyard.importer.node import Node

Arrays = Sequence[np.ndarray | None]

MAX_ELEMENTS = 1 << 24
"""Elements that all folded nodes of a graph may make beyond what the file itself stores."""
MAX_FILLED_BYTES = 1 << 27
"""Of what ConstantOfShape nodes make in all; files without their weights have these instead."""
MAX_NODES = 10_000
"""Nodes that are folded in one graph."""
MAX_PRODUCTS = 1 << 26
"""Multiplications of one matrix product."""


Bound = Callable[[Node, Arrays], int]


def _total(node: Node, arrays: Arrays) -> int:
    return sum(array.size for array in arrays if array is not None)


def _broadcast_size(shapes: Sequence[Sequence[int]]) -> int:
    rank = max((len(shape) for shape in shapes), default=0)
    return math.prod(
        max(shape[-axis] for shape in shapes if len(shape) >= axis) for axis in range(1, rank + 1)
    )


def _broadcast(node: Node, arrays: Arrays) -> int:
    return _broadcast_size([array.shape for array in arrays if array is not None])


def _data(arrays: Arrays) -> np.ndarray:
    """First input.

    Raises
    ------
    ValueError
        If it is absent.
    """
    if arrays[0] is None:
        raise ValueError("no data")
    return arrays[0]


def _numbers(array: np.ndarray | None) -> list[int]:
    """Elements as Python's integers, which do not overflow; numpy has no more axes than these."""
    return [] if array is None else [int(each) for each in array.reshape(-1)[:65]]


def _expanded(node: Node, arrays: Arrays) -> int:
    return _broadcast_size([_data(arrays).shape, _numbers(arrays[1])])


def _tiled(node: Node, arrays: Arrays) -> int:
    return _data(arrays).size * math.prod(max(size, 0) for size in _numbers(arrays[1]))


def _range(node: Node, arrays: Arrays) -> int:
    start, limit, delta = (float(array.reshape(-1)[0]) for array in arrays if array is not None)
    return math.ceil(abs(limit - start) / abs(delta)) + 1


def _gathered(node: Node, arrays: Arrays) -> int:
    data = _data(arrays)
    side = data.shape[node.attributes["axis"]]
    return _total(node, arrays[1:2]) * (data.size // side if side else 0)


def _padded(node: Node, arrays: Arrays) -> int:
    growth = sum(abs(size) for size in _numbers(arrays[1]))
    return math.prod(side + growth for side in _data(arrays).shape)


def _product(node: Node, arrays: Arrays) -> int:
    a, b = arrays
    if a is None or b is None or not a.ndim or not b.ndim:
        raise ValueError("no matrices")
    products = a.size * b.size // max(a.shape[-1], 1)
    return products if products <= MAX_PRODUCTS else MAX_ELEMENTS + products


def _constant_of_shape(node: Node, arrays: Arrays) -> int:
    return math.prod(max(size, 0) for size in _numbers(arrays[0]))


def _places(node: Node, arrays: Arrays) -> int:
    return _data(arrays).size * max(_data(arrays).ndim, 1)


BOUNDS: dict[str, Bound] = {
    **dict.fromkeys(
        (
            "Abs", "Cast", "Ceil", "Clip", "Concat", "Constant", "Cos", "CumSum", "Dropout", "Erf",
            "Exp", "Flatten", "Floor", "Identity", "IsInf", "IsNaN", "Log", "Neg", "Not",
            "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin",
            "ReduceProd", "ReduceSum", "ReduceSumSquare", "Relu", "Reshape", "Round", "Shape",
            "Sigmoid", "Sign", "Sin", "Size", "Slice", "Softmax", "Softplus", "Split", "Sqrt",
            "Squeeze", "Tanh", "Transpose", "Trilu", "Unsqueeze",
        ),
        _total,
    ),
    **dict.fromkeys(
        (
            "Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max",
            "Min", "Mod", "Mul", "Or", "Pow", "Sub", "Where", "Xor",
        ),
        _broadcast,
    ),
    "CastLike": _total,
    "ConstantOfShape": _constant_of_shape,
    "Expand": _expanded,
    "Gather": _gathered,
    "MatMul": _product,
    "NonZero": _places,
    "Pad": _padded,
    "Range": _range,
    "ScatterND": _total,
    "Tile": _tiled,
}  # fmt: skip
"""Operators that are folded, with a bound of the elements that they make."""


class Folder:
    """Evaluates constant nodes of one graph, up to a sum of elements and a count of nodes.

    Parameters
    ----------
    opset : of ONNX's own domain
    stored : elements of the constants that the file stores
    """

    def __init__(self, opset: int, stored: int) -> None:
        self._opset = opset
        self._left = MAX_ELEMENTS + 4 * stored
        self._filled = MAX_FILLED_BYTES
        self._nodes = 0

    def evaluate(self, node: Node, inputs: Arrays) -> list[np.ndarray]:
        """Outputs of a node whose inputs are all constant.

        Raises
        ------
        UserError
            If the operator is not folded, the result would be too large, or it cannot be computed.
        """
        self._spend(node, inputs)
        try:
            # Rubbish constants divide by zero; what comes of it is refused where it is used.
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                outputs = [np.asarray(each) for each in _run(node, inputs, self._opset)]
        # onnx's evaluator checks little, so a malformed node can raise anything from inside numpy.
        except Exception as error:
            reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
            raise node.error(
                f"has constant inputs but cannot be computed ({reason[:200]}); "
                "simplify the model before it is exported."
            ) from None
        if any(each.dtype.kind in "OSU" for each in outputs):
            raise node.error(
                "makes text of its constants, allowed are numbers; simplify the model before it "
                "is exported."
            )
        return outputs

    def _spend(self, node: Node, inputs: Arrays) -> None:
        bound = BOUNDS.get(node.op)
        if bound is None:
            raise node.error(
                "computes with constants alone and is not among the operators that are folded; "
                "simplify the model before it is exported."
            )
        try:
            size = bound(node, inputs)
        except (ArithmeticError, IndexError, TypeError, ValueError):
            raise node.error(
                "has constant inputs that do not fit it; simplify the model before it is exported."
            ) from None
        self._nodes += 1
        if node.op == "ConstantOfShape":
            filled = size * _item_bytes(node)
            if filled > self._filled:
                raise node.error(
                    f"makes constants of more than {MAX_FILLED_BYTES} bytes with the nodes like it "
                    "that come before; store the weights in the file."
                )
            self._filled -= filled
            return
        self._left -= size
        if self._left < 0 or self._nodes > MAX_NODES:
            raise node.error(
                f"makes {size} elements of constants, with which all constants together exceed "
                f"what is folded ({MAX_ELEMENTS} elements and {MAX_NODES} nodes); "
                "simplify the model before it is exported."
            )


def _item_bytes(node: Node) -> int:
    """Of an element that a ConstantOfShape node makes, 8 where its type is unknown."""
    from onnx import helper

    value = node.attributes.get("value")
    if value is None:
        return 4
    try:
        return helper.tensor_dtype_to_np_dtype(value.data_type).itemsize
    except KeyError:
        return 8


def _run(node: Node, inputs: Arrays, opset: int) -> Any:
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    given = {n: v for n, v in zip(node.inputs, inputs, strict=True) if n and v is not None}
    graph = helper.make_graph(
        [node.proto],
        "constant",
        [
            helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
            for n, v in given.items()
        ],
        [helper.make_tensor_value_info(n, TensorProto.UNDEFINED, None) for n in node.outputs if n],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(node.proto.domain, opset)])
    return ReferenceEvaluator(model).run(None, given)
