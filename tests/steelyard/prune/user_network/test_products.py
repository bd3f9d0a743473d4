"""Networks as users bring them: what a weight multiplies, and inputs that hardly vary."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from steelyard.prune import inspect, prune, prune_for_crossbar, verify

from .nets import Net, kept_all, same


class SamePad(nn.Conv2d):
    """As timm's and TensorFlow's: pads in forward, by the size of the map."""

    def forward(self, x):
        side = (-x.shape[-1] % self.stride[0]) + self.kernel_size[0] - self.stride[0]
        x = functional.pad(x, (side // 2, side - side // 2) * 2)
        return functional.conv2d(x, self.weight, self.bias, self.stride)


class OtherStride(nn.Conv2d):
    def forward(self, x):
        return (
            functional.conv2d(x, self.weight, self.bias, stride=2, padding="same")
            if self.stride == (9, 9)
            else functional.conv2d(x, self.weight, self.bias, 2, (2, 0))
        )


class Scaled(nn.Conv2d):
    def forward(self, x):
        return super().forward(x * 2) * 3 + 1


class Standardized(nn.Conv2d):
    def forward(self, x):
        weight = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / self.weight.std()
        return self._conv_forward(x, weight, self.bias)


class LateBias(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.weight, None) + self.bias[:, None, None]


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8, 3, 3) * 0.1)

    def forward(self, x):
        return functional.conv2d(x, self.weight, padding=1)


class Borrowed(nn.Module):
    """Its own convolution, called as a function."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3)

    def forward(self, x):
        return functional.conv2d(input=x, weight=self.conv.weight, bias=self.conv.bias, dilation=2)


MULTIPLIED = {
    "pads itself": lambda: SamePad(8, 8, 3, stride=2),
    "other stride": lambda: OtherStride(8, 8, (3, 1)),
    "scales around": lambda: Scaled(8, 8, 3),
    "reflect": lambda: nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
    "circular": lambda: nn.Conv2d(8, 8, 3, padding=(2, 1), padding_mode="circular"),
    "replicate": lambda: nn.Conv2d(8, 8, 3, padding=(0, 1), padding_mode="replicate"),
    "same": lambda: nn.Conv2d(8, 8, (2, 3), padding="same"),
    "same dilated": lambda: nn.Conv2d(8, 8, (2, 4), padding="same", dilation=(3, 1)),
    "valid": lambda: nn.Conv2d(8, 8, 3, padding="valid", stride=(2, 1)),
    "borrowed": Borrowed,
    "no bias": lambda: nn.Conv2d(8, 8, 3, bias=False),
    "norm": lambda: nn.Sequential(nn.Conv2d(8, 8, 3, bias=False), nn.BatchNorm2d(8)),
}


@pytest.mark.parametrize("name", MULTIPLIED)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_the_repair_sees_what_the_weight_multiplies(images, name):
    """With all weights kept the fit must find the trained weights: any other input would not."""
    net = Net(MULTIPLIED[name]()).eval()
    result = kept_all(net, images)
    assert len(result.layers) == 2, result.left_dense
    assert max(layer.error for layer in result.layers) < 1e-8
    same(net, result.model, images)


DENSE = {
    "standardized": (lambda: Standardized(8, 8, 3), "another weight"),
    "late bias": (lambda: LateBias(8, 8, 3), "its bias is added in another way"),
    "functional": (Functional, "Functional is not supported"),
    "grouped": (lambda: nn.Conv2d(8, 8, 3, groups=2), "grouped convolution"),
    "transposed": (lambda: nn.ConvTranspose2d(8, 8, 2), "ConvTranspose2d is not supported"),
}


@pytest.mark.parametrize("name", DENSE)
def test_what_is_no_plain_product_stays_dense_with_a_reason(images, name):
    make, reason = DENSE[name]
    net = Net(make()).eval()
    result = prune(net, images, ks={"last": 4})
    assert any(where.startswith("middle") and reason in why for where, why in result.left_dense)
    assert torch.equal(dict(result.model.named_parameters())["middle.weight"], net.middle.weight)


def test_a_layer_that_runs_twice_is_fitted_to_both(images):
    class Twice(Net):
        def forward(self, x):
            y = torch.relu(self.middle(torch.relu(self.first(x))))
            return self.head(self.middle(y) + self.middle(functional.max_pool2d(y, 1)))

    net = Twice().eval()
    (info,) = [i for i in inspect(net, images).prunable if i.name == "middle"]
    assert info.calls == 3 and info.macs == 3 * 8 * 8 * 576
    result = kept_all(net, images)
    assert max(layer.error for layer in result.layers) < 1e-8
    same(net, result.model, images)
    assert prune(net, images, 0.5).layers[0].error < 0.5


