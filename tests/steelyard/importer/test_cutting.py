"""Networks cut in two: both parts together compute what the network computed."""

import time

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from steelyard.errors import UserError
from steelyard.importer.cutting import cut, joined, offers
from steelyard.importer.obstacles import obstacles

RNG = np.random.default_rng(4)


def classifier(*tail: onnx.NodeProto, output: str = "prob", batch="n") -> onnx.ModelProto:
    """Convolution, map average, fully connected layer 'logits', and a tail."""
    weights = {
        "w": RNG.standard_normal((4, 2, 3, 3)),
        "m": RNG.standard_normal((5, 4)),
        "half": np.full(1, 0.5),
    }
    column = numpy_helper.from_array(np.array([-1, 1]), "column")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "conv", pads=[1] * 4),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("GlobalAveragePool", ["b"], ["c"], "pool"),
        helper.make_node("Flatten", ["c"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "m"], ["logits"], "fc", transB=1),
        *tail,
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (batch, 2, 6, 6))],
        [helper.make_empty_tensor_value_info(name) for name in output.split()],
        [*(numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()), column],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


SOFTMAX = helper.make_node("Softmax", ["logits"], ["prob"], "softmax")
SCALED = (
    helper.make_node("Mul", ["logits", "half"], ["scaled"], "scale"),
    helper.make_node("Softmax", ["scaled"], ["s"]),
    helper.make_node("ArgMax", ["s"], ["prob"], "best", axis=1),
)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return results(model, {model.graph.input[0].name: x})[model.graph.output[0].name]


