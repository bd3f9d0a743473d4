"""Pruning of ONNX graphs: the groups that the array has, the errors that onnxruntime measures."""

import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

import float_graphs as graphs
from steelyard import quantize
from steelyard.balanced import FloatGraph, graph_sensitivity, prune_graph
from steelyard.compile import compile as compile_network
from steelyard.contract import configure
from steelyard.errors import UserError
from steelyard.importer import load

LAYERS = ["plain", "grouped", "wide", "dilated", "fc", "last"]


@pytest.fixture(scope="module")
def net():
    return graphs.network()


@pytest.fixture(scope="module")
def images():
    return graphs.images()


def values(model: onnx.ModelProto, x: np.ndarray, *names: str) -> list[np.ndarray]:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    return onnxruntime.InferenceSession(copy.SerializeToString()).run(None, {"x": x})


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}


def test_layers_are_found_and_others_named_with_the_reason(net, images):
    layers = FloatGraph(net, images).layers
    assert [layer.name for layer in layers.prunable] == LAYERS
    assert layers.left_dense == (("first", "first layer"), ("depthwise", "depthwise convolution"))
    asked = FloatGraph(net, images, exclude=["wide"], depthwise=True).layers
    assert [layer.name for layer in asked.prunable] == [
        "plain", "grouped", "depthwise", "dilated", "fc", "last",
    ]  # fmt: skip
    assert ("wide", "excluded") in asked.left_dense
    by_name = {layer.name: layer for layer in layers.prunable}
    assert by_name["fc"].source == (6, 5, 4)
    assert by_name["plain"].macs == 32 * 5 * 4 * 16 * 9
    sizes = [32 * 144, 32 * 72, 32 * 9, 64 * 16, 16 * 6 * 9, 120 * 20, 20 * 5]
    assert layers.weights_outside_first == sum(sizes)


def test_rows_are_weights_in_the_order_of_the_arrays_groups(net, images):
    graph = FloatGraph(net, images, depthwise=True)
    stored = constants(net)
    for layer in graph.layers.prunable:
        rows = graph.rows(layer)
        np.testing.assert_allclose(layer.from_rows(rows), stored[f"{layer.name}.w"], rtol=1e-6)
        if layer.name in ("dilated", "fc"):
            # A fully connected layer is the convolution whose kernel covers the map.
            weight = stored[f"{layer.name}.w"]
            as_map = weight if layer.name == "dilated" else 0.5 * weight.T.reshape(20, 6, 5, 4)
            expected = as_map.transpose(0, 2, 3, 1).reshape(rows.shape)
            np.testing.assert_allclose(rows, expected, rtol=1e-6)


@pytest.mark.parametrize("name", [*LAYERS, "depthwise"])
@pytest.mark.parametrize("method", ["magnitude", "reconstruct", "admm"])
def test_error_of_a_layer_is_what_its_output_misses(net, images, name, method):
    result = prune_graph(net, images, ks={name: 4}, method=method, depthwise=True)
    (report,) = result.layers
    output = {"fc": "fc.y", "last": "y"}.get(name, f"{name}.y")
    (wanted,), (found,) = values(net, images, output), values(result.model, images, output)
    # Outputs that have an offset vary about their mean, which the repair makes right.
    axes = tuple(axis for axis in range(wanted.ndim) if axis != 1)
    about = wanted.mean(axes, keepdims=True) if name != "last" else 0.0
    missed = np.square(wanted - found).sum() / np.square(wanted - about).sum()
    assert report.error == pytest.approx(missed, rel=1e-3)
    assert missed > 0
    if name != "last" and method != "magnitude":
        np.testing.assert_allclose(found.mean(axes), wanted.mean(axes), rtol=1e-3, atol=1e-4)


def test_repair_beats_the_largest_weights_in_every_layer(net, images):
    for name in LAYERS:
        misses = {
            method: prune_graph(net, images, ks={name: 4}, method=method).layers[0].error
            for method in ("magnitude", "reconstruct", "admm")
        }
        assert misses["reconstruct"] < misses["magnitude"], name
        assert misses["admm"] < misses["magnitude"], name


def test_compiled_layers_run_at_the_k_that_was_asked_for(net, images, tmp_path):
    ks = {"plain": 4, "grouped": 4, "wide": 2, "dilated": 3, "fc": 5, "last": 1}
    result = prune_graph(net, images, ks=ks)
    assert result.ks == ks
    zeros = constants(result.model)
    assert sum(int((zeros[f"{name}.w"] != 0).sum()) for name in ks) == sum(
        layer.kept for layer in result.layers
    )
    onnx.save(result.model, tmp_path / "p.onnx")
    network = load(quantize.quantize(tmp_path / "p.onnx", images))
    program = compile_network(network, configure())
    found = {row.name: row.k for row in program.layers if row.k}
    # A group of the array holds two of the grouped convolution's, of 8 channels each.
    assert {name: found[name] for name in ks} == {**ks, "grouped": 2}


def test_graph_stays_as_it_is_but_for_weights_and_biases(net, images):
    result = prune_graph(net, images, 0.5)
    kinds = [node.op_type for node in net.graph.node]
    assert [node.op_type for node in result.model.graph.node] == kinds
    onnx.checker.check_model(result.model, full_check=True)
    before, after = constants(net), constants(result.model)
    assert np.array_equal(before["first.w"], after["first.w"])
    assert np.array_equal(before["norm.s"], after["norm.s"])
    plain = next(node for node in result.model.graph.node if node.name == "plain")
    assert after[plain.input[2]].shape == (32,), "the mean of the outputs is kept by a bias"