def test_tied_weights_are_untied_and_weights_used_elsewhere_stay(images):
    class Tied(Net):
        def __init__(self):
            super().__init__()
            self.twin = nn.Conv2d(8, 8, 3, padding=1)
            self.twin.weight = self.middle.weight
            self.up, self.down = nn.Linear(5, 7), nn.Linear(7, 5)
            self.down.weight = nn.Parameter(self.up.weight.data.T)

        def forward(self, x):
            y = self.head(self.twin(self.middle(torch.relu(self.first(x)))))
            return self.down(torch.relu(self.up(y))) + self.last.weight[0, 0]

    net = Tied()
    reasons = dict(inspect(net, images).left_dense)
    assert reasons["middle"] == "shares its weight with twin"
    assert reasons["twin"] == "shares its weight with middle"
    assert reasons["down"] == "shares its weight with up"
    assert reasons["last"] == "its weight is used in other ways too"
    result = kept_all(net, images)
    assert [layer.name for layer in result.layers] == ["middle", "twin", "up", "down"]
    assert dict(result.left_dense)["last"] == "its weight is used in other ways too"
    same(net, result.model, images)


def test_a_norm_that_others_read_beside_takes_no_offset(images):
    class Beside(Net):
        def __init__(self, beside):
            super().__init__(nn.Conv2d(8, 8, 3, padding=1, bias=False))
            self.norm, self.beside = nn.BatchNorm2d(8), beside

        def head(self, x):
            return super().head(self.beside(self.norm(x), x))

    for beside, norm in (
        (lambda y, x: y + x, None),
        (lambda y, x: torch.cat([y, x])[: len(y)], None),
        (lambda y, x: y + x.chunk(2, 1)[0].sum(), None),
        (lambda y, x: torch.cat([y, y])[: len(y)], "norm"),
    ):
        structure = inspect(Beside(beside), images)
        assert [info.norm for info in structure.prunable] == [norm, None]


def test_frames_are_no_images(images):
    class Frames(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.middle, self.last = (
                nn.Conv2d(1, 4, 3),
                nn.Conv2d(4, 4, 3),
                nn.Linear(4, 5),
            )

        def forward(self, x):
            y = self.middle(self.first(x.reshape(-1, 1, 8, 8))).mean((2, 3))
            return self.last(y.reshape(len(x), 3, 4).mean(1))

    result = prune(Frames(), images, ks={"last": 2})
    assert ("middle", "input is no batch of maps or vectors") in result.left_dense


def test_a_first_layer_of_another_kind_is_the_first(images):
    net = nn.Sequential(nn.Conv1d(4, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
                        nn.Linear(16, 10))  # fmt: skip
    x = torch.randn(8, 4, 32)
    structure = inspect(net, x)
    assert structure.first == "0" and structure.weights_outside_first == 160
    assert structure.left_dense == (("0", "first layer"),)
    assert prune(net, x, 0.75).sparsity >= 0.75


@pytest.mark.parametrize("level", [0.0, 1e3, 1e6, 1e18])
@pytest.mark.parametrize("spread", [0.0, 1e-4, 1.0, 1e-25])
@pytest.mark.parametrize("how", ["array", "crossbar"])
def test_inputs_that_hardly_vary_are_pruned(level, spread, how):
    """A layer between one that adds a large constant and a norm that takes it off again."""
    net = nn.Sequential(nn.Conv2d(2, 8, 1), nn.Conv2d(8, 16, 3), nn.BatchNorm2d(16), nn.Flatten(),
                        nn.Linear(16 * 16, 4))  # fmt: skip
    net[0].weight.data.mul_(spread)
    net[0].bias.data.fill_(level)
    net[2].running_mean.copy_(net[1].weight.data.sum((1, 2, 3)) * level)
    x = torch.randn(30, 2, 6, 6)
    if how == "array":
        result = prune(net, x, 0.7)
        verify(result.model, result.ks, sources=result.sources)
    else:
        result = prune_for_crossbar(net, x, "pattern", 0.7)
    assert result.sparsity >= 0.7
    assert torch.isfinite(result.model(x)).all()
    assert all(np.isfinite(layer.error) for layer in result.layers)
