"""Every operator that is imported, as every opset defines it, against onnxruntime.

ONNX's own definitions say which versions, attributes, inputs and defaults there are; what neither
agrees with onnxruntime nor is refused by name fails here, also when onnx knows more of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, defs, helper

from qdq_graphs import Qdq, assert_within_a_step, images, runtime_output, scores
from steelyard import importer
from steelyard.errors import UserError
from steelyard.importer.registry import OPERATORS
from steelyard.importer.schema import OLDEST
from steelyard.network import Conv, Network

RUNTIME_NEWEST = 26
"""Newest opset that onnxruntime runs."""
RUNTIME = {("Max", 7): 8, ("Min", 7): 8, ("Swish", 26): 24, ("Upsample", RUNTIME_NEWEST): 9}
"""Opsets in which onnxruntime computes what the standard says, for those in which it does not."""
SHAPE = (3, 9, 9)

Build = Callable[..., str]
"""Graph, quantized value and attributes of the operator to what the network gives."""


def weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).integers(-127, 128, shape, np.int8)


def lists(g: Qdq, since: int, numbers: list[int], **key: str) -> tuple[list[str], dict[str, Any]]:
    """Integers as a constant input from an opset on, as an attribute before."""
    if g.opset >= since:
        return [g.constant(np.array(numbers))], {}
    return [], {next(iter(key)): numbers}


def conv(g: Qdq, v: str, **attributes: Any) -> str:
    bias = g.constant(np.linspace(-1, 1, 4, dtype=np.float32))
    shape = (4, 3, 3, 3)
    if attributes.get("group") == 3:
        bias, shape = g.constant(np.linspace(-1, 1, 6, dtype=np.float32)), (6, 1, 3, 3)
    y = g.op("Conv", v, g.weight(weight(*shape)), bias, **attributes)
    return g.pair(y, 0.0713, 3)


def gemm(g: Qdq, v: str, **attributes: Any) -> str:
    rows = (6, 243) if attributes.get("transB") else (243, 6)
    stored = g.weight(weight(*rows), 0.0031, 0 if attributes.get("transB") else 1)
    bias = g.constant(np.linspace(-1, 1, 6, dtype=np.float32))
    return g.pair(g.op("Gemm", g.op("Flatten", v), stored, bias, **attributes), 0.217, 1)


def matmul(g: Qdq, v: str) -> str:
    stored = g.weight(weight(243, 6), 0.0031, 1)
    return g.pair(g.op("MatMul", g.op("Flatten", v), stored), 0.217, 1)


def add(g: Qdq, v: str) -> str:
    return g.pair(g.op("Add", g.pair(g.op("Relu", v), 0.0151, -20), v), 0.0317, 2)


def subtract(g: Qdq, v: str) -> str:
    y = g.op("Conv", v, g.weight(weight(4, 3, 3, 3)))
    return g.pair(g.op("Sub", y, g.constant(np.arange(4, dtype=np.float32).reshape(4, 1, 1))), 0.09)


def scaled(op: str) -> Build:
    def build(g: Qdq, v: str) -> str:
        return g.pair(g.op(op, v, g.constant(np.float32(0.37))), 0.0117, 1)

    return build


def pooled(op: str) -> Build:
    def build(g: Qdq, v: str, **attributes: Any) -> str:
        attributes = {"kernel_shape": [3, 3], **attributes}
        return g.pair(g.op(op, v, **attributes), 0.0203, 5)

    return build


def unary(op: str) -> Build:
    return lambda g, v: g.pair(g.op(op, v), 0.0203, 5)


def pointwise(op: str) -> Build:
    return lambda g, v, **attributes: g.pair(g.op(op, v, **attributes), 0.0203, 5)


def reduce_mean(g: Qdq, v: str, **attributes: Any) -> str:
    inputs, more = lists(g, 18, [2, -1], axes="")
    return g.pair(g.op("ReduceMean", v, *inputs, **{**more, **attributes}), 0.005, 5)


def dropout(g: Qdq, v: str, **attributes: Any) -> str:
    return g.pair(g.op("Dropout", v, **attributes), 0.0203, 5)


def clip(g: Qdq, v: str, **attributes: Any) -> str:
    if g.opset < 11:
        return g.pair(g.op("Clip", v, **{"min": -0.71, "max": 1.3, **attributes}), 0.0151, -7)
    bounds = [g.constant(np.float32(end)) for end in (-0.71, 1.3)]
    return g.pair(g.op("Clip", v, *bounds), 0.0151, -7)


def flatten(g: Qdq, v: str, **attributes: Any) -> str:
    return g.pair(g.op("Flatten", v, **attributes), 0.0203, 5)


def reshape(g: Qdq, v: str, **attributes: Any) -> str:
    sizes = g.constant(np.array([-1, 3, 81] if attributes.get("allowzero") else [0, -1]))
    return g.pair(g.op("Reshape", v, sizes, **attributes), 0.0203, 5)


def squeeze(g: Qdq, v: str) -> str:
    y = g.pair(g.op("GlobalMaxPool", v), 0.0203, 5)
    inputs, more = lists(g, 13, [3, 2], axes="")
    return g.pair(g.op("Squeeze", y, *inputs, **more), 0.0203, 5)


def unsqueeze(g: Qdq, v: str) -> str:
    inputs, more = lists(g, 13, [2, 5], axes="")
    return g.pair(g.op("Unsqueeze", v, *inputs, **more), 0.0203, 5)


def concat(g: Qdq, v: str, **attributes: Any) -> str:
    other = g.pair(g.op("Relu", v), 0.0151, -20)
    return g.pair(g.op("Concat", v, other, v, **{"axis": 1, **attributes}), 0.0203, 5)


def slice_(g: Qdq, v: str, **attributes: Any) -> str:
    numbers = {"starts": [1, -8], "ends": [1 << 31, 8], "axes": [-3, 2], **attributes}
    if g.opset < 10:
        return g.pair(g.op("Slice", v, **numbers), 0.0203, 5)
    given = [g.constant(np.array(numbers[key])) for key in ("starts", "ends", "axes")]
    return g.pair(g.op("Slice", v, *given), 0.0203, 5)


def split(g: Qdq, v: str, **attributes: Any) -> str:
    """Parts in another order."""
    counts = [2, 7] if attributes.get("axis") in (2, -1) else [1, 2]
    inputs, more = lists(g, 13, attributes.pop("split", counts), split="")
    if "num_outputs" in attributes:
        inputs, more = [], {}
    elif g.opset >= 18 and not inputs:
        attributes["num_outputs"] = 2
    number = len(g.nodes)
    more = {**more, "axis": 1, **attributes}
    g.nodes.append(helper.make_node("Split", [v, *inputs], ["a", "b"], f"split{number}", **more))
    a, b = (g.pair(each, 0.0203, 5) for each in ("a", "b"))
    if more["axis"] != 1:
        return g.pair(g.op("Relu", b), 0.0203, 5)
    return g.pair(g.op("Concat", b, a, axis=1), 0.0203, 5)


def resize(g: Qdq, v: str, **attributes: Any) -> str:
    if "keep_aspect_ratio_policy" in attributes:
        attributes["axes"] = [2, 3]
    axes = attributes.get("axes")
    scales = np.array([2, 3] if axes else [1, 1, 2, 3], np.float32)
    if g.opset < 11:
        return g.pair(g.op("Resize", v, g.constant(scales), **attributes), 0.0203, 5)
    # The defaults of the newer opsets take other pixels where the factor is odd.
    usual = {"coordinate_transformation_mode": "half_pixel", "nearest_mode": "round_prefer_floor"}
    attributes = {"mode": "nearest", **usual, **attributes}
    given = ["", g.constant(scales)]
    if "keep_aspect_ratio_policy" in attributes:
        given = ["", "", g.constant(np.array([18, 27]))]
    elif g.opset < 13:
        given[0] = g.constant(np.zeros(0, np.float32))
    return g.pair(g.op("Resize", v, *given, **attributes), 0.0203, 5)


def upsample(g: Qdq, v: str, **attributes: Any) -> str:
    scales = attributes.pop("scales", [1.0, 1.0, 3.0, 2.0])
    if g.opset < 9:
        return g.pair(g.op("Upsample", v, scales=scales, **attributes), 0.0203, 5)
    given = g.constant(np.array(scales, np.float32))
    return g.pair(g.op("Upsample", v, given, **attributes), 0.0203, 5)


def depth_to_space(g: Qdq, v: str, **attributes: Any) -> str:
    y = g.pair(g.op("Conv", v, g.weight(weight(12, 3, 3, 3))), 0.0713, 3)
    return g.pair(g.op("DepthToSpace", y, **{"blocksize": 2, **attributes}), 0.0713, 3)


def conv_transpose(g: Qdq, v: str, **attributes: Any) -> str:
    groups = attributes.get("group", 1)
    bias = g.constant(np.linspace(-1, 1, 2 * groups, dtype=np.float32))
    attributes = {"strides": [2, 2], **attributes}
    y = g.op("ConvTranspose", v, g.weight(weight(3, 2, 3, 3), axis=1), bias, **attributes)
    return g.pair(y, 0.0713, 3)


def summed(g: Qdq, v: str) -> str:
    return g.pair(g.op("Sum", g.pair(g.op("Relu", v), 0.0151, -20), g.op("Sum", v)), 0.0317, 2)


def shape(g: Qdq, v: str, **attributes: Any) -> str:
    sizes = g.op("Shape", v, **attributes)
    if not attributes:
        sizes = g.op("Gather", sizes, g.constant(np.array([0])))
    rest = g.constant(np.array([-1]))
    return g.pair(g.op("Reshape", v, g.op("Concat", sizes, rest, axis=0)), 0.0203, 5)


def pad(g: Qdq, v: str, **attributes: Any) -> str:
    inputs, more = lists(g, 11, [0, 0, 1, 0, 0, 0, 2, 1], pads="")
    y = g.op("Pad", v, *inputs, **{**more, **attributes})
    return g.pair(g.op("Conv", y, g.weight(weight(4, 3, 3, 3))), 0.0713, 3)


def transpose(g: Qdq, v: str, **attributes: Any) -> str:
    stored = g.op("Transpose", g.weight(weight(6, 243), 0.0031), **attributes)
    return g.pair(g.op("MatMul", g.op("Flatten", v), stored), 0.217, 1)


def quantize(g: Qdq, v: str, **attributes: Any) -> str:
    parameters = (g.constant(np.float32(0.031)), g.constant(np.int8(2)))
    codes = g.op("QuantizeLinear", v, *parameters, **attributes)
    return g.op("DequantizeLinear", codes, *parameters)


def dequantize(g: Qdq, v: str, **attributes: Any) -> str:
    parameters = (g.constant(np.float32(0.031)), g.constant(np.int8(2)))
    return g.op(
        "DequantizeLinear", g.op("QuantizeLinear", v, *parameters), *parameters, **attributes
    )


def cast(g: Qdq, v: str, to: int = TensorProto.FLOAT, **attributes: Any) -> str:
    return g.pair(g.op("Cast", v, to=to, **attributes), 0.0203, 5)


def positive(op: str) -> Build:
    """Function of values from 0 on."""
    return lambda g, v: g.pair(g.op(op, g.pair(g.op("Relu", v), 0.0203, -128)), 0.0203, 5)


def second(op: str, *array: float) -> Build:
    """Operator with a constant as its second input."""
    return lambda g, v: g.pair(g.op(op, v, g.constant(np.array(array, np.float32))), 0.0303, 5)


def prelu(g: Qdq, v: str) -> str:
    slopes = g.constant(np.array([0.1, 0, 1.7], np.float32).reshape(3, 1, 1))
    return g.pair(g.op("PRelu", v, slopes), 0.0303, 5)


POINTWISE = (
    "Abs", "Ceil", "Celu", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish",
    "LeakyRelu", "Mish", "Neg", "Reciprocal", "Round", "Selu", "Sigmoid", "Sign", "Softplus",
    "Softsign", "Swish", "Tanh", "ThresholdedRelu",
)  # fmt: skip
BUILDS: dict[str, Build] = {
    "Add": add, "Sum": summed, "ConvTranspose": conv_transpose, "DepthToSpace": depth_to_space,
    "Resize": resize, "Upsample": upsample,
    "AveragePool": pooled("AveragePool"), "Cast": cast, "Clip": clip, "Concat": concat,
    "Conv": conv,
    "DequantizeLinear": dequantize, "Div": scaled("Div"), "Dropout": dropout, "Flatten": flatten,
    "Gemm": gemm, "GlobalAveragePool": unary("GlobalAveragePool"),
    "GlobalMaxPool": unary("GlobalMaxPool"), "Identity": unary("Identity"), "MatMul": matmul,
    "MaxPool": pooled("MaxPool"), "Mul": scaled("Mul"), "Pad": pad, "QuantizeLinear": quantize,
    "ReduceMean": reduce_mean, "Relu": unary("Relu"), "Reshape": reshape, "Shape": shape,
    "Slice": slice_, "Split": split, "Squeeze": squeeze, "Sub": subtract, "Transpose": transpose,
    "Unsqueeze": unsqueeze,
    **{op: pointwise(op) for op in POINTWISE},
    "Log": positive("Log"), "Sqrt": positive("Sqrt"), "PRelu": prelu,
    "Pow": second("Pow", 2), "Max": second("Max", -0.31), "Min": second("Min", 0.72),
}  # fmt: skip


def model_of(op: str, opset: int, **attributes: Any) -> onnx.ModelProto:
    graph = Qdq(*SHAPE, opset=opset)
    return graph.model(BUILDS[op](graph, graph.pair("x", 0.0203, 5), **attributes))


def schemas(op: str) -> Iterator[defs.OpSchema]:
    """Definitions of an operator that apply in the opsets that are taken, oldest first."""
    history = [s for s in defs.get_all_schemas_with_history() if s.name == op and not s.domain]
    history.sort(key=lambda schema: schema.since_version)
    for schema, following in zip(history, [*history[1:], None], strict=True):
        if following is None or following.since_version > OLDEST:
            yield schema


VERSIONS = [
    (op, max(s.since_version, OLDEST)) for op in BUILDS for s in schemas(op) if not s.deprecated
]


def same(one: Network, other: Network) -> bool:
    """Whether two networks compute the same."""
    if len(one.layers) != len(other.layers):
        return False
    for a, b in zip(one.layers, other.layers, strict=True):
        for key, value in vars(a).items():
            if key not in ("name", "inputs", "output") and not np.array_equal(value, vars(b)[key]):
                return False
    ends = ("input_view", "output_views", "input_last", "outputs_last")
    return all(getattr(one, end) == getattr(other, end) for end in ends)


def test_every_operator_is_tried_here() -> None:
    assert set(BUILDS) == set(OPERATORS)


@pytest.mark.parametrize(("op", "opset"), VERSIONS)
def test_operator_agrees_in_every_version(op: str, opset: int) -> None:
    network = importer.load(model_of(op, opset))
    run = RUNTIME.get((op, opset), min(opset, RUNTIME_NEWEST))
    if opset != run:
        assert same(network, importer.load(model_of(op, run)))
    else:
        assert_within_a_step(model_of(op, opset), network, images(SHAPE, 12, seed=3))


def test_every_attribute_and_input_is_handled_or_ignored_for_a_reason() -> None:
    for op, operator in OPERATORS.items():
        ignored = dict(operator.ignores or {})
        assert all(ignored.values())
        known: set[str] = set()
        for schema in schemas(op):
            names = set(schema.attributes)
            known |= names
            unknown = names - set(operator.reads) - set(ignored)
            assert not unknown, f"{op} of opset {schema.since_version} has {unknown}"
            assert len(schema.inputs) <= operator.inputs, f"{op} of opset {schema.since_version}"
        if op not in ("Flatten", "Reshape", "Squeeze", "Unsqueeze", "MatMul"):  # one handler
            assert known == {*operator.reads, *ignored}, op


OTHERS: dict[tuple[str, str], list[tuple[Any, str | None]]] = {
    ("AveragePool", "auto_pad"): [
        ("VALID", None), ("SAME_UPPER", None), ("same", "has auto_pad = 'same', allowed")
    ],
    ("AveragePool", "ceil_mode"): [(1, None)],
    ("AveragePool", "count_include_pad"): [(1, None)],
    ("AveragePool", "dilations"): [([2, 2], r"has dilations \(2, 2\)"), ([1, 1], None)],
    ("AveragePool", "kernel_shape"): [([1, 3], None), ([3], r"has the kernel shape \(3,\)")],
    ("AveragePool", "pads"): [([1] * 4, None), ([0] * 4, None), ([-1] * 4, "has pads")],
    ("AveragePool", "strides"): [([2, 1], None), ([0, 2], r"has strides \(0, 2\)")],
    ("Cast", "to"): [
        (int(TensorProto.FLOAT16), "makes float16 of its input, allowed is float or double"),
        (int(TensorProto.INT8), "makes int8 of its input, allowed is float or double"),
    ],
    ("Clip", "max"): [(0.3, None)],
    ("Clip", "min"): [(0.3, None), (2.0, "has bounds 2 and 1.3")],
    ("Concat", "axis"): [(-3, None), (2, "along axis 2 of 4"), (9, "has axis 9 for 4 axes")],
    ("Conv", "auto_pad"): [
        ("SAME_UPPER", None), ("SAME_LOWER", None), ("VALID", None), ("x", "has auto_pad = 'x'")
    ],
    ("Conv", "dilations"): [([1, 1], None), ([1, 2], None), ([0, 1], "has dilations")],
    ("Conv", "group"): [(3, None), (0, "in each of 0 groups"), (2, "in each of 2 groups where")],
    ("Conv", "kernel_shape"): [([3, 3], None), ([2, 2], r"has kernel_shape = \(2, 2\) and a wei")],
    ("Conv", "pads"): [([1, 0, 2, 1], None), ([1, 1], "has pads")],
    ("Conv", "strides"): [([2, 1], None), ([2, 0], "has strides")],
    ("ConvTranspose", "auto_pad"): [
        ("SAME_UPPER", None), ("SAME_LOWER", None), ("VALID", None), ("x", "has auto_pad = 'x'")
    ],
    ("ConvTranspose", "dilations"): [([1, 1], None), ([2, 3], None), ([0, 1], "has dilations")],
    ("ConvTranspose", "group"): [(3, None), (2, "in 2 groups where its input has 3 channels")],
    ("ConvTranspose", "kernel_shape"): [([3, 3], None), ([2, 2], "has kernel_shape = ")],
    ("ConvTranspose", "output_padding"): [([1, 0], None), ([0, -1], r"output_padding \[0, -1\]")],
    ("ConvTranspose", "output_shape"): [
        ([18, 18], None), ([17, 19], None), ([20, 18], "wants 20 of 19 rows"),
    ],
    ("ConvTranspose", "pads"): [
        ([1, 0, 2, 1], None), ([2, 3, 2, 3], None), ([1, 1], "has pads"), ([9, 0, 10, 0], "wants 0")
    ],
    ("ConvTranspose", "strides"): [([1, 1], None), ([4, 3], None), ([0, 1], "has strides")],
    ("DepthToSpace", "blocksize"): [(1, None), (3, "has blocksize = 3 for 12 channels, allowed")],
    ("DepthToSpace", "mode"): [("CRD", None), ("DCR", None), ("x", "has mode = 'x', allowed are")],
    ("DequantizeLinear", "axis"): [(0, None), (7, None)],
    ("DequantizeLinear", "block_size"): [(2, "has block_size = 2, allowed is 0")],
    ("DequantizeLinear", "output_dtype"): [
        (int(TensorProto.FLOAT), None),
        (int(TensorProto.FLOAT16), "has output_dtype = float16, allowed is float"),
    ],
    ("Celu", "alpha"): [(0.3, None), (0.0, "has alpha = 0, allowed are other numbers; use a Relu")],
    ("Elu", "alpha"): [(0.3, None), (float("nan"), "has alpha = nan, allowed are finite numbers")],
    ("Flatten", "axis"): [(-3, None), (2, r"turns .* into \(3, 81\)"), (7, "has axis 7 for 4")],
    ("Gelu", "approximate"): [("tanh", None), ("erf", "has approximate = 'erf', allowed are 'non")],
    ("Gemm", "alpha"): [(0.37, None), (-1.0, "has alpha = -1, allowed is a positive number")],
    ("Gemm", "beta"): [(2.0, None), (0.0, None), (float("nan"), "has beta = nan")],
    ("Gemm", "transA"): [(1, "has transA = 1, allowed is 0")],
    ("Gemm", "transB"): [(1, None)],
    ("HardSigmoid", "alpha"): [(-0.3, None), (float("inf"), "has alpha = inf, allowed are fin")],
    ("HardSigmoid", "beta"): [(0.1, None), (float("nan"), "has beta = nan, allowed are finite")],
    ("LeakyRelu", "alpha"): [(0.1, None), (-1.5, None), (float("inf"), "has alpha = inf, allow")],
    ("MaxPool", "auto_pad"): [("SAME_LOWER", None), ("VALID", None), ("no", "has auto_pad = 'no'")],
    ("MaxPool", "ceil_mode"): [(1, None)],
    ("MaxPool", "dilations"): [([2, 2], "has dilations")],
    ("MaxPool", "kernel_shape"): [([2, 4], None), ([2, 2, 2], "has the kernel shape")],
    ("MaxPool", "pads"): [([1, 0, 2, 1], None)],
    ("MaxPool", "strides"): [([2, 2], None), ([0, 0], "has strides")],
    ("Pad", "mode"): [("reflect", None), ("edge", None), ("around", "in mode 'around'")],
    ("Pad", "pads"): [
        ([0, 0, 1, 1, 0, 0, 0, 0], None),
        ([0, 0, -1, 1, 0, 0, -1, 0], None),
        ([0, 0, -9, 0, 0, 0, 0, 0], "cannot run: top padding must be"),
        ([0, 1] * 4, "pads .* allowed are zeros"),
    ],
    ("Pad", "value"): [(0.5, r"with \[0.5\], allowed are zeros")],
    ("QuantizeLinear", "axis"): [(0, None), (7, None)],
    ("QuantizeLinear", "block_size"): [(2, "has block_size = 2, allowed is 0")],
    ("QuantizeLinear", "output_dtype"): [
        (int(TensorProto.INT8), None),
        (int(TensorProto.UINT8), "has output_dtype = uint8 and a zero point of int8"),
        (int(TensorProto.INT4), "has output_dtype = int4 and a zero point of int8"),
    ],
    ("QuantizeLinear", "precision"): [
        (int(TensorProto.FLOAT), None),
        (int(TensorProto.FLOAT16), "has precision = float16, allowed is float"),
    ],
    ("ReduceMean", "axes"): [
        ([2, 3], None), ([2], None), ([-1], None), ([1], r"has axes \[1\]"), ([9], "has axis 9 for")
    ],
    ("ReduceMean", "keepdims"): [(0, None)],
    ("ReduceMean", "noop_with_empty_axes"): [(1, None)],
    ("Resize", "antialias"): [(0, None), (1, "has antialias = 1, allowed is 0")],
    ("Resize", "axes"): [([2, 3], None), ([-1, -2], None), ([0, 2], r"resizes by \[2.0, 3.0\]")],
    ("Resize", "coordinate_transformation_mode"): [
        ("asymmetric", "which do not repeat each of 9 pixels 3 times"),
        ("pytorch_half_pixel", None),
        ("half_pixel_symmetric", None),
        ("align_corners", "'align_corners' and nearest_mode = 'round_prefer_floor', which do not"),
        ("tf_crop_and_resize", "do not repeat"),
    ],
    ("Resize", "keep_aspect_ratio_policy"): [
        ("stretch", None), ("not_larger", "has keep_aspect_ratio_policy = 'not_larger'")
    ],
    ("Resize", "mode"): [("linear", None), ("cubic", "has mode = 'cubic', allowed is")],
    ("Resize", "nearest_mode"): [
        ("round_prefer_ceil", None), ("floor", "do not repeat"), ("ceil", "do not repeat")
    ],
    ("Reshape", "allowzero"): [(1, None)],
    ("Selu", "alpha"): [(0.3, None), (float("nan"), "has alpha = nan, allowed are finite numbers")],
    ("Selu", "gamma"): [(-0.3, None), (float("inf"), "has gamma = inf, allowed are finite number")],
    ("Shape", "end"): [(1, None), (-3, None)],
    ("Shape", "start"): [(-3, "turns")],
    ("Slice", "axes"): [([1, 3], None), ([0, 1], "takes images 1 to"), ([1, 7], "has axis 7 for")],
    ("Slice", "ends"): [([2, -2], None), ([1, 8], "takes nothing of"), ([2], "has 2 starts, 1 en")],
    ("Slice", "starts"): [([0, 0], None), ([3, 0], "takes nothing of a tensor")],
    ("Split", "axis"): [(2, None), (-1, None), (0, "splits the batch"), (4, "has axis 4 for 4")],
    ("Split", "num_outputs"): [(2, None), (3, r"splits 3 places of axis 1 into \[1, 1, 1\] for 2")],
    ("Split", "split"): [([2, 1], None), ([2, 2], "splits 3 places"), ([0, 3], "splits 3 places")],
    ("Swish", "alpha"): [(0.3, None), (-2.0, None), (float("inf"), "has alpha = inf, allowed are")],
    ("ThresholdedRelu", "alpha"): [(0.3, None), (-0.5, None), (float("nan"), "has alpha = nan, ")],
    ("Transpose", "perm"): [([1, 0], None), ([0, 0], "has perm = ")],
    ("Upsample", "mode"): [("linear", None), ("cubic", "has mode = 'cubic', allowed is")],
    ("Upsample", "scales"): [
        ([1.0, 1.0, 1.0, 4.0], None),
        ([1.0, 1.0, 1.5, 2.0], r"resizes by \[1.0, 1.0, 1.5, 2.0\]"),
        ([1.0, 2.0, 2.0, 2.0], "whole factors of height and width"),
    ],
}  # fmt: skip
"""Values of attributes other than the default, with the sentence that refuses them."""


def opset_with(op: str, key: str) -> int:
    """Newest opset that onnxruntime runs in which an operator has an attribute."""
    found = [s.since_version for s in schemas(op) if key in s.attributes]
    newer = [s.since_version for s in schemas(op) if s.since_version > max(found)]
    run = RUNTIME.get((op, RUNTIME_NEWEST), RUNTIME_NEWEST)
    return min([run, *(version - 1 for version in newer)])


def test_every_attribute_is_tried_with_other_values() -> None:
    wanted = {
        (op, key)
        for op, operator in OPERATORS.items()
        for schema in schemas(op)
        for key in schema.attributes
        if key in operator.reads and (op, key) not in (("Squeeze", "axes"), ("Unsqueeze", "axes"))
    }
    assert wanted == set(OTHERS)


@pytest.mark.parametrize(
    ("op", "key", "value", "sentence"),
    [(op, key, value, text) for (op, key), rows in OTHERS.items() for value, text in rows],
)
def test_attribute_agrees_or_is_refused_by_name(
    op: str, key: str, value: Any, sentence: str | None
) -> None:
    attributes = {key: value}
    if (op, key) == ("AveragePool", "count_include_pad"):
        attributes["pads"] = [1, 0, 1, 1]
    if key == "ceil_mode":
        attributes |= {"kernel_shape": [3, 3], "strides": [3, 3] if op == "AveragePool" else [4, 4]}
    model = model_of(op, opset_with(op, key), **attributes)
    if sentence is None:
        # Means of an even number of pixels often lie in the middle between two codes.
        share = 0.9 if op == "AveragePool" or value == "linear" else 0.98
        assert_within_a_step(model, importer.load(model), images(SHAPE, 12, seed=3), share)
        return
    with pytest.raises(UserError, match=sentence) as caught:
        importer.load(model)
    assert str(caught.value).startswith(f"{op} node ") or op == "Shape"


DEFAULTS = [
    (op, max(schema.since_version, OLDEST), key)
    for op in BUILDS
    for schema in schemas(op)
    for key, attribute in schema.attributes.items()
    if attribute.default_value.type and (op, key) not in (("Shape", "start"),)
]


@pytest.mark.parametrize(("op", "opset", "key"), DEFAULTS)
def test_default_that_is_written_out_changes_nothing(op: str, opset: int, key: str) -> None:
    schema = defs.get_schema(op, opset, "")
    value = helper.get_attribute_value(schema.attributes[key].default_value)
    plain = model_of(op, opset)
    written = onnx.ModelProto()
    written.CopyFrom(plain)
    for node in written.graph.node:
        if node.op_type == op and key not in [each.name for each in node.attribute]:
            node.attribute.append(helper.make_attribute(key, value))
    assert same(importer.load(plain), importer.load(written))


UNKNOWN = [
    ("Reshape", 13, "allowzero", 1),
    ("Clip", 11, "min", 0.0),
    ("Squeeze", 13, "axes", [2]),
    ("AveragePool", 7, "ceil_mode", 1),
    ("AveragePool", 11, "dilations", [2, 2]),
    ("ReduceMean", 18, "axes", [2, 3]),
    ("QuantizeLinear", 19, "output_dtype", 3),
    ("Conv", 17, "ceil_mode", 1),
    ("Add", 13, "axis", 1),
    ("Relu", 17, "alpha", 0.5),
]


@pytest.mark.parametrize(("op", "opset", "key", "value"), UNKNOWN)
def test_attribute_that_the_opset_does_not_know_is_refused_by_name(
    op: str, opset: int, key: str, value: Any
) -> None:
    model = model_of(op, opset)
    node = next(each for each in model.graph.node if each.op_type == op)
    node.attribute.append(helper.make_attribute(key, value))
    sentence = f"{op} node .* has the attribute '{key}', which opset {opset} does not know for it"
    with pytest.raises(UserError, match=sentence):
        importer.load(model)


@pytest.mark.parametrize(("op", "opset"), [("Gelu", 19), ("HardSwish", 13), ("Celu", 11)])
def test_operator_that_the_opset_does_not_have_is_refused(op: str, opset: int) -> None:
    model = model_of(op, opset)
    with pytest.raises(UserError, match=f"{op} node .* is an operator that opset {opset}, which"):
        importer.load(model)
    model.opset_import[0].version = opset + 1
    assert importer.load(model).layers


@pytest.mark.parametrize("opset", [0, 6, 29, 1 << 40])
def test_opset_that_is_not_known_is_refused(opset: int) -> None:
    model = model_of("Relu", 17)
    model.opset_import[0].version = opset
    with pytest.raises(UserError, match=rf"uses (opset {opset}|no opset), allowed are 7 to \d\d;"):
        importer.load(model)


def test_axis_of_scales_is_taken_in_opsets_before_13_too() -> None:
    """As onnxruntime's quantizer writes it for old models."""
    graph = Qdq(*SHAPE, opset=12)
    scales = np.linspace(0.005, 0.01, 4, dtype=np.float32)
    stored = [graph.constant(a) for a in (weight(4, 3, 3, 3), scales, np.zeros(4, np.int8))]
    kernel = graph.op("DequantizeLinear", *stored, axis=0)
    model = graph.model(graph.pair(graph.op("Conv", graph.pair("x", 0.0203, 5), kernel), 0.07))
    network = importer.load(model)
    model.opset_import[0].version = 13
    assert same(network, importer.load(model))
    layer = network.layers[0]
    assert isinstance(layer, Conv)
    ratios = np.ldexp(layer.multiplier.astype(float), -layer.shift)
    np.testing.assert_allclose(ratios / ratios[0], scales / scales[0], rtol=1e-6)


