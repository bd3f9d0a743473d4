"""Torch networks that read their input in several places, from float to integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from qdq_graphs import assert_within_a_step
from steelyard import importer, quantize


class Net(nn.Module):
    """Layers for `gives` to use."""

    def __init__(self, gives: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.gives = gives
        self.wide, self.same = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.head, self.norm = nn.Linear(3 * 64, 4), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Any:
        return self.gives(self, x)


GIVES: dict[str, Callable[[Any, Tensor], Any]] = {
    "skip": lambda n, x: x + n.same(x),
    "clamped skip": lambda n, x: torch.relu(x) + n.same(x),
    "joined": lambda n, x: torch.cat([x, n.wide(x)], 1),
    "three layers": lambda n, x: torch.cat(
        [n.wide(x), n.same(x), functional.max_pool2d(x, 3, 1, 1)], 1
    ),
    "map and vector": lambda n, x: (n.head(x.flatten(1)), n.wide(x)),
    "itself": lambda n, x: (x, n.wide(x)),
    "itself as a vector": lambda n, x: (x.flatten(1), n.wide(x)),
    "twice in a sum": lambda n, x: x + x,
    "scaled and not": lambda n, x: n.wide(x * 0.5) + n.wide(x),
    "normalized and not": lambda n, x: n.wide((x - 0.3) / 0.2) + n.wide(x),
    "norm before two": lambda n, x: n.same(n.norm(x)) + n.norm(x),
    "part": lambda n, x: torch.cat([x[:, :1], n.wide(x)], 1),
    "gate": lambda n, x: n.same(x) * x.mean((2, 3), keepdim=True).sigmoid(),
    "function": lambda n, x: x * torch.sigmoid(x) + n.same(x),
    "smaller and whole": lambda n, x: torch.cat(
        [functional.interpolate(n.wide(functional.max_pool2d(x, 2)), scale_factor=2), x], 1
    ),
}


@pytest.mark.parametrize("case", GIVES)
def test_an_input_that_is_read_many_times_agrees(case: str) -> None:
    torch.manual_seed(3)
    model = Net(GIVES[case]).eval()
    images = np.random.default_rng(5).normal(size=(20, 3, 8, 8)).astype(np.float32)
    made = onnx.load_from_string(quantize.quantize(model, images))
    network = importer.load(made)
    assert network.outputs == tuple(item.name for item in made.graph.output)
    assert_within_a_step(made, network, images)
