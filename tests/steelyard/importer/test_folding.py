"""Constants that a graph computes: folded within bounds that are known before they are made."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qdq_graphs import Qdq, assert_within_a_step, images, start
from steelyard import importer
from steelyard.errors import UserError
from steelyard.importer import folding
from steelyard.importer.schema import read_node


def sizes(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


FOLDED: dict[str, Callable[[Qdq], str]] = {
    "shape of a file": lambda g: g.op(
        "Concat", g.op("Slice", g.op("Shape", "x"), *(g.constant(sizes(n)) for n in (0, 1))),
        g.constant(sizes(-1)), axis=0,
    ),
    "empty list": lambda g: g.op(
        "Concat", g.op("Constant", value=numpy_helper.from_array(sizes())),
        g.constant(sizes(1, 243)), axis=0,
    ),
    "gathered": lambda g: g.op("Gather", g.constant(sizes(7, 243, 1)), g.constant(sizes(2, 1))),
    "filled": lambda g: g.op("Mul", g.op("Cast", g.op("ConstantOfShape", g.constant(sizes(2)),
                                  value=helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])),
                     to=TensorProto.INT64), g.constant(sizes(1, 243))),
    "expanded and sliced": lambda g: g.op(
        "Slice", g.op("Tile", g.op("Expand", g.constant(sizes(243)), g.constant(sizes(3))),
                      g.constant(sizes(2))),
        g.constant(sizes(0)), g.constant(sizes(1)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FOLDED)
def test_constants_of_a_graph_are_folded(case: str) -> None:
    graph, value = start()
    shape = FOLDED[case](graph)
    if case == "expanded and sliced":
        shape = graph.op("Concat", graph.constant(sizes(1)), shape, axis=0)
    weight = graph.weight(np.random.default_rng(0).integers(-127, 128, (5, 243), np.int8))
    y = graph.op("Gemm", graph.op("Reshape", value, shape), weight, transB=1)
    model = graph.model(graph.pair(y, 0.3))
    network = importer.load(model)
    # A constant batch of 1 in the shape makes onnxruntime take single images.
    for x in images((3, 9, 9), 3, seed=0)[:, np.newaxis]:
        assert_within_a_step(model, network, x)


def loop(g: Qdq) -> str:
    """A loop that never ends."""
    kinds = [("i", TensorProto.INT64), ("keep", TensorProto.BOOL), ("v", TensorProto.INT64)]
    inputs = [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds]
    outputs = [
        helper.make_tensor_value_info(name, kind, None)
        for name, kind in (("keep2", TensorProto.BOOL), ("v2", TensorProto.INT64))
    ]
    same = [helper.make_node("Identity", [a], [b]) for a, b in (("keep", "keep2"), ("v", "v2"))]
    body = helper.make_graph(same, "body", inputs, outputs)
    return g.op("Loop", "", g.constant(np.array(True)), g.constant(sizes(1)), body=body)


def chain(g: Qdq, length: int) -> str:
    """Every node makes eight times as much as the one before."""
    value = g.constant(sizes(1))
    for _ in range(length):
        value = g.op("Concat", *[value] * 8, axis=0)
    return value


REFUSED: dict[str, tuple[Callable[[Qdq], str], str]] = {
    "filled": (
        lambda g: g.op("ConstantOfShape", g.constant(sizes(1 << 15, 1 << 15))),
        "ConstantOfShape node .* makes constants of more than 134217728 bytes",
    ),
    "filled in parts": (
        lambda g: g.op(
            "Concat",
            *(g.op("ConstantOfShape", g.constant(sizes(1 << 12, n << 10)),
                   value=numpy_helper.from_array(np.zeros(1, np.int64)))
              for n in (3, 2)),
            axis=1,
        ),
        "ConstantOfShape node .* makes constants of more than 134217728 bytes with the nodes",
    ),
    "overflow": (
        lambda g: g.op("ConstantOfShape", g.constant(sizes(1 << 62, 4))),
        "makes constants of more than 134217728 bytes",
    ),
    "expanded": (
        lambda g: g.op("Expand", g.constant(sizes(1)), g.constant(sizes(1 << 30))),
        "Expand node .* makes 1073741824 elements",
    ),
    "tiled": (
        lambda g: g.op("Tile", g.constant(sizes(1, 2)), g.constant(sizes(1 << 30))),
        "Tile node .* makes 2147483648 elements",
    ),
    "range": (
        lambda g: g.op("Range", *(g.constant(np.int64(n)) for n in (0, 1 << 33, 1))),
        "Range node .* makes 8589934593 elements",
    ),
    "range without end": (
        lambda g: g.op("Range", *(g.constant(np.int64(n)) for n in (0, 5, 0))),
        "Range node .* has constant inputs that do not fit it",
    ),
    "padded": (
        lambda g: g.op("Pad", g.constant(np.zeros((1, 1), np.float32)),
                       g.constant(sizes(1 << 20, 1 << 20, 0, 0))),
        "Pad node .* elements of constants",
    ),
    "broadcast": (
        lambda g: g.op("Add", g.constant(np.zeros((1 << 13, 1))),
                       g.constant(np.zeros((1, 1 << 13)))),
        "Add node .* makes 67108864 elements",
    ),
    "product": (
        lambda g: g.op("MatMul", g.constant(np.zeros((1 << 11, 1 << 11), np.float32)),
                       g.constant(np.zeros((1 << 11, 1 << 11), np.float32))),
        "MatMul node .* elements of constants",
    ),
    "chain": (lambda g: chain(g, 12), "Concat node .* makes 16777216 elements"),
    "loop": (loop, "Loop node .* is not among the operators that are folded; simplify"),
    "text": (
        lambda g: g.op("Cast", g.constant(sizes(1)), to=TensorProto.STRING),
        "Cast node .* makes text of its constants",
    ),
    "unknown type": (
        lambda g: g.op("Cast", g.constant(sizes(1)), to=99),
        "Cast node .* has constant inputs but cannot be computed",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_constants_without_bound_are_refused_before_they_are_made(case: str) -> None:
    build, sentence = REFUSED[case]
    graph, value = start()
    model = graph.model(graph.pair(graph.op("Reshape", value, build(graph)), 0.0203, 5))
    tracemalloc.start()
    with pytest.raises(UserError, match=sentence) as caught:
        importer.load(model)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    assert peak < (100 << 20)


def test_no_more_nodes_are_folded_than_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folding, "MAX_NODES", 100)
    for count in (100, 101):
        graph, value = start()
        shape = graph.constant(sizes(1, 243))
        for _ in range(count):
            shape = graph.op("Identity", shape)
        model = graph.model(graph.pair(graph.op("Reshape", value, shape), 0.0203, 5))
        if count == 100:
            importer.load(model)
            continue
        with pytest.raises(UserError, match="Identity node .* exceed what is folded .* 100 nodes"):
            importer.load(model)


def test_node_with_only_constants_behind_the_output_is_left_out() -> None:
    graph, value = start()
    graph.op("ConstantOfShape", graph.constant(sizes(1 << 30)))
    assert importer.load(graph.model(graph.pair(graph.conv(value), 0.1))).layers


def test_nodes_may_stand_in_any_order_but_not_wait_for_each_other() -> None:
    graph, value = start()
    model = graph.model(graph.pair(graph.conv(value), 0.1))
    expected = importer.load(model)
    nodes = list(reversed(model.graph.node))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert [each.name for each in importer.load(model).layers] == [
        each.name for each in expected.layers
    ]
    cycle = onnx.ModelProto()
    cycle.CopyFrom(model)
    quantizer = next(n for n in cycle.graph.node if n.op_type == "Conv")
    quantizer.input[0] = cycle.graph.output[0].name
    with pytest.raises(UserError, match="waits for its own output, allowed are graphs without cy"):
        importer.load(cycle)


def test_weights_that_a_graph_fills_in_may_be_more_than_other_constants() -> None:
    one = numpy_helper.from_array(np.ones(1, np.int8))
    node = read_node(helper.make_node("ConstantOfShape", ["s"], ["y"], "n", value=one), 17)
    folder = folding.Folder(17, stored=0)
    for _ in range(4):
        (filled,) = folder.evaluate(node, [sizes(1 << 15, 1 << 10)])
        assert filled.size == 2 * folding.MAX_ELEMENTS and filled.dtype == np.int8
    with pytest.raises(UserError, match="node 'n' makes constants of more than 134217728 bytes"):
        folder.evaluate(node, [sizes(1)])
