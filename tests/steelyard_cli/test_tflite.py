"""TFLite files on the command line."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from tflite_models import Net, mobilenet


def test_a_tflite_file_is_compiled_and_run_with_channels_last(steelyard, tmp_path: Path):
    net, content = mobilenet(seed=5, size=16)
    (tmp_path / "net.tflite").write_bytes(content)
    compiled = steelyard("compile", tmp_path / "net.tflite", "-o", tmp_path / "net.syp")
    assert compiled.status == 0, compiled.err
    assert "is left to the host" in " ".join(compiled.err.split())
    np.save(tmp_path / "x.npy", net.images(3))
    result = steelyard(
        "run", tmp_path / "net.syp", "--input", tmp_path / "x.npy", "--raw", "--device", "golden",
        "--output", tmp_path / "y.npy",
    )  # fmt: skip
    assert result.status == 0, result.err
    scores = np.load(tmp_path / "y.npy")
    assert (scores.dtype, scores.shape) == (np.int8, (3, 10))


def test_every_obstacle_has_its_line(steelyard, tmp_path: Path):
    net = Net((8, 8, 4), seed=1)
    x = net.conv(net.input, 4, dilation=200)
    x = net.op("SIN", (x,), net.rescaled(x, (8, 8, 4), 1))
    (tmp_path / "net.tflite").write_bytes(net.made(x))
    for command in (
        ("compile", "-o", tmp_path / "net.syp"),
        ("crossbar", "-o", tmp_path / "crossbars"),
        ("check", "--json", tmp_path / "check.json"),
    ):
        result = steelyard(*command, tmp_path / "net.tflite")
        result.refused("net.tflite' has the 2 obstacles above; ")
        lines = [line for line in result.err.splitlines() if line.startswith("obstacle: ")]
        assert [line.split()[1] for line in lines] == ["CONV_2D", "SIN"]
    assert not (tmp_path / "net.syp").exists()
    document = json.loads((tmp_path / "check.json").read_text())
    assert (document["network"], len(document["obstacles"])) == ("net", 2)


def test_a_check_says_what_a_tflite_file_would_take(steelyard, tmp_path: Path):
    (tmp_path / "net.tflite").write_bytes(mobilenet(seed=5, size=16)[1])
    result = steelyard("check", tmp_path / "net.tflite", "--board", "ulx3s_85f")
    assert result.status == 0, result.err
    assert "is left to the host" in " ".join(result.err.split())
    assert "A float network" not in result.err
    assert "frames a second" in result.out and "activation words" in result.out


def test_only_quantized_onnx_is_cut_or_quantized(steelyard, tmp_path: Path):
    path = tmp_path / "net.tflite"
    path.write_bytes(mobilenet(seed=5, size=16)[1])
    np.save(tmp_path / "x.npy", np.zeros((2, 16, 16, 3), np.float32))
    for command in (("compile", "-o", tmp_path / "net.syp"), ("check",)):
        steelyard(*command, path, "--cut", "SOFTMAX").refused("'net' cannot be cut at 'SOFTMAX'")
    for more in ((), ("--cut", "SOFTMAX")):
        output = ("--calibration", tmp_path / "x.npy", "-o", tmp_path / "q.onnx")
        steelyard("quantize", path, *output, *more).refused("is TFLite where only ONNX is taken")


def test_a_missing_schema_package_names_its_extra(
    steelyard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "net.tflite").write_bytes(mobilenet(seed=5, size=16)[1])
    monkeypatch.setitem(sys.modules, "tflite", None)
    result = steelyard("compile", tmp_path / "net.tflite", "-o", tmp_path / "net.syp")
    result.refused("'tflite'", "steelyard[import]")
