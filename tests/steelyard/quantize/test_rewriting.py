"""Operators in other words: the same scores, and one node where one was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from qdq_graphs import Qdq, images, session
from steelyard.check import examine
from steelyard.importer.cutting import cut
from steelyard.quantize import modern
from steelyard.quantize.edit import Edit
from steelyard.quantize.normalize import normalized


def old(op: str, axis: int, window: int) -> onnx.ModelProto:
    """A network of opset 9 that ends in a function over all axes from `axis` on."""
    g = Qdq(3, 9, 9, opset=9)
    weight = g.constant(np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32))
    y = g.op("AveragePool", g.op("Conv", "x", weight), kernel_shape=[window, window])
    return g.model(g.op(op, y, axis=axis))


def plain(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Session that runs a graph as it stands."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
def test_a_function_over_channels_of_an_old_opset_stays_one_node(op: str) -> None:
    model = old(op, 1, 7)
    found = modern(model)
    assert [node.op_type for node in found.graph.node] == ["Conv", "AveragePool", op]
    x = images((3, 9, 9), 5, seed=1)
    first, second = (session(each).run(None, {"x": x})[0] for each in (model, found))
    assert first.shape == second.shape == (5, 4, 1, 1)
    np.testing.assert_allclose(first, second, atol=1e-6)
    assert cut(found, op).operators == (op,)
    assert not examine(model, op).obstacles


@pytest.mark.parametrize(("axis", "window"), [(1, 3), (2, 3)])
def test_a_function_over_several_axes_does_not(axis: int, window: int) -> None:
    model = old("Softmax", axis, window)
    found = modern(model)
    assert {"Flatten", "Reshape"} <= {node.op_type for node in found.graph.node}
    x = images((3, 9, 9), 5, seed=1)
    first, second = (session(each).run(None, {"x": x})[0] for each in (model, found))
    np.testing.assert_allclose(first, second, atol=1e-6)


@pytest.mark.parametrize("pads", [[0, 0, 0, 0, 0, 0, 1, 1], [0, 0, 1, 1, 0, 0, 1, 1]])
def test_zeros_beside_a_max_pooling_are_the_greatest_of_negative_values(
    pads: list[int], tmp_path: Path
) -> None:
    """onnxruntime's optimizer takes them for pads that no maximum sees."""
    g = Qdq(3, 8, 8, opset=13)
    weight = g.constant(np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32))
    y = g.op("Conv", "x", weight, g.constant(np.full(4, -9, np.float32)), pads=[1, 1, 1, 1])
    y = g.op("Pad", y, g.constant(np.array(pads, np.int64)), g.constant(np.float32(0)))
    model = g.model(g.op("MaxPool", y, kernel_shape=[2, 2]))
    x = images((3, 8, 8), 2, seed=1)
    found = normalized(model, x, tmp_path).model
    first, second = (plain(each).run(None, {"x": x})[0] for each in (model, found))
    assert (first == 0).any()
    np.testing.assert_array_equal(first, second)


def test_a_graph_that_is_written_twice_has_each_constant_once() -> None:
    g = Qdq(3, 8, 8, opset=13)
    weight = g.constant(np.ones((4, 3, 1, 1), np.float32))
    model = g.model(g.op("Conv", "x", weight))
    edit = Edit(model)
    bias = edit.add_constant("bias", np.arange(4, dtype=np.float32))
    edit.nodes[0].input.append(bias)
    edit.refresh()
    for _ in range(2):
        edit.finish()
    assert sorted(item.name for item in model.graph.initializer) == sorted([weight, bias])
    x = images((3, 8, 8), 1, seed=1)
    expected = x.sum(axis=1, keepdims=True) + np.arange(4).reshape(1, 4, 1, 1)
    np.testing.assert_allclose(plain(model).run(None, {"x": x})[0], expected, atol=1e-5)
