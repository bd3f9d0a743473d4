"""Networks of several outputs on devices, and what a run writes of them."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from steelyard import driver
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.network import NetworkBuilder, Slice, golden
from steelyard.network.random import random_input
from steelyard.quantize import export_onnx

CONFIG = configure("array")


@pytest.fixture(scope="module")
def program():
    builder = NetworkBuilder("two", (3, 6, 6), scale=0.5, zero_point=7)
    rng = np.random.default_rng(3)
    weight = rng.integers(-127, 128, (5, 3, 3, 3)).astype(np.int8)
    first = builder.conv(weight, padding=1, weight_scale=0.01, scale=2.0, name="first")
    builder.max_pool(2, first, stride=2, name="second")
    builder.append(Slice, first, first=2, count=2, name="third")
    network = builder.network("second", "third", "first", output_views=((5, 9), (2, 6, 6), (180,)))
    return compile(network, CONFIG, batch=2)


@pytest.mark.parametrize("device", ["golden", "sim"])
def test_every_device_gives_all_outputs(program, device):
    x = random_input(program.network, 5, 1)
    wanted = golden.run(program.network, x, trace=True)
    with driver.open(device, config=CONFIG) as found:
        found.load(program)
        outputs = found.infer_outputs(x)
        assert list(outputs) == ["second", "third", "first"]
        assert all(np.array_equal(values, wanted[name]) for name, values in outputs.items())
        assert np.array_equal(found.infer(x), wanted["second"])
        assert driver.check(program, x, found) is None
        assert driver.check_known_answer(program, found) is None


def test_a_difference_in_a_further_output_is_found(program):
    class Wrong(driver.GoldenDevice):
        def read_outputs(self):
            outputs = super().read_outputs()
            outputs["third"] = outputs["third"] ^ 1
            return outputs

    found = driver.check(program, random_input(program.network, 2, 1), Wrong())
    assert found is not None
    assert (found.layer, found.differing) == ("third", 2 * 2 * 36)


@pytest.mark.parametrize("raw", [False, True])
def test_every_output_comes_out_with_channels_last(tmp_path, steelyard, raw):
    builder = NetworkBuilder("last", (2, 6, 4), scale=0.5, zero_point=7)
    rng = np.random.default_rng(4)
    weight = rng.integers(-127, 128, (5, 2, 3, 3)).astype(np.int8)
    builder.conv(weight, padding=1, weight_scale=0.01, scale=2.0, name="map")
    builder.max_pool(2, "map", stride=2, name="flat")
    network = builder.network(
        "flat",
        "map",
        input_view=(6, 4, 2),
        output_views=((30,), (6, 4, 5)),
        input_last=True,
        outputs_last=(True, True),
    )
    compile(network, CONFIG, batch=2).save(tmp_path / "net.syp")
    codes = rng.integers(-128, 128, (3, 6, 4, 2)).astype(np.int8)
    np.save(tmp_path / "x.npy", codes if raw else network.tensor("input").dequantize(codes))
    written = steelyard(
        "run", tmp_path / "net.syp", "--device", "golden", "--check", "--input", tmp_path / "x.npy",
        "--output", tmp_path / "y.npz", *["--raw"] * raw,
    )  # fmt: skip
    assert written.status == 0, written.err
    wanted = golden.run(network, np.ascontiguousarray(codes.transpose(0, 3, 1, 2)), trace=True)
    with np.load(tmp_path / "y.npz") as found:
        assert list(found) == ["flat", "map"]
        for name, view in zip(network.outputs, network.output_views, strict=True):
            values = wanted[name].transpose(0, 2, 3, 1).reshape(3, *view)
            expected = values if raw else network.tensor(name).dequantize(values)
            assert found[name].dtype == expected.dtype
            assert np.array_equal(found[name], expected)


def test_a_run_writes_all_outputs_in_real_units(program, tmp_path, steelyard):
    program.save(tmp_path / "net.syp")
    x = np.random.default_rng(2).normal(size=(3, 3, 6, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    command = ["run", tmp_path / "net.syp", "--device", "golden", "--input", tmp_path / "x.npy"]
    steelyard(*command, "--output", tmp_path / "y.npy").refused("3 outputs", ".npz")
    assert steelyard(*command, "--output", tmp_path / "y.npz").status == 0
    with np.load(tmp_path / "y.npz") as written:
        assert {name: written[name].shape for name in written} == {
            "second": (3, 5, 9), "third": (3, 2, 6, 6), "first": (3, 180),
        }  # fmt: skip
        codes = program.network.tensor("first").quantize(written["first"].reshape(3, 5, 6, 6))
    x8 = driver.float_codes(program.network, x)
    assert np.array_equal(codes, golden.run(program.network, x8, trace=True)["first"])


class Detector(nn.Module):
    """Two maps, decoded together, and what both are made of."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU())
        self.fine, self.pool = nn.Conv2d(6, 5, 1), nn.MaxPool2d(2)
        self.coarse = nn.Conv2d(6, 5, 3, padding=1)

    def forward(self, x):
        tap = self.stem(x)
        maps = self.fine(tap), self.coarse(self.pool(tap))
        return {"tap": tap, "boxes": torch.cat([each.softmax(1).flatten(2) for each in maps], 2)}


