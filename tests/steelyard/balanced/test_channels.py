"""Whole channels out of ONNX graphs: physically, with everything that they are tied to."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import float_graphs
from steelyard import quantize
from steelyard.balanced import FloatGraph, prune_graph, remove_channels
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.errors import UserError
from steelyard.importer import load

DEAD = {"c1": (2, 5), "c3": (1, 12), "c4": (0, 7), "c6": (3,), "up": (4, 9), "fc": (0, 6)}
"""Output channels that nothing weighs in, by the layer that makes them."""


def network(seed: int = 0) -> onnx.ModelProto:
    """Every operator that channels are followed through; channels of ``DEAD`` count for nothing."""
    rng = np.random.default_rng(seed)
    nodes, constants = [], {}

    def constant(name, values):
        dtype = np.int64 if np.asarray(values).dtype.kind == "i" else np.float32
        constants[name] = np.asarray(values, dtype)
        return name

    def weights(name, *shape):
        fan = max(1, np.prod(shape[1:], dtype=int))
        return constant(name, rng.normal(size=shape) / np.sqrt(fan))

    def node(kind, inputs, output, **more):
        nodes.append(helper.make_node(kind, inputs, [output], f"n_{output}", **more))
        return output

    def conv(name, x, ic, oc, kernel=3, group=1, **more):
        names = [x, weights(f"{name}.w", oc, ic // group, kernel, kernel), weights(f"{name}.b", oc)]
        nodes.append(helper.make_node("Conv", names, [f"{name}.y"], name, group=group, **more))
        return f"{name}.y"

    pads = {"pads": [1, 1, 1, 1]}
    c1 = node("Relu", [conv("c1", "x", 3, 16, **pads)], "c1.r")
    x = node("Add", [c1, conv("c2", c1, 16, 16, **pads)], "sum")
    x = node("Clip", [x, constant("lo", 0.0), constant("hi", 6.0)], "sum.r")
    x = node("Pad", [x, constant("padding", [0, 0, 1, 1, 0, 0, 1, 1])], "padded")
    x = conv("c3", x, 16, 24, strides=[2, 2])
    x = node("PRelu", [x, weights("slope", 24, 1, 1)], "c3.r")
    nodes.append(
        helper.make_node("Split", [x, constant("sizes", [10, 14])], ["a", "b"], "split", axis=1)
    )
    a = node("Relu", [conv("c4", "a", 10, 12, **pads)], "c4.r")
    b = conv("single", "b", 14, 14, group=14, **pads)
    x = node("Concat", [a, b], "joined", axis=1)
    names = [weights(f"bn.{n}", 26) for n in "sbm"]
    constant("bn.v", np.full(26, 0.5))
    x = node("BatchNormalization", [x, *names, "bn.v"], "bn")
    x = node("Mul", [x, weights("factor", 1, 26, 1, 1)], "scaled")
    ends = [constant(n, v) for n, v in (("from", [3]), ("to", [24]), ("axes", [1]))]
    x = node("Slice", [x, *ends], "cut")
    x = node("Relu", [conv("c6", x, 21, 16, kernel=1)], "c6.r")
    x = node("Resize", [x, "", "", constant("grown", [1, 16, 8, 8])], "grown.y", mode="nearest")
    gate = node("ReduceMean", [x], "mean", axes=[2, 3])
    gate = node("Sigmoid", [conv("gate", gate, 16, 16, kernel=1)], "gate.s")
    x = node("Mul", [x, gate], "gated")
    names = [x, weights("up.w", 16, 12, 2, 2), weights("up.b", 12)]
    nodes.append(helper.make_node("ConvTranspose", names, ["up.y"], "up", strides=[2, 2]))
    x = node("MaxPool", ["up.y"], "pooled", kernel_shape=[4, 4], strides=[4, 4])
    x = node("Reshape", [x, constant("flat", [1, 192])], "vector")
    names = [x, weights("fc.w", 20, 192), weights("fc.b", 1, 20)]
    nodes.append(helper.make_node("Gemm", names, ["fc.y"], "fc", transB=1))
    x = node("Relu", ["fc.y"], "fc.r")
    nodes.append(helper.make_node("MatMul", [x, weights("last.w", 20, 5)], ["y"], "last"))

    # A channel counts for nothing if no weight but its bias makes it and no weight reads it.
    for name in ("c1", "c2"):
        constants[f"{name}.w"][list(DEAD["c1"])] = 0
    for name in ("c2", "c3"):
        constants[f"{name}.w"][:, list(DEAD["c1"])] = 0
    constants["c3.w"][list(DEAD["c3"])] = 0
    constants["c4.w"][:, 1] = 0
    constants["single.w"][2] = 0
    constants["c4.w"][list(DEAD["c4"])] = 0
    # The slice begins at channel 3 of the join, so that the first dead one is cut away.
    constants["c6.w"][:, [7 - 3, 12 + 2 - 3]] = 0
    for name in ("c6", "gate"):
        constants[f"{name}.w"][list(DEAD["c6"])] = 0
    constants["gate.w"][:, list(DEAD["c6"])] = 0
    constants["up.w"][list(DEAD["c6"])] = 0
    constants["up.w"][:, list(DEAD["up"])] = 0
    for channel in DEAD["up"]:
        constants["fc.w"][:, 16 * channel : 16 * channel + 16] = 0
    constants["fc.w"][list(DEAD["fc"])] = 0
    constants["last.w"][list(DEAD["fc"])] = 0
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "followed",
        [value("x", TensorProto.FLOAT, (1, 3, 8, 8))],
        [value("y", TensorProto.FLOAT, (1, 5))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).normal(size=(12, 3, 8, 8)).astype(np.float32)


def scores(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return np.concatenate([session.run(None, {"x": image[None]})[0] for image in images])


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}


def dead_share(graph: FloatGraph) -> float:
    """Share of the weights outside the first layer that go with the dead channels."""
    sizes = {
        "c2": (16, 16, 9), "c3": (24, 16, 9), "c4": (12, 10, 9), "single": (14, 1, 9),
        "c6": (16, 21, 1), "gate": (16, 16, 1), "up": (12, 16, 4), "fc": (20, 192, 1),
        "last": (5, 20, 1),
    }  # fmt: skip
    gone = {
        "c2": (2, 2), "c3": (2, 2), "c4": (2, 1), "single": (1, 0), "c6": (1, 2), "gate": (1, 1),
        "up": (2, 1), "fc": (2, 32), "last": (0, 2),
    }  # fmt: skip
    left = sum((o - gone[n][0]) * (i - gone[n][1]) * t for n, (o, i, t) in sizes.items())
    total = sum(o * i * t for o, i, t in sizes.values())
    assert total == graph.layers.weights_outside_first
    return 1 - left / total


def test_channels_that_count_for_nothing_go_and_change_nothing(images):
    net = network()
    graph = FloatGraph(net, images)
    share = dead_share(graph)
    thin = remove_channels(graph, share - 1e-9)
    assert thin.share == pytest.approx(share)
    lost = {name: before - after for name, before, after in thin.layers}
    assert lost == {"c1": 2, "c2": 2, "c3": 2, "c4": 2, "single": 1, "c6": 1, "gate": 1, "up": 2,
                    "fc": 2}  # fmt: skip
    for name, channels in DEAD.items():
        assert not set(channels) & set(thin.kept[name].tolist())
    onnx.checker.check_model(thin.model, full_check=True)
    np.testing.assert_allclose(scores(thin.model, images), scores(net, images), atol=1e-5)
    assert not thin.whole


def test_removal_is_physical_and_what_is_left_is_as_it_was(images):
    net = network()
    graph = FloatGraph(net, images)
    thin = remove_channels(graph, 0.5)
    assert thin.share >= 0.5
    left = FloatGraph(thin.model, images).layers.weights_outside_first
    assert left == pytest.approx((1 - thin.share) * graph.layers.weights_outside_first)
    kept = np.ix_(thin.kept["c2"], thin.kept["c1"])
    np.testing.assert_array_equal(
        next(a for n, a in constants(thin.model).items() if n.startswith("c2/kept/1")),
        constants(net)["c2.w"][kept],
    )
    assert scores(thin.model, images).shape == (12, 5)
    for _, before, after in thin.layers:
        assert before / 8 <= after < before


def test_repair_brings_back_what_removal_costs(images):
    net = network(seed=5)
    more = np.random.default_rng(4).normal(size=(60, 3, 8, 8)).astype(np.float32)
    thin = remove_channels(FloatGraph(net, more), 0.5)
    repaired = prune_graph(net, more, 0.5, channels=0.5, work=0.0)
    assert repaired.channels == thin.layers
    clean = scores(net, images)
    bare, fitted = (
        np.square(scores(model, images) - clean).sum() for model in (thin.model, repaired.model)
    )
    assert fitted < bare / 2


def test_groups_come_on_top_of_channels_and_the_target_counts_both(images):
    more = np.random.default_rng(4).normal(size=(40, 3, 8, 8)).astype(np.float32)
    net = network()
    result = prune_graph(net, more, 0.6, channels=0.2, work=0.0)
    total = FloatGraph(net, more).layers.weights_outside_first
    first = result.model.graph.node[0].name
    live = sum(
        int((constants(result.model)[node.input[1]] != 0).sum())
        for node in result.model.graph.node
        if node.op_type in ("Conv", "Gemm", "MatMul", "ConvTranspose") and node.name != first
    )
    assert first == "c1"
    assert result.sparsity >= 0.6
    assert live <= (1 - result.sparsity) * total + 1e-6


def test_a_thinner_network_is_quantized_and_compiled_like_any(tmp_path):
    net, images = float_graphs.network(), float_graphs.images()
    result = prune_graph(net, images, 0.6, channels=0.3, work=0.0)
    onnx.save(result.model, tmp_path / "thin.onnx")
    found = load(quantize.quantize(tmp_path / "thin.onnx", images))
    kept = {name: after for name, _, after in result.channels}
    assert {"first", "wide", "dilated"} & kept.keys()
    layers = {layer.name: layer for layer in found.layers}
    assert all(len(layers[name].weight) == after for name, after in kept.items())
    rows = {row.name: row.k for row in compile(found, configure()).layers}
    # A group of the array holds two of the grouped convolution's.
    assert all(rows[name] <= k for name, k in result.ks.items())


def test_what_is_not_followed_holds_its_channels_and_is_named():
    net, images = float_graphs.network(), float_graphs.images()
    thin = remove_channels(FloatGraph(net, images), 0.2)
    assert thin.whole == {"grouped": "Conv is not followed"}
    assert len(thin.kept["plain"]) == len(thin.kept["grouped"]) == 32
    with pytest.raises(
        UserError, match=r"at most 0\.\d+ of .* not 0\.97: .* held by grouped \(Conv"
    ):
        remove_channels(FloatGraph(net, images), 0.97)


def test_excluded_layers_keep_inputs_and_outputs(images):
    thin = remove_channels(FloatGraph(network(), images, exclude=["c4"]), 0.2)
    assert thin.whole["c4"] == "excluded"
    assert len(thin.kept["c4"]) == 12
    assert set(range(10)) <= set(thin.kept["c3"].tolist())


def test_magnitude_is_refused_with_channels(images):
    with pytest.raises(UserError, match="choose reconstruct or admm, or leave --channels out"):
        prune_graph(network(), images, channels=0.2, method="magnitude")
