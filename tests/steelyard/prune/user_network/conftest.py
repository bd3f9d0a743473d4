"""Images, and the same randomness for every test."""

import pytest
import torch

from .nets import SHAPE


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(24, *SHAPE, generator=torch.Generator().manual_seed(12))
