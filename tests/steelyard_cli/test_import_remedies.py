"""Advice about quantized files that compile refuses: whoever follows it gets the right scores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from qdq_graphs import Qdq, images, runtime_output

SHAPE = (3, 9, 9)
RANDOM = np.random.default_rng(3)
FIRST = (RANDOM.standard_normal((4, 3, 3, 3)) * 0.2).astype(np.float32)
LAST = (RANDOM.standard_normal((5, 4)) * 0.3).astype(np.float32)
LAST_BIAS = np.linspace(-1, 1, 5, dtype=np.float32)

Step = Callable[[Qdq, str], str]


def plain(g: Qdq, v: str) -> str:
    return v


def float_model(middle: Step = plain) -> onnx.ModelProto:
    """The network that every refused file here was made from."""
    g = Qdq(*SHAPE)
    y = middle(g, g.op("Relu", g.op("Conv", "x", g.constant(FIRST))))
    y = g.op("Flatten", g.op("GlobalAveragePool", y))
    return g.model(g.op("Gemm", y, g.constant(LAST), g.constant(LAST_BIAS), transB=1))


def stored(
    g: Qdq, weight: np.ndarray, dtype: type = np.int8, zero: int = 0, axis: int = 0, scale=None
) -> str:
    """Weight as codes, with one scale for each channel of an axis."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    steps = (np.abs(weight).max(others) / 120).astype(np.float32) if scale is None else scale
    shape = [-1 if i == axis else 1 for i in range(weight.ndim)]
    codes = (np.rint(weight / steps.reshape(shape)) + zero).astype(dtype)
    zeros = np.full(steps.shape, zero, dtype)
    parameters = [g.constant(each) for each in (codes, steps, zeros)]
    return g.op("DequantizeLinear", *parameters, axis=axis)


def quantized(
    *,
    source: str = "input",
    first: Callable[[Qdq], str] = lambda g: stored(g, FIRST),
    last: Callable[[Qdq], str] = lambda g: stored(g, LAST),
    pool: Step = lambda g, v: g.pair(g.op("GlobalAveragePool", v), 0.02, -128),
    middle: Step = plain,
    output: Step = lambda g, v: g.pair(v, 0.03, 0),
    relu: Step = lambda g, v: g.pair(v, 0.03, -128),
    opset: int = 17,
) -> onnx.ModelProto:
    """The network with quantizers as they should be, but for what is given."""
    g = Qdq(*SHAPE, opset=opset)
    x = g.pair("x", 0.03, 0) if source == "input" else "x"
    y = middle(g, relu(g, g.op("Relu", g.op("Conv", x, first(g)))))
    y = g.op("Flatten", pool(g, y))
    return g.model(output(g, g.op("Gemm", y, last(g), g.constant(LAST_BIAS), transB=1)))


def check_scores(path: Path, model: onnx.ModelProto, x: np.ndarray, allowed: float) -> None:
    expected = runtime_output(model, x)
    found = np.load(path)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= allowed * np.ptp(expected)


INCOMPLETE: dict[str, Callable[[], onnx.ModelProto]] = {
    "float output": lambda: quantized(output=plain),
    "float input": lambda: quantized(source="float"),
    "float pool": lambda: quantized(pool=lambda g, v: g.op("GlobalAveragePool", v)),
    "float layer at the end": lambda: quantized(last=lambda g: g.constant(LAST), output=plain),
    "float layer at the beginning": lambda: quantized(
        source="float", first=lambda g: g.constant(FIRST), relu=plain
    ),
    "weights only": lambda: quantized(
        source="float", relu=plain, pool=lambda g, v: g.op("GlobalAveragePool", v), output=plain
    ),
}


