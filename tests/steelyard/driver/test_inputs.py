"""Images as users hold them: arrays, tensors and lists, in the shape that their graph has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import steelyard
from qdq_graphs import Qdq, images, runtime_output
from steelyard import driver, importer
from steelyard.compile import compile
from steelyard.contract import configure
from steelyard.errors import UserError
from steelyard.program import Program

SHAPE = (3, 9, 9)
CONFIG = configure("array", lanes=4, columns=4, requantizers=4, weight_words=16384)


def vector_of_scores(g: Qdq) -> str:
    y = g.op("Flatten", g.pair(g.op("GlobalAveragePool", g.pair("x", 0.03)), 0.01))
    return g.pair(g.op("Gemm", y, g.weight(WEIGHT), transB=1), 0.02)


def map_of_one_pixel(g: Qdq) -> str:
    return g.pair(g.op("GlobalAveragePool", g.pair("x", 0.03)), 0.01)


def map_of_scores(g: Qdq) -> str:
    return g.pair(g.conv(g.pair("x", 0.03)), 0.1)


def flat_map(g: Qdq) -> str:
    return g.op("Flatten", g.pair(g.conv(g.pair("x", 0.03)), 0.1))


def column_of_scores(g: Qdq) -> str:
    return g.op("Unsqueeze", vector_of_scores(g), g.constant(np.array([1, 3])))


def reshaped_before_quantization(g: Qdq) -> str:
    y = g.op("Reshape", "x", g.constant(np.array([0, 3, 9, 9])))
    return g.pair(g.conv(g.pair(y, 0.03)), 0.1)


def reshaped_behind_quantization(g: Qdq) -> str:
    y = g.op("Reshape", g.pair("x", 0.03), g.constant(np.array([-1, 3, 9, 9])))
    return g.pair(g.conv(y), 0.1)


WEIGHT = np.random.default_rng(2).integers(-127, 128, (10, 3), np.int8)
GRAPHS: dict[Callable[[Qdq], str], tuple[tuple[int, ...], tuple[int, ...]]] = {
    vector_of_scores: (SHAPE, (10,)),
    map_of_one_pixel: (SHAPE, (3, 1, 1)),
    map_of_scores: (SHAPE, (4, 7, 7)),
    flat_map: (SHAPE, (196,)),
    column_of_scores: (SHAPE, (1, 10, 1)),
    reshaped_before_quantization: ((243,), (4, 7, 7)),
    reshaped_behind_quantization: ((243,), (4, 7, 7)),
}
"""Graphs with the shapes of their input and output without batch."""


@pytest.mark.parametrize("case", GRAPHS, ids=lambda case: case.__name__)
def test_images_and_scores_have_the_shapes_of_the_graph(
    case: Callable[[Qdq], str], tmp_path: Path
) -> None:
    given, scores = GRAPHS[case]
    graph = Qdq(*given)
    model = graph.model(case(graph))
    x = images(given, 5, seed=3)
    expected = runtime_output(model, x)
    assert expected.shape == (5, *scores)
    compile(importer.load(model), CONFIG).save(tmp_path / "n.syp")
    with steelyard.open("golden") as device:
        device.load(tmp_path / "n.syp")
        result = device.infer_float(x)
        network = device.program.network
        assert result.shape == expected.shape and result.dtype == np.float32
        step = network.tensor(network.output).scale
        assert np.abs(result - expected).max() <= 1.01 * step
        # The planes that the accelerator holds are taken too, as everywhere.
        planes = x.reshape(5, *network.tensor(network.input).shape)
        np.testing.assert_array_equal(device.infer_float(planes), result)
        np.testing.assert_array_equal(
            device.infer(driver.float_codes(network, x)),
            device.infer(network.tensor(network.input).quantize(planes)),
        )


@pytest.fixture(scope="module")
def program() -> Program:
    graph = Qdq(*SHAPE)
    model = graph.model(vector_of_scores(graph))
    return compile(importer.load(model), CONFIG)


@pytest.mark.parametrize(
    "convert",
    [
        torch.from_numpy,
        np.ndarray.tolist,
        lambda x: x.astype(np.float64),
        lambda x: torch.from_numpy(x).to(torch.float64),
        lambda x: np.asfortranarray(x),
        list,
    ],
)
def test_what_numpy_makes_an_array_of_is_taken(program: Program, convert: Any) -> None:
    x = images(SHAPE, 4, seed=5)
    with steelyard.open("golden") as device:
        device.load(program)
        np.testing.assert_array_equal(device.infer_float(convert(x)), device.infer_float(x))
        codes = program.network.tensor("x").quantize(x)
        np.testing.assert_array_equal(device.infer(torch.from_numpy(codes)), device.infer(codes))


REFUSED: dict[str, tuple[Callable[[Any, Program], Any], str]] = {
    "tensor with gradient": (
        lambda d, p: d.infer_float(torch.zeros((1, *SHAPE), requires_grad=True)),
        r"Images are no array \(Can't call numpy\(\) on Tensor that requires grad",
    ),
    "ragged list": (lambda d, p: d.infer_float([[1.0], [1.0, 2.0]]), "Images are no array"),
    "None": (lambda d, p: d.infer_float(None), "must be floating point, not object"),
    "text": (lambda d, p: d.infer_float("x.npy"), "must be floating point, not <U5"),
    "integers": (
        lambda d, p: d.infer_float(np.zeros((1, *SHAPE), np.uint8)),
        "must be floating point, not uint8; convert them",
    ),
    "codes for real units": (
        lambda d, p: d.infer(np.zeros((1, *SHAPE), np.float32)),
        "must be int8 codes, not float32; use infer_float",
    ),
    "tensor of codes of another type": (
        lambda d, p: d.infer(torch.zeros((1, *SHAPE), dtype=torch.int32)),
        "must be int8 codes, not int32",
    ),
    "no batch": (
        lambda d, p: d.infer_float(np.zeros(SHAPE, np.float32)),
        r"must have the shape \(images, 3, 9, 9\), not \(3, 9, 9\)",
    ),
    "number": (lambda d, p: d.infer_float(1.0), r"must have the shape .*, not \(\)"),
    "no image": (lambda d, p: d.infer_float(np.zeros((0, *SHAPE))), "give at least one"),
    "infinite": (
        lambda d, p: d.infer_float(np.full((1, *SHAPE), np.inf)),
        "hold NaN or infinite values",
    ),
    "network for a program": (
        lambda d, p: d.load(p.network),
        "A device loads a program or the path of its file, not Network; compile",
    ),
    "missing file": (lambda d, p: d.load("none.syp"), r"'none.syp' cannot be read"),
    "program from nothing": (
        lambda d, p: Program.load(None),
        "A program is read from a file, not from NoneType",
    ),
    "device by number": (
        lambda d, p: steelyard.open(3),
        "A device is given by its name, not as int; use one of golden, ",
    ),
    "path for a network": (
        lambda d, p: compile("q.onnx", configure("array")),
        "str and AcceleratorConfig were given; load an ONNX file with steelyard.importer.load",
    ),
    "path for a configuration": (
        lambda d, p: compile(p.network, "c.toml"),
        "Network and str were given",
    ),
    "list for a graph": (
        lambda d, p: importer.load([1]),
        "given as a path, the bytes of a file or a loaded model, not as list",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_things_are_refused_in_one_sentence(program: Program, case: str) -> None:
    call, sentence = REFUSED[case]
    with steelyard.open("golden") as device:
        device.load(program)
        with pytest.raises(UserError, match=sentence) as caught:
            call(device, program)
    assert str(caught.value).endswith(".") and "\n" not in str(caught.value)
