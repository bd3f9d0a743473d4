"""Networks of several outputs: every one is a tensor of its own that has the file's name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest

from qdq_graphs import Qdq, assert_agrees, images, start
from steelyard import importer, quantize
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.importer.graph import needed_nodes
from steelyard.importer.placeholders import placeholder_network
from steelyard.network import Conv, Network, Slice


def tail(g: Qdq, value: str, outputs: int = 4) -> str:
    return g.pair(g.conv(value, 4, outputs, pads=[1] * 4), 0.0913, 2)


def two_heads(g: Qdq, v: str) -> list[str]:
    a = g.pair(g.op("Relu", g.conv(v, pads=[1] * 4)), 0.0517, -128)
    return [tail(g, a), tail(g, a, 6)]


def tap_behind_a_relu(g: Qdq, v: str) -> list[str]:
    a = g.pair(g.op("Relu", g.conv(v, pads=[1] * 4)), 0.0517, -128)
    return [tail(g, a), a]


def tap_before_a_relu(g: Qdq, v: str) -> list[str]:
    a = g.pair(g.conv(v, pads=[1] * 4), 0.0917, 3)
    return [a, tail(g, g.pair(g.op("Relu", a), 0.0517, -128))]


def view_of_another(g: Qdq, v: str) -> list[str]:
    a = g.pair(g.conv(v, pads=[1] * 4), 0.0917, 3)
    return [g.op("Flatten", a), a]


def two_names_of_one(g: Qdq, v: str) -> list[str]:
    a = g.pair(g.conv(v, pads=[1] * 4), 0.0917, 3)
    return [tail(g, a), g.op("Identity", a), g.op("Identity", a)]


def joined_and_part(g: Qdq, v: str) -> list[str]:
    a, b = (g.pair(g.conv(v, outputs=n, pads=[1] * 4), 0.0917, 3) for n in (4, 5))
    return [g.pair(g.op("Concat", a, b, axis=1), 0.0917, 3), b]


def one_value_in_two_scales(g: Qdq, v: str) -> list[str]:
    a = g.conv(v, pads=[1] * 4)
    return [g.pair(a, 0.0917, 3), g.pair(a, 0.0517, 1), tail(g, g.pair(a, 0.0717))]


def codes_of_the_input(g: Qdq, v: str) -> list[str]:
    return [tail(g, g.pair(g.conv(v), 0.0917)), v, g.op("Flatten", v)]


CASES: dict[Callable[[Qdq, str], list[str]], tuple[int, int]] = {
    two_heads: (3, 0),
    tap_behind_a_relu: (2, 0),
    tap_before_a_relu: (2, 0),
    view_of_another: (1, 1),
    two_names_of_one: (2, 1),
    joined_and_part: (2, 0),
    one_value_in_two_scales: (4, 0),
    codes_of_the_input: (2, 2),
}
"""Layers with weights, and slices that give a tensor a name of its own."""


def counts(network: Network) -> tuple[int, int]:
    kinds = [type(layer) for layer in network.layers]
    return kinds.count(Conv), kinds.count(Slice)


@pytest.mark.parametrize("case", CASES)
def test_every_output_agrees_with_onnxruntime(case: Callable[[Qdq, str], list[str]]) -> None:
    g, v = start()
    model = g.model(*case(g, v))
    network = importer.load(model)
    names = tuple(item.name for item in model.graph.output)
    assert network.outputs == names
    assert counts(network) == CASES[case]
    assert_agrees(model, network, images((3, 9, 9), 20, seed=3))


@pytest.mark.parametrize(
    "case",
    [two_heads, tap_behind_a_relu, tap_before_a_relu, view_of_another, joined_and_part],
)
def test_missing_quantizers_of_outputs_are_added(case: Callable[[Qdq, str], list[str]]) -> None:
    """As tools leave outputs: in float, also where a layer reads the quantized value."""
    g, v = start()
    model = g.model(*case(g, v))
    behind = {node.output[0]: node for node in model.graph.node}
    for item in model.graph.output:
        maker = behind[item.name]
        if maker.op_type == "DequantizeLinear":
            item.name = behind[maker.input[0]].input[0]
        else:
            maker.input[0] = behind[behind[maker.input[0]].input[0]].input[0]
    names = [item.name for item in model.graph.output]
    stored = {"x", *(item.name for item in model.graph.initializer)}
    needed = needed_nodes(model.graph, names, stored)
    del model.graph.node[:]
    model.graph.node.extend(needed)
    completed = quantize.complete(model, images((3, 9, 9), 20, seed=2))
    assert [item.name for item in completed.graph.output] == names
    network = importer.load(completed)
    assert list(network.outputs) == names
    assert counts(network) == CASES[case]
    assert_agrees(completed, network, images((3, 9, 9), 20, seed=3))


def test_an_inner_tensor_makes_room_for_an_output_of_its_name() -> None:
    """The value's tensor would be called as the output that another quantizer makes of it."""
    g, v = start()
    a = g.conv(v, pads=[1] * 4)
    inner, outer = g.pair(a, 0.0917, 3), g.pair(a, 0.0517, 1)
    model = g.model(tail(g, inner), g.op("Flatten", outer))
    network = importer.load(model)
    assert network.outputs == tuple(item.name for item in model.graph.output)
    assert_agrees(model, network, images((3, 9, 9), 20, seed=3))


def test_a_float_network_has_its_outputs_before_it_is_quantized() -> None:
    weight = onnx.numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> heads (float[n,3,6,6] x)'
        " => (float[n,4,6,6] y, float[n,144] z, float[n,4,6,6] a)"
        " { a = Conv(x, w) y = Relu(a) z = Flatten(y) }"
    )
    model.graph.initializer.append(weight)
    network = placeholder_network(model, "heads")
    assert network.outputs == ("y", "z", "a")
    assert network.output_views == ((4, 6, 6), (144,), (4, 6, 6))
    program = compile(network, configure("array"))
    assert list(program.outputs) == ["y", "z", "a"]