@pytest.mark.parametrize("case", INCOMPLETE)
def test_missing_quantizers_are_added_as_compile_advises(
    case: str, steelyard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = INCOMPLETE[case]()
    onnx.save(model, "q.onnx")
    x = images(SHAPE, 64, seed=5)
    np.save("x.npy", x)
    steelyard("compile", "q.onnx", "-o", "n.syp").refused(
        "add the missing quantizers with 'steelyard quantize FILE --calibration IMAGES -o OUT'"
    )
    for command in (
        "quantize q.onnx --calibration x.npy -o o.onnx",
        "compile o.onnx -o n.syp",
        "run n.syp --input x.npy --output y.npy --device golden",
    ):
        assert steelyard(*command.split()).status == 0
    check_scores(tmp_path / "y.npy", model, x, 0.03)


def behind_relu(op: str, constant: np.ndarray) -> Step:
    return lambda g, v: g.op(op, v, g.constant(constant))


def requantized(op: str, constant: np.ndarray) -> Step:
    return lambda g, v: g.pair(g.op(op, v, g.constant(constant)), 0.04, 0)


VECTOR = np.linspace(-1, 1, 4, dtype=np.float32).reshape(4, 1, 1)
WRONG_SCALE = np.full((), 1e-42, np.float32)


def int4(g: Qdq) -> str:
    codes = [int(code) for code in np.rint(FIRST.reshape(-1) * 8)]
    g.constants.append(helper.make_tensor("codes4", TensorProto.INT4, FIRST.shape, codes))
    return g.op("DequantizeLinear", "codes4", g.constant(np.float32(0.125)))


def blocked(g: Qdq) -> str:
    steps = np.full((4, 3, 3, 1), 0.01, np.float32)
    codes = np.rint(FIRST / 0.01).astype(np.int8)
    inputs = (g.constant(codes), g.constant(steps))
    return g.op("DequantizeLinear", *inputs, axis=3, block_size=3)


def two_scales(g: Qdq, v: str) -> str:
    codes = g.op("QuantizeLinear", v, g.constant(np.float32(0.03)), g.constant(np.int8(-128)))
    return g.op("DequantizeLinear", codes, g.constant(np.float32(0.04)), g.constant(np.int8(-128)))


REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], Step, str]] = {
    "unsigned weights": (
        lambda: quantized(first=lambda g: stored(g, FIRST, np.uint8)),
        plain,
        "has a weight whose codes run from 0 to 255 around their zero point, allowed are -254 to",
    ),
    "wide weights": (
        lambda: quantized(first=lambda g: stored(g, FIRST, np.int16), opset=21),
        plain,
        "has a weight of int16",
    ),
    "narrow weights": (lambda: quantized(first=int4, opset=21), plain, "constant codes of int4"),
    "blocks of weights": (lambda: quantized(first=blocked, opset=21), plain, "has block_size = 3"),
    "scales of input channels": (
        lambda: quantized(first=lambda g: stored(g, FIRST, axis=1)),
        plain,
        "has weight scales along axis 1, allowed is the output axis 0",
    ),
    "scale near zero": (
        lambda: quantized(relu=lambda g, v: g.pair(v, WRONG_SCALE, -128)),
        plain,
        "has scales of 1.00053e-42 to 1.00053e-42, allowed are",
    ),
    "two scales of one tensor": (
        lambda: quantized(relu=two_scales),
        plain,
        "has scale 0.04",
    ),
    "factor for each channel": (
        lambda: quantized(middle=requantized("Mul", VECTOR)),
        behind_relu("Mul", VECTOR),
        "multiplies by a constant of shape (4, 1, 1) from -1 to 1",
    ),
    "summand": (
        lambda: quantized(middle=requantized("Add", VECTOR)),
        behind_relu("Add", VECTOR),
        "adds a constant of shape (4, 1, 1) from -1 to 1, allowed is one finite number, or one for",
    ),
    "difference": (
        lambda: quantized(middle=requantized("Sub", VECTOR)),
        behind_relu("Sub", VECTOR),
        "subtracts a constant of shape (4, 1, 1)",
    ),
    "quotient": (
        lambda: quantized(middle=requantized("Div", -2 * VECTOR - 3)),
        behind_relu("Div", -2 * VECTOR - 3),
        "divides by a constant of shape (4, 1, 1)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_float_network_is_quantized_as_compile_advises(
    case: str, steelyard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build, middle, sentence = REFUSED[case]
    onnx.save(build(), "q.onnx")
    model = float_model(middle)
    onnx.save(model, "f.onnx")
    x = images(SHAPE, 64, seed=5)
    np.save("x.npy", x)
    advice = "start from the float network and quantize it with 'steelyard quantize'"
    if case == "scale near zero":
        advice = "quantize the float network with 'steelyard quantize'"
    steelyard("compile", "q.onnx", "-o", "n.syp").refused(sentence, advice)
    for command in (
        "quantize f.onnx --calibration x.npy -o o.onnx",
        "compile o.onnx -o n.syp",
        "run n.syp --input x.npy --output y.npy --device golden",
    ):
        assert steelyard(*command.split()).status == 0
    check_scores(tmp_path / "y.npy", model, x, 0.03)
