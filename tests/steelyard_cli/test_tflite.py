"""TFLite files on the command line."""

import sys
from pathlib import Path

import numpy as np
import pytest

from tflite_models import SAME, Net, mobilenet


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
    x = net.conv(net.input, 4, dilation=2)
    x = net.pool("AVERAGE_POOL_2D", x, (3, 3), 1, SAME)
    (tmp_path / "net.tflite").write_bytes(net.made(x))
    result = steelyard("compile", tmp_path / "net.tflite", "-o", tmp_path / "net.syp")
    result.refused("TFLite network 'net' cannot run for 2 reasons:")
    assert [line[:6] for line in result.err.splitlines()[1:]] == ["- CONV", "- AVER"]
    assert not (tmp_path / "net.syp").exists()


def test_a_missing_schema_package_names_its_extra(
    steelyard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "net.tflite").write_bytes(mobilenet(seed=5, size=16)[1])
    monkeypatch.setitem(sys.modules, "tflite", None)
    result = steelyard("compile", tmp_path / "net.tflite", "-o", tmp_path / "net.syp")
    result.refused("'tflite'", "steelyard[import]")