def test_target_holds_for_weights_and_work(net, images):
    result = prune_graph(net, images, 0.6, work=0.3)
    assert result.sparsity >= 0.6
    assert result.work >= 0.3
    kept = sum(layer.kept for layer in result.layers)
    gone = sum(layer.weights for layer in result.layers) - kept
    assert result.sparsity == pytest.approx(
        gone / FloatGraph(net, images).layers.weights_outside_first
    )


def test_later_layers_are_fitted_to_what_pruned_ones_give(net, images):
    ks = dict.fromkeys(LAYERS, 4)
    (wanted,) = values(net, images, "y")
    missed = {
        way: np.square(
            values(prune_graph(net, images, ks=ks, sequential=way).model, images, "y")[0] - wanted
        ).sum()
        for way in (True, False)
    }
    assert missed[True] < missed[False]


def test_a_file_of_one_batch_size_is_pruned_alike(net, images):
    ks = {"plain": 4, "fc": 4}
    free = prune_graph(net, images, ks=ks)
    fixed = prune_graph(graphs.network(batch=7), images, ks=ks)
    for one, other in zip(free.layers, fixed.layers, strict=True):
        assert one.error == pytest.approx(other.error, rel=0.05)
    assert fixed.model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 7


def test_sensitivity_falls_with_every_weight_kept(net, images):
    damage = graph_sensitivity(FloatGraph(net, images), tried=(1, 4, 12))
    assert list(damage) == LAYERS
    for own in damage.values():
        assert own[1] > own[4] > own[12] > own[16] == 0.0


def test_sensitivity_is_the_change_of_the_outputs(net, images):
    """A layer of one weight a group, by hand: the largest product of weight and input."""
    damage = graph_sensitivity(FloatGraph(net, images), tried=(1,))["last"][1]
    inputs, clean = values(net, images, "fc.r", "y")
    weight = constants(net)["last.w"]
    changed = np.zeros_like(clean)
    for channel in range(5):
        score = np.abs(weight[:, channel]) * np.sqrt(np.square(inputs).mean(0))
        kept = [int(score[:16].argmax()), 16 + int(score[16:].argmax())]
        best, *_ = np.linalg.lstsq(inputs[:, kept], clean[:, channel])
        changed[:, channel] = inputs[:, kept] @ best
    expected = np.square(changed - clean).mean() / np.square(clean - clean.mean(0)).mean()
    assert damage == pytest.approx(expected, rel=0.05)


def test_same_seed_same_file(net, images):
    one, two = (prune_graph(net, images, ks={"wide": 4}, seed=3).model for _ in range(2))
    assert one.SerializeToString() == two.SerializeToString()


def test_a_weight_that_two_layers_share_stays_dense(images):
    net = graphs.network()
    nodes = {node.name: node for node in net.graph.node}
    nodes["fc"].input[1] = "last.w"
    net.graph.node.extend([helper.make_node("MatMul", ["y", "other.w"], ["z"], "other")])
    for item in net.graph.initializer:
        if item.name == "last.w":
            item.CopyFrom(numpy_helper.from_array(np.ones((120, 120), np.float32) / 120, "last.w"))
        if item.name == "fc.b":
            item.CopyFrom(numpy_helper.from_array(np.ones((1, 120), np.float32), "fc.b"))
    net.graph.initializer.append(
        numpy_helper.from_array(
            np.random.default_rng(0).normal(size=(120, 3)).astype("f"), "other.w"
        )
    )
    net.graph.output[0].name = "z"
    net.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    dense = dict(FloatGraph(net, images).layers.left_dense)
    assert dense["fc"] == dense["last"] == "its weight is used in other ways too"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"method": "finetune"}, "method 'finetune'; choose one of magnitude, reconstruct, admm"),
        ({"ks": {"first": 4}}, r"'first' cannot be pruned \(first layer\); choose among plain, "),
        ({"ks": {"nothing": 4}}, r"'nothing' cannot be pruned \(no such layer\)"),
        ({"ks": {"wide": 17}}, "'wide' asks for K = 17"),
        ({"exclude": ["nothing"]}, "layer 'nothing' is no convolution .* first, plain, grouped"),
        ({"sparsity": 1.0}, "must be at least 0 and below 1"),
        ({"sparsity": 0.99}, "The target sparsity 0.99 cannot be reached: K = 1 of 16"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_what_can(net, images, more, words):
    with pytest.raises(UserError, match=words):
        prune_graph(net, images, **more)


def test_a_quantized_graph_is_sent_back_to_the_float_one(net, images, tmp_path):
    onnx.save(net, tmp_path / "net.onnx")
    with pytest.raises(UserError, match="is quantized, pruned are float networks; prune the float"):
        prune_graph(onnx.load_from_string(quantize.quantize(tmp_path / "net.onnx", images)), images)


def test_a_graph_without_layers_has_nothing_to_prune(images):
    net = graphs.network()
    del net.graph.node[1:], net.graph.initializer[:]
    net.graph.node[0].CopyFrom(helper.make_node("Relu", ["x"], ["y"], "only"))
    with pytest.raises(UserError, match="there is nothing to prune"):
        FloatGraph(net, images)


def test_torch_is_not_imported(net, images, tmp_path):
    onnx.save(net, tmp_path / "net.onnx")
    np.save(tmp_path / "x.npy", images)
    code = (
        "import sys\n"
        "from steelyard_cli.app import main\n"
        "sys.argv = ['steelyard', 'prune', 'net.onnx', '--calibration', 'x.npy', '-o', 'p.onnx',"
        " '--sparsity', '0.5', '--sensitivity']\n"
        "try:\n    main()\n"
        "except SystemExit as error:\n    assert not error.code, error.code\n"
        "assert 'torch' not in sys.modules\n"
        "assert 'onnxruntime' in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "change of the outputs" in done.stdout
    assert (tmp_path / "p.onnx").exists()
