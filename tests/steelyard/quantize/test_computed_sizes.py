"""Sizes that a float network computes of its own shapes, as torch's exporter writes them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from qdq_graphs import Qdq, images, session
from steelyard import importer, quantize
from steelyard.check import examine
from steelyard.compare import agreements
from steelyard.quantize import modern


class Padded(nn.Module):
    """Half of the channels, whose number nobody wrote down, with a border."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.second = nn.Conv2d(4, 6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half, _ = self.first(x).chunk(2, 1)
        return self.second(nn.functional.pad(half, (1, 2, 1, 0)))


class Again(Padded):
    """What is cut depends on the size of what was cut before."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        half, _ = self.first(x).chunk(2, 1)
        wide = nn.functional.pad(half, (1, 1, 1, 1))
        top, _ = wide.chunk(2, 2)
        return self.second(nn.functional.pad(top, (0, 0, 0, 2)))


@pytest.mark.parametrize("batch", [None, 1, 4])
@pytest.mark.parametrize("module", [Padded, Again])
def test_check_and_quantize_agree_on_a_part_that_is_padded(
    module: type[nn.Module], batch: int | None, tmp_path: Path
) -> None:
    torch.manual_seed(3)
    path = tmp_path / "net.onnx"
    free = {} if batch else {"dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # That torch has another exporter.
        torch.onnx.export(
            module().eval(), (torch.zeros(batch or 1, 3, 8, 8),), str(path), dynamo=False,
            opset_version=17, input_names=["x"], output_names=["y"], **free,
        )  # fmt: skip
    model = onnx.load(path)
    assert any(node.op_type == "Shape" for node in model.graph.node)
    assert not examine(model).obstacles
    x = images((3, 8, 8), 8, seed=1)
    found = onnx.load_from_string(quantize.quantize(str(path), x))
    assert not any(node.op_type == "Shape" for node in found.graph.node)
    rows = agreements(found, importer.load(found), x[: batch or 8])
    assert rows and not any(row.others for row in rows)


def test_sizes_that_follow_from_the_batch_stay_computed() -> None:
    g = Qdq(3, 4, 5)
    size = g.op("Shape", "x")
    batch = g.op("Gather", size, g.constant(np.array([0])))
    rest = g.op("ReduceProd", g.op("Slice", size, *map(g.constant, np.int64([[1], [4], [0]]))))
    flat = g.op("Reshape", "x", g.op("Concat", batch, rest, axis=0))
    model = g.model(flat)
    found = modern(model)
    operators = [node.op_type for node in found.graph.node]
    assert operators.count("Gather") == 1 and "ReduceProd" not in operators
    x = images((3, 4, 5), 6, seed=2)
    for each in (model, found):
        assert session(each).run(None, {"x": x})[0].shape == (6, 60)
