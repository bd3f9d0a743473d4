"""Programs beside the networks that they were made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.calibrate import CalibrationDataReader

from qdq_graphs import Qdq, images, session, start
from steelyard import quantize
from steelyard.check import host_part
from steelyard.compare import Comparison, compare
from steelyard.compare.watched import Watching
from steelyard.compile import compile_with_memories
from steelyard.contract import configure
from steelyard.errors import UserError
from steelyard.importer import load
from steelyard.importer.cutting import cut
from steelyard.network import Conv
from steelyard.program import Program
from steelyard.report import compare_document

SHAPE = (3, 9, 9)
X = images(SHAPE, 10, seed=3)


def program_of(model: onnx.ModelProto, engine: str = "array") -> Program:
    return compile_with_memories(load(model), configure(engine), batch=1)


def graph() -> onnx.ModelProto:
    """A residual block, an average whose sums are often in the middle, and a head."""
    g, x = start()
    stem = g.pair(g.op("Relu", g.conv(x, pads=[1] * 4)), 0.05, -128)
    side = g.pair(g.conv(stem, 4, 4, pads=[1] * 4), 0.1)
    total = g.pair(g.op("Add", stem, side), 0.1, -3)
    pooled = g.op("AveragePool", total, kernel_shape=[2, 2], strides=[2, 2])
    mean = g.pair(pooled, 0.1, -3)
    weight = np.random.default_rng(2).integers(-127, 128, (5, 64), np.int8)
    return g.model(g.pair(g.op("Gemm", g.op("Flatten", mean), g.weight(weight), transB=1), 0.5))


def floating() -> onnx.ModelProto:
    g = Qdq(*SHAPE)
    draw = np.random.default_rng(0)
    first, second = (draw.standard_normal((4, n, 3, 3)).astype(np.float32) / 5 for n in (3, 4))
    y = g.op("Relu", g.op("Conv", "x", g.constant(first), pads=[1] * 4))
    y = g.op("Add", y, g.op("Conv", y, g.constant(second), pads=[1] * 4))
    return g.model(g.op("GlobalAveragePool", y))


def quantized(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    onnx.save(model, folder / "f.onnx")
    content = quantize.quantize_measured(folder / "f.onnx", X).content
    return onnx.load_model_from_string(content)


def totals(found: Comparison, *names: str) -> tuple[int, ...]:
    return tuple(sum(getattr(each, name) for each in found.agreements) for name in names)


def test_ties_are_counted_and_shown_to_lie_in_the_middle():
    found = compare(graph(), program_of(graph()), X)
    assert [each.kind for each in found.layers] == ["conv", "conv", "add", "avg_pool", "fc"]
    assert found.quantized and not found.missing and found.images == len(X)
    pool = found.layers[3].agreement
    assert pool is not None and pool.ties > 10 and not pool.others and pool.worst == 1
    # Sums of four over four: an exact half, up to the noise of a float32.
    assert 0 <= pool.farthest < 1e-4 <= pool.margin < 1e-3
    assert totals(found, "elements") == (10 * (3 * 4 * 81 + 4 * 16 + 5),)
    assert found.wrong() is None
    # What is fed onnxruntime's codes alone does not carry the ties on, what runs on its own does.
    assert found.layers[3].snr_db < 60 and np.isinf(found.layers[0].snr_db)


def test_a_wrong_weight_is_found_in_its_layer_alone():
    program = program_of(graph())
    layers = list(program.network.layers)
    conv = layers[1]
    assert isinstance(conv, Conv)
    weight = conv.weight.copy()
    weight[0, 0, 1, 1] += 60 if weight[0, 0, 1, 1] < 0 else -60
    layers[1] = replace(conv, weight=weight)
    wrong = replace(program, network=replace(program.network, layers=tuple(layers)))
    found = compare(graph(), wrong, X)
    culprit = found.wrong()
    assert culprit is not None and culprit.layer == conv.name
    assert [bool(each.others) for each in found.agreements] == [False, True, False, False, False]
    right = compare(graph(), program, X)
    assert found.layers[2].snr_db < 30 < right.layers[2].snr_db


def test_codes_may_differ_by_more_than_a_byte_holds():
    program = program_of(graph())
    layers = list(program.network.layers)
    conv = layers[1]
    assert isinstance(conv, Conv)
    layers[1] = replace(conv, bias=conv.bias + (1 << 20))
    wrong = replace(program, network=replace(program.network, layers=tuple(layers)))
    found = compare(graph(), wrong, X).agreements[1]
    assert found.worst > 127 and found.others > 0.9 * found.elements


@pytest.mark.parametrize("batch", [1, 4])
def test_a_fixed_batch_is_filled_and_what_fills_it_does_not_count(batch: int):
    model = graph()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    model.graph.output[0].type.tensor_type.ClearField("shape")
    program = program_of(graph())
    found, expected = compare(model, program, X), compare(graph(), program, X)
    assert found.agreements == expected.agreements
    assert [e.snr_db for e in found.layers] == pytest.approx([e.snr_db for e in expected.layers])


def test_many_images_give_what_they_give_at_once(monkeypatch: pytest.MonkeyPatch):
    from steelyard.compare import comparison

    program, seen = program_of(graph()), list[tuple[int, int]]()
    expected = compare(graph(), program, X)
    monkeypatch.setattr(comparison, "MOST_BYTES", 1 << 17)
    found = compare(graph(), program, X, lambda done, of, _: seen.append((done, of)))
    assert len(seen) > 2 and seen[-1][0] < len(X)
    assert found.agreements == expected.agreements


class Reader(CalibrationDataReader):
    """The images, once."""

    def __init__(self) -> None:
        self.left = [{"x": X}]

    def get_next(self) -> dict[str, np.ndarray] | None:
        return self.left.pop() if self.left else None


@pytest.mark.parametrize("kind", ["QInt8", "QUInt8"])
def test_ties_of_operators_on_codes_are_shown_by_the_same_network_in_float(
    kind: str, tmp_path: Path
):
    onnx.save(floating(), tmp_path / "f.onnx")
    quantize_static(
        tmp_path / "f.onnx", tmp_path / "q.onnx", Reader(), quant_format=QuantFormat.QOperator,
        activation_type=QuantType[kind], weight_type=QuantType.QInt8,
    )  # fmt: skip
    model = onnx.load(tmp_path / "q.onnx")
    assert any(node.op_type == "QLinearConv" for node in model.graph.node)
    watching = Watching(model, load(model))
    assert watching.fed is not None and set(watching.feeds) == set(watching.codes)
    read = {name for node in watching.fed.graph.node for name in node.input}
    # Every layer reads the codes that it is given, of the operators on codes themselves.
    assert set(watching.feeds.values()) - read <= {watching.feeds[load(model).output]}
    assert not read & {each.removesuffix("/fed") for each in watching.feeds.values()}
    found = compare(model, program_of(model), images(SHAPE, 60, seed=5))
    assert len(found.agreements) >= 3
    elements, equal, ties, others = totals(found, "elements", "equal", "ties", "others")
    assert (equal + ties, others) == (elements, 0) and equal >= 0.999 * elements


def test_the_float_network_is_compared_where_names_are_kept(tmp_path: Path):
    program = program_of(quantized(floating(), tmp_path))
    found = compare(floating(), program, X)
    assert not found.quantized and not found.agreements
    assert {each.tensor for each in found.layers} >= {"relu1.out", "add3.out"}
    (last,) = (each for each in found.layers if each.tensor == program.network.output)
    expected = session(floating()).run(None, {"x": X})[0]
    from steelyard import driver

    codes = driver.float_codes(program.network, X)
    own = driver.real_output(program.network, program.golden(codes)[program.network.output])
    ratio = 10 * np.log10(np.sum(expected.astype(float) ** 2) / np.sum((own - expected) ** 2.0))
    assert last.snr_db == pytest.approx(ratio, abs=0.01) and 20 < ratio < 60


def test_what_is_left_to_the_host_is_left_out():
    g, x = start()
    y = g.pair(g.op("Flatten", g.op("GlobalAveragePool", g.pair(g.conv(x), 0.1))), 0.05)
    model = g.model(g.op("Softmax", y))
    parts = cut(model, "Softmax")
    program = replace(program_of(parts.network), host=host_part(parts))
    found = compare(model, program, X)
    assert [each.kind for each in found.layers] == ["conv", "avg_pool"] and not found.wrong()


def test_an_engine_that_converts_is_compared_as_it_computes():
    program = program_of(graph(), "crossbar")
    assert compare(graph(), program, X).wrong() is None


def test_a_network_of_other_names_is_refused():
    g = Qdq(*SHAPE)
    other = g.model(g.pair(g.conv(g.pair("x", 0.07)), 0.1))
    with pytest.raises(UserError, match="has no value with the name and scale of a layer of"):
        compare(other, program_of(graph()), X)
    with pytest.raises(UserError, match="Images must have the shape"):
        compare(graph(), program_of(graph()), X[:, :2])


def test_the_document_has_null_where_nothing_differs():
    found = compare(graph(), program_of(graph()), X)
    document = compare_document(found, "p")
    assert document["images"] == len(X) and document["program"] == "p"
    first, *_, last = document["layers"]
    assert first["snr_db"] is None and last["snr_db"] == found.layers[-1].snr_db
    assert sum(each["codes"]["ties"] for each in document["layers"]) == totals(found, "ties")[0]