def test_a_decoded_detector_goes_from_check_to_run(steelyard, tmp_path, monkeypatch):
    """The host takes two outputs of the accelerator and gives one, a third passes by."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(6).normal(size=(5, 3, 8, 8)).astype(np.float32)
    np.save("x.npy", x)
    torch.manual_seed(4)
    export_onnx(Detector(), x, "float.onnx")
    refused = steelyard("check", "float.onnx")
    refused.refused("3 obstacles above")
    lines = [line for line in refused.err.splitlines() if line.startswith("obstacle: ")]
    offered = {line.split("--cut ")[1].rstrip(".") for line in lines}
    assert offered == {"/Softmax", "/Softmax_1"}
    cuts = [word for name in sorted(offered) for word in ("--cut", name)]
    checked = steelyard("check", "float.onnx", *cuts)
    assert checked.status == 0, checked.err
    assert "The host computes Softmax" in checked.err
    assert " of '/fine/Conv_output_0' and '/coarse/Conv_output_0'." in checked.err
    quantized = steelyard("quantize", "float.onnx", "--calibration", "x.npy", "-o", "q.onnx", *cuts)
    assert quantized.status == 0, quantized.err
    compiled = steelyard("compile", "q.onnx", "-o", "n.syp", *cuts, "--json", "p.json")
    assert compiled.status == 0, compiled.err
    plan = json.loads((tmp_path / "p.json").read_text())
    host = plan["host"]
    assert [each["name"] for each in plan["outputs"]] == ["tap", *host["values"]]
    assert "outputs of an image: 'tap' (6, 8, 8), " in compiled.out
    assert steelyard("report", "n.syp", "-o", "report").status == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert all(f">{each['name']}<" in page for each in plan["outputs"])
    assert "and gives tap, boxes." in page
    assert host["outputs"] == ["tap", "boxes"] and len(host["values"]) == 2
    on = ("--input", "x.npy", "--device", "golden")
    steelyard("run", "n.syp", *on, "--output", "y.npy").refused("2 outputs ('tap', 'boxes')")
    ran = steelyard("run", "n.syp", *on, "--output", "y.npz", "--check")
    assert ran.status == 0, ran.err
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    names = [item.name for item in onnx.load("q.onnx").graph.output]
    assert names == ["tap", "boxes"]
    expected = onnxruntime.InferenceSession("q.onnx", options).run(names, {"input": x})
    with np.load("y.npz") as found:
        assert list(found) == names
        for name, right in zip(names, expected, strict=True):
            assert found[name].shape == right.shape
            assert np.mean(np.abs(found[name] - right) < 1e-5) > 0.98
    raw = steelyard("run", "n.syp", *on, "--output", "codes.npz", "--no-host")
    assert raw.status == 0, raw.err
    with np.load("codes.npz") as found:
        assert list(found) == ["tap", *host["values"]]


def test_arrays_keep_whatever_name_outputs_have(tmp_path):
    """Also those that are parameters of numpy's own function."""
    from steelyard_cli.view.output import write_arrays

    arrays = {name: np.arange(3) + len(name) for name in ("file", "allow_pickle", "a/b", "")}
    write_arrays(tmp_path / "y.npz", arrays)
    with np.load(tmp_path / "y.npz", allow_pickle=False) as found:
        assert list(found) == list(arrays)
        assert all(np.array_equal(found[name], values) for name, values in arrays.items())
