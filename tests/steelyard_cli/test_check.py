"""``steelyard check`` and networks whose end is left to the host, from check to run."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from qdq_graphs import Qdq, runtime_output
from steelyard.contract import AcceleratorConfig
from steelyard.program import HostPart, Program
from steelyard.quantize import export_onnx

from .conftest import small_model


@pytest.fixture
def classifier(work, tmp_path, monkeypatch) -> Path:
    """Float network with a Softmax at its end, in the current folder."""
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Sequential(*small_model(), torch.nn.Softmax(1))
    export_onnx(model, np.load(work.images), Path("float.onnx"))
    return tmp_path


def test_a_float_classifier_goes_from_check_to_run(steelyard, work, classifier):
    refused = steelyard("check", "float.onnx", "--json", "c.json")
    refused.refused("Softmax node", "leave it to the host with --cut ")
    advice = refused.err.split("--cut ")[1].strip().rstrip(".")
    document = json.loads(Path("c.json").read_text())
    assert len(document["obstacles"]) == 1 and document["estimate"] is None

    checked = steelyard("check", "float.onnx", "--cut", advice, "--json", "c.json")
    assert checked.status == 0, checked.err
    assert "The host computes Softmax of" in checked.err and "A float network" in checked.err
    assert "frames a second" in checked.out and "activation words" in checked.out
    document = json.loads(Path("c.json").read_text())
    assert document["host"]["operators"] == ["Softmax"] and not document["obstacles"]
    assert document["estimate"]["fits"] and document["estimate"]["frames_per_second"] > 0
    assert any(row["fits"] for row in document["boards"])
    bounds = {layer["bound"] for layer in document["estimate"]["layers"]}
    assert bounds <= {"engine", "loading", "draining", "vector unit"} and len(bounds) > 1

    quantized = steelyard(
        "quantize", "float.onnx", "--calibration", work.images, "-o", "q.onnx", "--cut", advice
    )
    assert quantized.status == 0, quantized.err
    assert "will not compile" not in quantized.err
    compiled = steelyard("compile", "q.onnx", "-o", "n.syp", "--cut", advice, "--json", "p.json")
    assert compiled.status == 0, compiled.err
    assert "the host computes Softmax of" in compiled.out
    assert json.loads(Path("p.json").read_text())["host"]["operators"] == ["Softmax"]
    on = ("--input", work.images, "--device", "golden")
    ran = steelyard("run", "n.syp", *on, "--output", "y.npy", "--check", "--json", "r.json")
    assert ran.status == 0, ran.err
    assert "the host computes Softmax of" in ran.out
    assert json.loads(Path("r.json").read_text())["host"]["operators"] == ["Softmax"]
    found = np.load("y.npy")
    x = np.load(work.images)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    assert np.abs(found - runtime_output(onnx.load("float.onnx"), x)).max() < 0.02
    # The same file in onnxruntime, the host's part behind the quantized one.
    assert np.abs(found - runtime_output(onnx.load("q.onnx"), x)).max() < 0.01

    raw = steelyard("run", "n.syp", *on, "--output", "scores.npy", "--no-host")
    assert raw.status == 0 and "the host computes" not in raw.out
    scores = np.load("scores.npy")
    wide = np.exp(scores - scores.max(1, keepdims=True))
    np.testing.assert_allclose(found, wide / wide.sum(1, keepdims=True), atol=1e-6)
    codes = steelyard("run", "n.syp", *on, "--output", "c.npy", "--no-host", "--json", "r.json")
    assert codes.status == 0 and json.loads(Path("r.json").read_text())["host"] is None


def qdq_classifier(*, batch: int | str = "batch") -> onnx.ModelProto:
    """Quantized classifier whose Softmax is quantized too and whose ArgMax ends it."""
    g = Qdq(3, 9, 9)
    y = g.pair(g.op("Relu", g.conv(g.pair("x", 0.02), pads=[1] * 4)), 0.05, -128)
    y = g.pair(g.op("Flatten", g.op("GlobalAveragePool", y)), 0.05, -128)
    codes = np.random.default_rng(11).integers(-127, 128, (5, 4), np.int8)
    y = g.pair(g.op("Gemm", y, g.weight(codes, 0.002), transB=1), 0.05)
    y = g.pair(g.op("Softmax", y), 1 / 256, -128)
    model = g.model(g.op("ArgMax", y, axis=1, keepdims=1))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    if batch != "batch":
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
    return model


@pytest.mark.parametrize("batch", ["batch", 2])
def test_a_quantized_classifier_goes_from_check_to_run(steelyard, tmp_path, monkeypatch, batch):
    monkeypatch.chdir(tmp_path)
    model = qdq_classifier(batch=batch)
    onnx.save(model, "q.onnx")
    x = 2 * np.random.default_rng(1).standard_normal((6, 3, 1, 1)).astype(np.float32)
    x = np.broadcast_to(x, (6, 3, 9, 9)).copy()
    np.save("x.npy", x)
    for command in (("check", "q.onnx"), ("compile", "q.onnx", "-o", "n.syp")):
        refused = steelyard(*command)
        refused.refused("2 obstacles above", "leave it to the host with --cut ")
        lines = [line for line in refused.err.splitlines() if line.startswith("obstacle: ")]
        assert len(lines) == 2 and "Softmax" in lines[0] and "ArgMax" in lines[1]
        cuts = {line.split("--cut ")[1].rstrip(".") for line in lines}
        assert len(cuts) == 1
    assert not Path("n.syp").exists()
    cut = cuts.pop()
    assert steelyard("check", "q.onnx", "--cut", cut, "--board", "ulx3s_85f").status == 0
    compiled = steelyard("compile", "q.onnx", "-o", "n.syp", "--cut", cut)
    assert compiled.status == 0, compiled.err
    ran = steelyard("run", "n.syp", "--input", "x.npy", "--output", "y.npy", "--device", "golden")
    assert ran.status == 0, ran.err
    found = np.load("y.npy")
    step = 1 if batch == "batch" else batch
    expected = np.concatenate(
        [runtime_output(model, x[i : i + step]) for i in range(0, len(x), step)]
    )
    assert found.dtype == np.int64 and found.shape == expected.shape == (6, 1)
    np.testing.assert_array_equal(found, expected)
    assert len(set(found.ravel().tolist())) > 1


def test_a_last_batch_that_is_short_is_filled_for_the_host(steelyard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(qdq_classifier(batch=4), "q.onnx")
    x = np.random.default_rng(1).standard_normal((6, 3, 9, 9)).astype(np.float32)
    np.save("x.npy", x)
    assert steelyard("compile", "q.onnx", "-o", "n.syp", "--cut", "Softmax").status == 0
    on = ("--input", "x.npy", "--device", "golden", "--output", "y.npy")
    assert steelyard("run", "n.syp", *on).status == 0
    assert np.load("y.npy").shape == (6, 1)


def test_run_says_how_to_install_onnxruntime(steelyard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(qdq_classifier(), "q.onnx")
    np.save("x.npy", np.zeros((1, 3, 9, 9), np.float32))
    assert steelyard("compile", "q.onnx", "-o", "n.syp", "--cut", "Softmax").status == 0
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    on = ("--input", "x.npy", "--device", "golden", "--output", "y.npy")
    steelyard("run", "n.syp", *on).refused(
        "Softmax", "pip install 'steelyard[import]'", "--no-host"
    )
    assert not Path("y.npy").exists()
    assert steelyard("run", "n.syp", *on, "--no-host").status == 0


def test_a_host_part_that_onnxruntime_cannot_take_is_refused(steelyard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = qdq_classifier()
    next(n for n in model.graph.node if n.op_type == "ArgMax").op_type = "Nothing"
    onnx.save(model, "q.onnx")
    np.save("x.npy", np.zeros((1, 3, 9, 9), np.float32))
    assert steelyard("compile", "q.onnx", "-o", "n.syp", "--cut", "Softmax").status == 0
    on = ("--input", "x.npy", "--device", "golden", "--output", "y.npy")
    steelyard("run", "n.syp", *on).refused("cannot be run by onnxruntime", "--no-host")


def test_check_says_why_a_named_board_or_configuration_does_not_do(
    steelyard, work, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    config = AcceleratorConfig.from_toml(work.config)
    config.with_(activation_words=16, weight_words=32).to_toml("small.toml")
    found = steelyard("check", work.int8_onnx, "--config", "small.toml", "--json", "c.json")
    found.refused("activation words", "weight words", "too many")
    document = json.loads(Path("c.json").read_text())
    assert not document["estimate"]["fits"] and len(document["problems"]) == 1
    assert "frames a second" not in found.out and "cycles a batch" in found.out
    assert steelyard("check", work.int8_onnx, "--config", work.config).status == 0
    steelyard("check", work.int8_onnx, "--board", "icebreaker").refused("no vector unit")
    steelyard("check", work.int8_onnx, "--board", "none").refused("There is no board 'none'")


def test_cycles_that_check_prints_are_those_of_the_program(steelyard, work, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from steelyard.compile.cycles import predict_program

    checked = steelyard("check", work.int8_onnx, "--config", work.config, "--batch", 3)
    assert checked.status == 0, checked.err
    cycles = predict_program(Program.load(work.program))
    assert f"{cycles:,} cycles a batch" in checked.out


def fully_connected(inputs, outputs, path):
    weight = np.random.default_rng(0).standard_normal((outputs, inputs)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"], "fc", transB=1)],
        "wide",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("n", inputs))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("n", outputs))],
        [numpy_helper.from_array(weight, "w")],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def test_a_network_that_no_board_holds_is_estimated_on_larger_memories(
    steelyard, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    fully_connected(60_000, 8, "wide.onnx")
    found = steelyard("check", "wide.onnx", "--json", "c.json")
    assert found.status == 0, found.err
    assert "No board's own configuration holds the network" in found.err
    assert "they are dense" in found.err
    document = json.loads(Path("c.json").read_text())
    assert not any(row["fits"] for row in document["boards"])
    assert not document["estimate"]["fits"]


def test_weights_that_fit_no_chip_are_told_to_come_from_the_sdram(steelyard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fully_connected(4096, 600, "wide.onnx")
    found = steelyard("check", "wide.onnx", "--json", "c.json")
    assert found.status == 0, found.err
    document = json.loads(Path("c.json").read_text())
    outside = [row["board"] for row in document["boards"] if row["external_memory"]]
    assert f"With SDRAM: 'steelyard boards {outside[0]} --external -o FILE' writes" in found.out
    assert "bytes a batch from external memory" in found.out
    # Whose descriptors come in turn, where they are more than fit.
    assert [row["board"] for row in document["boards"] if row["fits"]] == outside
    assert "ulx3s_85f" in outside


def test_a_board_whose_sdram_holds_a_network_is_said_to(steelyard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fully_connected(4096, 600, "wide.onnx")
    np.save("x.npy", np.random.default_rng(1).standard_normal((8, 4096)).astype(np.float32))
    quantized = steelyard("quantize", "wide.onnx", "--calibration", "x.npy", "-o", "int8.onnx")
    assert quantized.status == 0, quantized.err
    checked = steelyard("check", "int8.onnx", "--board", "ulx3s_85f")
    assert checked.status == 2
    assert "The SDRAM of board 'ulx3s_85f' holds the network: write that" in checked.err
    compiled = ("compile", "int8.onnx", "-o", "net.syp", "--board", "ulx3s_85f")
    found = steelyard(*compiled)
    assert re.search(r"'steelyard boards .*?' and give '.*?'", found.err)[0] in checked.err
    found.refused("the SDRAM of board 'ulx3s_85f' holds it: write that configuration with")
    advice = re.search(r"'steelyard (boards .*?)' and give '(--board .*?)'", found.err)
    assert advice is not None
    assert steelyard(*advice[1].split()).status == 0
    made = steelyard(*compiled[:4], *advice[2].split())
    assert made.status == 0, made.err
    assert Program.load(tmp_path / "net.syp").external.size


def test_quantize_says_all_that_compile_will_refuse_before_it_works(
    steelyard, work, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Sequential(
        *small_model()[:2], torch.nn.Softmax2d(), torch.nn.Conv2d(4, 4, 3, stride=(1, 5)),
        torch.nn.Flatten(), torch.nn.LogSoftmax(1),
    )  # fmt: skip
    export_onnx(model, np.load(work.images), Path("f.onnx"))
    found = steelyard("quantize", "f.onnx", "--calibration", work.images, "-o", "q.onnx")
    lines = [line for line in found.err.splitlines() if "will not compile" in line]
    assert len(lines) == 3, found.err
    for line, word in zip(lines, ("Softmax", "stride", "LogSoftmax"), strict=True):
        assert word in line


def test_a_cut_that_leaves_nothing_to_the_accelerator_is_refused(steelyard, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    g = Qdq(3, 9, 9)
    value = g.pair("x", 0.02, 5)
    onnx.save(g.model(g.pair(g.conv(value), 0.1)), "q.onnx")
    cut = ("--cut", value)
    steelyard("check", "q.onnx", *cut).refused(
        "Network 'q' has no layer for the accelerator, at least one is needed; cut it farther "
    )
    steelyard("compile", "q.onnx", "-o", "n.syp", *cut).refused(
        "has no layer that takes any time, at least one is needed; add one, or leave less of"
    )
    assert not Path("n.syp").exists()
    whole = Qdq(3, 9, 9)
    onnx.save(whole.model(whole.pair("x", 0.02, 5)), "nothing.onnx")
    steelyard("check", "nothing.onnx").refused("no layer for the accelerator", "export the whole")


def test_a_host_part_that_computes_nothing_is_said_to(tmp_path):
    assert HostPart(b"", (), ("y",), ()).title == "nothing of nothing"
