"""``steelyard compare``."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from qdq_graphs import images, start
from steelyard.compile import compile_with_memories
from steelyard.contract import configure
from steelyard.importer import load


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A quantized network, its program, a program with a wrong bias, and images."""
    monkeypatch.chdir(tmp_path)
    g, x = start()
    y = g.pair(g.conv(x, pads=[1] * 4), 0.1)
    y = g.pair(g.op("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2]), 0.1)
    model = g.model(y)
    onnx.save(model, "q.onnx")
    network = load(model)
    compile_with_memories(network, configure("array"), batch=1).save("q.syp")
    conv, pool = network.layers
    conv = replace(conv, bias=conv.bias + 500)
    wrong = replace(network, layers=(conv, pool))
    compile_with_memories(wrong, configure("array"), batch=1).save("wrong.syp")
    np.save("x.npy", images((3, 9, 9), 8, seed=1))


def test_layers_ties_and_totals_are_printed(steelyard, files):
    done = steelyard("compare", "q.onnx", "q.syp", "--input", "x.npy", "--json", "c.json")
    assert done.status == 0, done.err
    assert "golden model against onnxruntime on q, 8 images" in done.out
    document = json.loads(Path("c.json").read_text())
    codes = [each["codes"] for each in document["layers"]]
    elements, equal, ties = (sum(e[key] for e in codes) for key in ("elements", "equal", "ties"))
    assert ties and equal + ties == elements
    line = done.out.splitlines()[-1]
    assert line.startswith(f"{equal:,} of {elements:,} codes are equal (")
    assert line.endswith(f"{ties:,} differ at ties, 0 otherwise")
    assert all(each["farthest_tie"] <= each["tie_margin"] for each in codes)


def test_a_program_that_computes_something_else_is_a_bad_result(steelyard, files):
    done = steelyard("compare", "q.onnx", "wrong.syp", "--input", "x.npy")
    assert done.status == 1
    (line,) = (each for each in done.err.splitlines() if each.startswith("error: "))
    assert "differs from onnxruntime in" in line and "that are no ties" in line


def test_integers_are_no_images(steelyard, files):
    np.save("x.npy", np.zeros((2, 3, 9, 9), np.int8))
    steelyard("compare", "q.onnx", "q.syp", "--input", "x.npy").refused("floating point, not int8")