def results(model: onnx.ModelProto, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    names = [item.name for item in model.graph.output]
    return dict(zip(names, session.run(names, given), strict=True))


@pytest.mark.parametrize(
    ("tail", "name", "value", "operators"),
    [
        ((SOFTMAX,), "softmax", "logits", ("Softmax",)),
        ((SOFTMAX,), "logits", "logits", ("Softmax",)),
        ((SOFTMAX,), "Softmax", "logits", ("Softmax",)),
        (SCALED, "s", "s", ("ArgMax",)),
        (SCALED, "scale", "logits", ("Mul", "Softmax", "ArgMax")),
        (SCALED, "softmax", "scaled", ("Softmax", "ArgMax")),
        ((SOFTMAX,), "flat", "c", ("Flatten", "Gemm", "Softmax")),
    ],
)
def test_the_parts_compute_what_the_network_computed(tail, name, value, operators):
    model = classifier(*tail)
    parts = cut(model, name)
    assert (parts.values, parts.operators) == ((value,), operators)
    x = RNG.standard_normal((3, 2, 6, 6)).astype(np.float32)
    expected = run(model, x)
    np.testing.assert_array_equal(run(parts.host, run(parts.network, x)), expected)
    np.testing.assert_array_equal(run(joined(parts.network, parts), x), expected)
    used = {name for node in parts.host.graph.node for name in node.input}
    assert {item.name for item in parts.host.graph.initializer} == {"m", "half"} & used


def test_joining_renames_what_both_parts_call_alike():
    model = classifier(*SCALED)
    parts = cut(model, "scale")
    network = onnx.ModelProto()
    network.CopyFrom(parts.network)
    # As a quantizer that happens to name its constant so.
    network.graph.initializer.append(numpy_helper.from_array(np.float32(7), "half"))
    network.graph.node.append(helper.make_node("Identity", ["half"], ["scaled"]))
    x = RNG.standard_normal((2, 2, 6, 6)).astype(np.float32)
    np.testing.assert_array_equal(run(joined(network, parts), x), run(model, x))


TWO = (SOFTMAX, helper.make_node("Sigmoid", ["logits"], ["other"], "sigmoid"))
SKIP = (
    helper.make_node("Flatten", ["b"], ["wide"], "wide"),
    helper.make_node("ReduceMax", ["wide"], ["top"], "top", axes=[1], keepdims=1),
    helper.make_node("Add", ["logits", "top"], ["sum"], "sum"),
    helper.make_node("Softmax", ["sum"], ["prob"], "softmax"),
)


@pytest.mark.parametrize(
    ("tail", "output", "names", "values", "operators", "direct"),
    [
        # What the host's nodes read of the rest are values too.
        (SKIP, "prob", "logits", ("logits", "top"), ("Add", "Softmax"), ()),
        (SKIP, "prob", "sum", ("logits", "top"), ("Add", "Softmax"), ()),
        (SKIP, "prob", "top", ("wide", "logits"), ("ReduceMax", "Add", "Softmax"), ()),
        # A value's readers are all the host's, a node is alone.
        (TWO, "prob other", "logits", ("logits",), ("Softmax", "Sigmoid"), ()),
        (TWO, "prob other", "sigmoid", ("logits",), ("Sigmoid",), ("prob",)),
        (TWO, "prob other", ["softmax", "sigmoid"], ("logits",), ("Softmax", "Sigmoid"), ()),
        # Outputs that are read on, that pass by, and that are values.
        (TWO, "other logits prob", "softmax", ("logits",), ("Softmax",), ("other", "logits")),
        (SKIP, "b prob top", "sum", ("logits", "top"), ("Add", "Softmax"), ("b", "top")),
        (SKIP, "sum prob", ["softmax"], ("sum",), ("Softmax",), ("sum",)),
    ],
)
def test_parts_of_several_values_and_outputs(tail, output, names, values, operators, direct):
    model = classifier(*tail, output=output)
    parts = cut(model, names)
    assert (parts.values, parts.operators) == (values, operators)
    assert parts.outputs == tuple(output.split())
    given = [item.name for item in parts.network.graph.output]
    assert given == [*direct, *(name for name in values if name not in direct)]
    x = RNG.standard_normal((3, 2, 6, 6)).astype(np.float32)
    expected = results(model, {"x": x})
    inner = results(parts.network, {"x": x})
    found = inner | results(parts.host, {name: inner[name] for name in values})
    whole = joined(parts.network, parts)
    assert [item.name for item in whole.graph.output] == output.split()
    for name, right in expected.items():
        np.testing.assert_array_equal(found[name], right)
        np.testing.assert_array_equal(results(whole, {"x": x})[name], right)


EARLY = (
    helper.make_node("ReduceMax", ["x"], ["most"], "most", axes=[1, 2, 3], keepdims=0),
    helper.make_node("Reshape", ["most", "column"], ["column of most"], "column of most"),
    helper.make_node("Add", ["logits", "column of most"], ["prob"], "add"),
)


@pytest.mark.parametrize(
    ("tail", "output", "name", "words"),
    [
        ((SOFTMAX,), "prob", "none", "no node or computed value 'none'"),
        ((SOFTMAX,), "prob", "x", "Conv node 'conv' behind it reads the network's input 'x'"),
        ((SOFTMAX,), "prob", "conv", "name a value or node behind that one"),
        ((SOFTMAX,), "prob", "prob", "at 'prob', its output"),
        ((SOFTMAX,), "prob", "w", "no node or computed value 'w'"),
        (TWO, "prob other", "other", "at 'other', its output"),
        (TWO, "prob", "other", "which no output needs"),
        (TWO, "prob", "sigmoid", "which no output needs"),
        (EARLY, "prob", "most", "ReduceMax node 'most' behind it reads the network's input"),
    ],
)
def test_a_network_that_does_not_fall_in_two_there_is_refused(tail, output, name, words):
    with pytest.raises(UserError) as caught:
        cut(classifier(*tail, output=output), name)
    assert words in str(caught.value) and "; " in str(caught.value)


def test_the_host_takes_along_what_computes_its_constants():
    """A Constant node that both parts read is in both."""
    shared = helper.make_node("Constant", [], ["third"], "third", value_float=0.3)
    scaled = helper.make_node("Mul", ["logits", "third"], ["less"], "less")
    model = classifier(shared, scaled, helper.make_node("Sub", ["less", "third"], ["prob"], "sub"))
    parts = cut(model, "sub")
    assert [node.name for node in parts.host.graph.node] == ["third", "sub"]
    x = RNG.standard_normal((2, 2, 6, 6)).astype(np.float32)
    np.testing.assert_array_equal(run(joined(parts.network, parts), x), run(model, x))


def test_offers_name_the_cut_that_leaves_all_of_a_tail_to_the_host():
    model = classifier(*SCALED)
    # The node without a name is offered by the value that it reads.
    assert offers(model, ["s", "prob"]) == {"s": "scaled", "prob": "scaled"}
    assert offers(model, ["prob"]) == {"prob": "best"}
    # A part with a layer that has weights is the accelerator's work.
    assert offers(model, ["c"]) == {}


def test_offers_of_several_outputs_are_apart():
    model = classifier(*TWO, output="prob other")
    assert offers(model, ["prob", "other"]) == {"prob": "softmax", "other": "sigmoid"}
    skipping = classifier(*SKIP, output="b prob")
    assert offers(skipping, ["sum", "prob"]) == {"sum": "sum", "prob": "sum"}


def test_whoever_follows_an_offer_has_no_obstacle_left():
    model = classifier(*SCALED)
    found = obstacles(model)
    assert len(found) == 2 and all("leave it to the host with --cut scaled." in s for s in found)
    assert obstacles(cut(model, "scaled").network) == []


def test_an_offer_is_quoted_as_a_shell_takes_it():
    odd = helper.make_node("Softmax", ["logits"], ["prob"], "my softmax")
    (found,) = obstacles(classifier(odd))
    assert found.endswith("--cut 'my softmax'.")


def test_a_name_that_a_node_lists_many_times_takes_no_longer() -> None:
    model = classifier(SOFTMAX)
    model.graph.node[1].input.extend(["a"] * 30_000)
    started = time.process_time()
    assert offers(model, ["b"]) == {}
    assert time.process_time() - started < 5
