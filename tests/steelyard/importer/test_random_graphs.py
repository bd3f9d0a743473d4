"""Random quantized graphs against onnxruntime, layer by layer; ``make graphs`` takes more."""

from __future__ import annotations

import numpy as np
import pytest

from agreement.measure import assert_ties
from agreement.random_graphs import OPSETS, RandomGraph, compared
from qdq_graphs import Qdq, images
from steelyard import importer
from steelyard.compare import Agreement, agreements
from steelyard.compare.agreement import golden
from steelyard.importer.registry import OPERATORS

COUNT = 60
VIEWS = {"Dropout", "Identity", "Reshape", "Shape", "Squeeze", "Transpose", "Unsqueeze"}
"""Operators of test_schema and test_variants that make no layer."""
OTHERS = {"Cast", "ConvTranspose", "DepthToSpace", "Resize", "Split", "Sum", "Swish", "Upsample"}
"""Operators that the graphs do not have yet; test_schema tries them."""


@pytest.mark.parametrize("seed", range(COUNT))
def test_every_layer_of_a_random_graph_agrees(seed: int) -> None:
    found = compared(seed)
    assert found and all(each.elements for each in found)


def test_all_operators_and_opsets_occur() -> None:
    graphs = [RandomGraph(seed) for seed in range(COUNT)]
    found = {node.op_type for graph in graphs for node in graph.graph.graph.node}
    assert found >= set(OPERATORS) - VIEWS - OTHERS
    assert {graph.opset for graph in graphs} == set(OPSETS)


def test_same_seed_makes_the_same_graph() -> None:
    one, other = (RandomGraph(7).graph.SerializeToString() for _ in range(2))
    assert one == other


def test_a_wrong_code_is_no_tie(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison notices a single bias that is off by half a step of the output."""
    graph = Qdq(3, 9, 9)
    y = graph.op("Conv", graph.pair("x", 0.03), graph.weight(np.ones((4, 3, 3, 3), np.int8)))
    model = graph.model(graph.pair(y, 0.0213))
    network = importer.load(model)
    x = images((3, 9, 9), 20, seed=1)
    assert_ties(agreements(model, network, x))
    right = golden.layer

    def wrong(*args: object) -> np.ndarray:
        codes = right(*args).copy()  # type: ignore[arg-type]
        codes[0, 0, 0, 0] += 1
        return codes

    monkeypatch.setattr(golden, "layer", wrong)
    found = agreements(model, network, x)
    assert [each.others for each in found] == [1]
    with pytest.raises(AssertionError, match=f"{found[0].layer}: 1 of 3920 differ and no tie"):
        assert_ties(found)
    with pytest.raises(AssertionError, match="conv is off by 2"):
        assert_ties([Agreement("conv", "conv", 9, 8, 0, 2)])
