"""onnx's own node tests of every operator that is imported; ``make agreement`` counts them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from agreement import node_tests
from steelyard.importer.registry import OPERATORS

LEAST = {
    "Add": 1, "AveragePool": 6, "Clip": 11, "Concat": 2, "Conv": 6,
    "ConvTranspose": 8, "Dropout": 6,
    "Flatten": 3,
    "Gemm": 8, "GlobalAveragePool": 2, "GlobalMaxPool": 2, "Identity": 4, "MatMul": 1,
    "MaxPool": 11, "QuantizeLinear": 1, "Relu": 1, "Split": 5, "Squeeze": 1, "Unsqueeze": 1,
}  # fmt: skip
"""Tests of an operator that agree; more may."""


@pytest.fixture(scope="module")
def outcomes() -> list[node_tests.Outcome]:
    return node_tests.outcomes()


def test_every_node_test_agrees_or_is_refused_by_name(outcomes: list[node_tests.Outcome]) -> None:
    wrong = [each for each in outcomes if each.verdict == "differs"]
    assert not wrong
    assert {each.op for each in outcomes} == set(OPERATORS)
    for each in outcomes:
        if each.verdict == "refused":
            assert each.reason.endswith(".") and "\n" not in each.reason


def test_no_node_test_is_refused_that_was_taken(outcomes: list[node_tests.Outcome]) -> None:
    counts = Counter(each.op for each in outcomes if each.verdict == "agrees")
    assert all(counts[op] >= least for op, least in LEAST.items()), node_tests.table(outcomes)


def test_a_wrong_result_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result three steps beside the expected one is noticed."""
    (test,) = (test for op, test in node_tests.node_tests(["Relu"]))
    assert node_tests.outcome("Relu", test).verdict == "agrees"
    right = node_tests.golden.run

    def wrong(*args: object, **options: object) -> np.ndarray:
        codes = right(*args, **options).astype(np.int16)  # type: ignore[arg-type]
        codes[0].flat[0] += np.where(codes[0].flat[0] > 0, -4, 4)
        return codes.astype(np.int8)

    monkeypatch.setattr(node_tests.golden, "run", wrong)
    assert node_tests.outcome("Relu", test).verdict == "differs"
