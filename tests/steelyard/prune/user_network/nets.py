"""A small network, and what is asked of what became of it."""

import torch
from torch import nn

from steelyard.prune import inspect, prune
from steelyard.prune.user_network import prepared

SHAPE = (3, 8, 8)


class Net(nn.Module):
    """Two convolutions and a classifier, parts of which a test replaces."""

    def __init__(self, middle: nn.Module | None = None) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.middle = nn.Conv2d(8, 8, 3, padding=1) if middle is None else middle
        self.last = nn.Linear(8, 5)

    def head(self, x):
        return self.last(torch.relu(x).mean((2, 3)))

    def forward(self, x):
        return self.head(self.middle(torch.relu(self.first(x))))


def same(model: nn.Module, other: nn.Module, images: torch.Tensor) -> None:
    with torch.no_grad():
        assert torch.allclose(model.eval()(images), other(images), atol=1e-5)


def kept_all(model: nn.Module, images: torch.Tensor):
    """The network "pruned" to K = 16 of 16, whose repair must find the weights that it has."""
    names = [info.name for info in inspect(prepared(model, images), images).prunable]
    return prune(model, images, ks=dict.fromkeys(names, 16))