RULES = ["align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn"]
NEAREST = ["ceil", "floor", "round_prefer_ceil", "round_prefer_floor"]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("nearest", NEAREST)
def test_nearest_pixels_are_those_of_onnxruntime_or_refused(rule: str, nearest: str) -> None:
    """Every factor from 1 to 4, of maps of one pixel to five."""
    refused = 0
    for size, factor in itertools.product((1, 2, 5), (1, 2, 3, 4)):
        graph = Qdq(2, size, 4, opset=11)
        value = graph.pair("x", 0.0203, 5)
        given = [graph.constant(np.array(a, np.float32)) for a in ([], [1, 1, factor, 1])]
        attributes = {"coordinate_transformation_mode": rule, "nearest_mode": nearest}
        model = graph.model(graph.op("Resize", value, *given, mode="nearest", **attributes))
        x = images((2, size, 4), 2, seed=1)
        expected = runtime_output(model, x)
        plain = np.repeat(runtime_output(graph.model(value), x), factor, axis=2)
        if np.array_equal(expected, plain):
            np.testing.assert_array_equal(scores(importer.load(model), x), expected)
        else:
            refused += 1
            with pytest.raises(UserError, match=f"'{rule}' and nearest_mode = '{nearest}'"):
                importer.load(model)
    right = {("asymmetric", "floor"), ("tf_half_pixel_for_nn", "floor")}
    right |= {(each, near) for each in RULES[2:4] for near in NEAREST[2:]}
    assert (refused == 0) == ((rule, nearest) in right)
