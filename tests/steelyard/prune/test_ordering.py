"""Channels by activity or likeness: the same network, idle or alike channels together."""

import pytest
import torch
from torch import nn

from steelyard.errors import UserError
from steelyard.prune import order_channels, pair_channels


@pytest.fixture
def net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(12 * 5 * 4, 6),
            nn.ReLU(),
            nn.Linear(6, 5),
        )
        model.train()
        with torch.no_grad():
            model[1].weight.uniform_(0.5, 1.5)
            model[1].bias.normal_()
            for _ in range(5):
                model(torch.randn(16, 2, 10, 8))
        return model.eval()


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(40, 2, 10, 8, generator=torch.Generator().manual_seed(4))


def live(model: nn.Sequential, images: torch.Tensor, depth: int) -> torch.Tensor:
    with torch.no_grad():
        found = model[:depth](images)
    return (found != 0).double().reshape(*found.shape[:2], -1).mean((0, 2))


def test_the_network_computes_the_same_with_channels_by_falling_activity(net, images):
    before = {key: value.clone() for key, value in net.state_dict().items()}
    ordered = order_channels(net, images)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(ordered(images), net(images), rtol=1e-5, atol=1e-5)
    for depth in (3, 6, 9):
        unordered, now = live(net, images, depth), live(ordered, images, depth)
        assert not torch.equal(unordered, now)
        assert bool((now.diff() <= 0).all())
    torch.testing.assert_close(ordered[9].bias, net[9].bias)


def test_channels_of_a_residual_addition_and_of_shared_or_grouped_layers_stay(images):
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(2, 4, 1)
            self.b = nn.Conv2d(4, 4, 1)
            self.twice = nn.Conv2d(4, 4, 1)
            self.grouped = nn.Conv2d(4, 4, 1, groups=2)
            self.c = nn.Conv2d(4, 4, 1)
            self.d = nn.Conv2d(4, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.a(x)
            y = self.twice(self.twice(self.b(y) + y))
            return self.d(self.c(self.grouped(y)))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        model = Branch().eval()
    ordered = order_channels(model, images)
    for name in ("a", "b", "twice", "grouped"):
        assert torch.equal(getattr(ordered, name).weight, getattr(model, name).weight)
    with torch.no_grad():
        torch.testing.assert_close(ordered(images), model(images), rtol=1e-5, atol=1e-5)


def test_activity_needs_images(net):
    with pytest.raises(UserError, match="give network inputs, batch first"):
        order_channels(net, torch.zeros(0, 2, 10, 8))


def test_alike_channels_come_together_and_the_network_computes_the_same(images):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = nn.Sequential(
            nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.Flatten(), nn.Linear(6 * 6 * 4, 4)
        ).eval()
    # Channels n and n + 4 look at the same places, and at no others.
    kept = torch.zeros(4, 2, 3, 3)
    for number in range(4):
        kept[number, number // 2, :, number % 2] = 1.0
    model[0].weight.data *= torch.cat([kept, kept])
    paired = pair_channels(model, images)
    with torch.no_grad():
        torch.testing.assert_close(paired(images), model(images), rtol=1e-4, atol=1e-4)
    places = paired[0].weight != 0
    assert torch.equal(places[::2], places[1::2])
    assert not torch.equal(places[::2], (model[0].weight != 0)[::2])


def test_likeness_counts_weights_by_the_size_of_their_inputs(images):
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.ReLU(), nn.Conv2d(4, 3, 1)).eval()
    # By weights alone the first two channels are alike; input 1 is hardly there.
    weight = torch.tensor([[1.0, 9.0], [0.0, 9.0], [1.1, 0.0], [0.0, 8.0]])
    model[0].weight.data = weight.reshape(4, 2, 1, 1)
    quiet = images * torch.tensor([1.0, 0.001]).reshape(1, 2, 1, 1)
    paired = pair_channels(model, quiet)
    found = [tuple(row) for row in paired[0].weight.detach().reshape(4, 2).tolist()]
    order = [[tuple(row) for row in weight.tolist()].index(row) for row in found]
    assert [sorted(order[:2]), sorted(order[2:])] == [[0, 2], [1, 3]]
