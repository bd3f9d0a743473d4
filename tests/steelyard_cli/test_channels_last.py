"""Float networks of other tools that have channels last, command by command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from qdq_graphs import Qdq, images

RANDOM = np.random.default_rng(6)
WEIGHT = (RANDOM.standard_normal((12, 3, 3, 3)) * 0.2).astype(np.float32)
DENSE = (RANDOM.standard_normal((5, 12 * 7 * 7)) * 0.1).astype(np.float32)
FIRST, LAST = [0, 3, 1, 2], [0, 2, 3, 1]


def convolved(g: Qdq, value: str) -> str:
    return g.op("Relu", g.op("Conv", value, g.constant(WEIGHT)))


def reshaped(g: Qdq, value: str, *shape: int) -> str:
    return g.op("Reshape", value, g.constant(np.array([0, *shape], np.int64)))


def boxes(g: Qdq) -> str:
    y = g.op("Transpose", convolved(g, "x"), perm=LAST)
    return g.op("Sigmoid", reshaped(g, y, -1, 4))


def classified(g: Qdq) -> str:
    y = g.op("Transpose", convolved(g, g.op("Transpose", "x", perm=FIRST)), perm=LAST)
    return g.op("Gemm", reshaped(g, y, -1), g.constant(DENSE), transB=1)


def from_tensorflow(g: Qdq) -> str:
    y = convolved(g, g.op("Transpose", "x", perm=FIRST))
    return g.op("Transpose", y, perm=LAST)


def anchors(g: Qdq) -> str:
    """As YOLO's heads are: an axis of anchors among them, and a softmax over classes."""
    y = g.op("Transpose", reshaped(g, convolved(g, "x"), 3, 4, 7, 7), perm=[0, 1, 3, 4, 2])
    return g.op("Softmax", y, axis=4)


NETWORKS: dict[str, tuple[Callable[[Qdq], str], tuple[int, int, int], int]] = {
    "boxes": (boxes, (3, 9, 9), 0),
    "classified": (classified, (9, 9, 3), 0),
    "from TensorFlow": (from_tensorflow, (9, 9, 3), 0),
    "anchors": (anchors, (3, 9, 9), 1),
}
"""What makes a network, the shape of its input, and whether some of it is the host's."""


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_goes_in_as_it_is_and_gives_the_scores_in_its_order(
    steelyard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    make, shape, cut = NETWORKS[name]
    g = Qdq(*shape)
    onnx.save(g.model(make(g)), "net.onnx")
    x = images(shape, 12, seed=7)
    np.save("x.npy", x)
    checked = steelyard("check", "net.onnx")
    options = []
    if cut:
        # The obstacles name one option, which is all that is needed.
        checked.refused("has the 2 obstacles above; leave it to the host with --cut transpose")
        (option,) = set(re.findall(r"leave it to the host with (--cut \S+)\.", checked.err))
        options = shlex.split(option)
        checked = steelyard("check", "net.onnx", *options)
    assert checked.status == 0, checked.err
    for command in (
        ("quantize", "net.onnx", "--calibration", "x.npy", "-o", "q.onnx", *options),
        ("compile", "q.onnx", "-o", "net.syp", *options),
        ("run", "net.syp", "--input", "x.npy", "--output", "y.npy", "--device", "golden"),
        ("compare", "q.onnx", "net.syp", "--input", "x.npy"),
        ("compare", "net.onnx", "net.syp", "--input", "x.npy"),
    ):
        result = steelyard(*command)
        assert result.status == 0, (command, result.err)
        assert "will not compile" not in result.err
    session = onnxruntime.InferenceSession("net.onnx")
    expected = session.run(None, {"x": x})[0]
    scores = np.load("y.npy")
    assert scores.shape == expected.shape
    noise = np.square(scores - expected).mean() / np.square(expected).mean()
    assert 10 * np.log10(1 / noise) > 25
