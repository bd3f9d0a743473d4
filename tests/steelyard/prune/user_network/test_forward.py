"""Networks as users bring them: what their forward passes do, or why they are refused."""

import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from steelyard.errors import UserError
from steelyard.prune import prune, prune_for_crossbar
from steelyard.prune.user_network import prepared

from .nets import Net, same


class Flat(Net):
    def head(self, x):
        return self.last(torch.relu(nn.functional.adaptive_avg_pool2d(x, 1)).view(x.shape[0], -1))


class View(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.middle = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 3)
        self.last = nn.Linear(64, 5)

    def forward(self, x):
        return self.last(torch.relu(self.middle(torch.relu(self.first(x)))).view(len(x), -1))


def test_view_behind_a_convolution_runs(images):
    for net in (Flat(), View(), View().to(memory_format=torch.channels_last)):
        result = prune(net, images, 0.5)
        assert [layer.name for layer in result.layers] == ["middle", "last"]
    assert result.sources["last"] == (4, 4, 4)


@pytest.mark.parametrize(
    ("returned", "type_"),
    [
        (lambda y: (y,), tuple),
        (lambda y: [y, None], list),
        (lambda y: {"scores": y, "name": "net"}, dict),
        (lambda y: {"all": [{"deep": y}]}, dict),
    ],
)
def test_the_only_tensor_of_a_result_is_taken(images, returned, type_):
    class Odd(Net):
        def forward(self, x):
            return returned(super().forward(x))

    net = Odd()
    result = prune(net, images, 0.5)
    assert result.model(images).shape == (24, 5)
    assert isinstance(net(images), type_)
    plain = Net()
    plain.load_state_dict(net.state_dict())
    same(plain, prepared(net, images), images)


@pytest.mark.parametrize("returned", [lambda y: (y, y.sum()), lambda y: {0: y, "aux": y}])
def test_several_tensors_are_refused_with_a_hook_that_helps(images, returned):
    class Odd(Net):
        def forward(self, x):
            return returned(super().forward(x))

    net = Odd()
    with pytest.raises(
        UserError, match=r"Network Odd returns 2 tensors \(output\[0\] \(2, 5\), o"
    ) as caught:
        prune(net, images, 0.5)
    advice = str(caught.value).split("for example with ")[1].rstrip(".")
    exec(advice, {"model": net})
    assert prune(net, images, 0.5).model(images).shape == (24, 5)


@pytest.mark.parametrize(
    ("forward", "sentence"),
    [
        (lambda net, x: None, r"Network Odd returns no tensor but NoneType"),
        (lambda net, x: Net.forward(net, x).argmax(1), r"returns int64, allowed are real scores"),
        (lambda net, x: Net.forward(net, x).sum(), r"returns the shape \(\) for 2 images"),
        (lambda net, x: Net.forward(net, x).T, r"returns the shape \(5, 2\) for 2 images"),
        (lambda net, x: Net.forward(net, x) / 0, r"gives scores that are NaN or infinite"),
        (lambda net, x: Net.forward(net, functional.dropout(x)), r"other scores each time"),
        (lambda net, x: Net.forward(net, x + torch.rand(1)), r"other scores each time"),
        (lambda net, x: Net.forward(net, x - x.mean(0)), r"for an image alone than .* beside oth"),
        (lambda net, x: Net.forward(net, x[:, :2]), r"nets.py line \d+ raised RuntimeErr"),
        (lambda net, x: Net.forward(net, x.numpy().tolist()), r"raised TypeError"),
        (lambda net, x: sys.exit(3), r"ends the program with status 3"),
        (lambda net, x: net(x), r"RecursionError"),
        (lambda net, x: torch.fft.fft(Net.forward(net, x)), r"returns complex64, allowed are real"),
    ],
)  # fmt: skip
def test_passes_that_are_no_function_of_an_image_are_refused(images, forward, sentence):
    class Odd(Net):
        def forward(self, x):
            return forward(self, x)

    with pytest.raises(UserError, match=sentence):
        prune(Odd(), images, 0.5)


def test_several_inputs_are_refused_by_name(images):
    class Two(Net):
        def forward(self, x, mask, scale=1.0):
            return super().forward(x * mask) * scale

    with pytest.raises(UserError, match=r"Network Two takes 2 inputs \(x, mask\), one is allowed"):
        prune(Two(), images)


def test_a_fixed_batch_is_told_from_wrong_images(images):
    class Fixed(Net):
        def head(self, x):
            return self.last(torch.relu(x).reshape(24, 8, -1).mean(2))

    with pytest.raises(UserError, match=r"runs on 24 images at once but not on two or one"):
        prune(Fixed(), images)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        (lambda x: x.permute(0, 2, 3, 1), "images.transpose(0, 3, 1, 2)"),
        (lambda x: x[0], "images[None]"),
        (lambda x: x[0].permute(1, 2, 0), "images.transpose(2, 0, 1)[None]"),
    ],
)
def test_images_in_other_forms_are_told_how_to_change(images, change, advice):
    given = np.ascontiguousarray(change(images).numpy())
    with pytest.raises(UserError, match=r"cannot run on images of the shape") as caught:
        prune(Net(), given, 0.5)
    assert advice in str(caught.value)
    assert prune(Net(), eval(advice, {"images": given}), 0.5).sparsity >= 0.5


def test_images_without_a_channel_or_flattened(images):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))
    vectors = nn.Sequential(nn.Linear(192, 20), nn.ReLU(), nn.Linear(20, 5))
    for model, given, advice in (
        (net, images[:, 0].numpy(), "images[:, None]"),
        (vectors, images.numpy(), "images.reshape(len(images), -1)"),
    ):
        with pytest.raises(UserError) as caught:
            prune(model, given, 0.5)
        assert advice in str(caught.value)
        assert prune(model, eval(advice, {"images": given}), 0.5).sparsity >= 0.5


def test_a_network_may_write_into_its_input(images):
    class Writes(Net):
        def forward(self, x):
            x.mul_(0.5).sub_(1)
            return super().forward(x)

    class Reads(Net):
        def forward(self, x):
            return super().forward(x * 0.5 - 1)

    given = images.clone()
    net = Writes()
    result = prune(net, given, 0.5, method="finetune", epochs=1)
    assert torch.equal(given, images)
    reads = Reads()
    reads.load_state_dict(net.state_dict())
    other = prune(reads, given, 0.5, method="finetune", epochs=1)
    assert torch.equal(result.model.middle.weight, other.model.middle.weight)


def test_a_network_that_catches_errors_is_measured(images):
    class Catches(Net):
        def forward(self, x):
            try:
                return super().forward(x)
            except Exception:
                return torch.zeros(len(x), 5)

    wanted = prune(Net(), images, 0.5)
    torch.manual_seed(11)
    result = prune(Catches(), images, 0.5)
    assert result.ks.keys() == wanted.ks.keys()


def test_single_images_that_fail_are_named(images):
    class Odd(Net):
        def forward(self, x):
            if bool((x > 90).any()):
                raise KeyError("too bright")
            return super().forward(x) / (x < 80).all()

    given = images.clone()
    given[13, 0, 0, 0] = 100
    with pytest.raises(UserError, match=r"fails on images 0 to 23: .*_forward.py line .* KeyError"):
        prune(Odd(), given, 0.5)
    given[13, 0, 0, 0] = 85
    with pytest.raises(UserError, match=r"NaN or infinite for one of the first 24 calibration"):
        prune(Odd(), given, 0.5)
    assert prune(Odd(), torch.cat([given[:13], given[14:]]), 0.5).sparsity >= 0.5


def test_a_network_without_gradients_is_pruned_but_not_tuned(images):
    class NoGradient(Net):
        def head(self, x):
            y = torch.sigmoid(x)
            y += 1
            return super().head(y)

    with pytest.raises(UserError, match=r"cannot be tuned \(one of the variab.* another method"):
        prune(NoGradient(), images, 0.5, method="finetune")
    assert prune(NoGradient(), images, 0.5).sparsity >= 0.5


def test_one_image_is_enough(images):
    for method in ("magnitude", "reconstruct", "finetune"):
        assert prune(Net(), images[:1], 0.5, method=method, epochs=1).sparsity >= 0.5
    assert prune_for_crossbar(Net(), images[:1], "mixed", 0.5).sparsity >= 0.5


def test_norms_without_running_statistics_are_refused(images):
    net = Net(nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8, track_running_stats=False)))
    with pytest.raises(UserError, match=r"Layer 'middle\.1' keeps no running statistics .*nn\.Bat"):
        prune(net, images, 0.5)
    # what the sentence advises
    fixed = Net(nn.Sequential(nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)))
    fixed.load_state_dict(net.state_dict(), strict=False)
    fixed.train()
    fixed(images)
    assert prune(fixed, images, 0.5).sparsity >= 0.5


def test_norms_that_stay_in_training_are_refused(images):
    class Stays(nn.BatchNorm2d):
        def train(self, mode=True):
            return super().train(True)

    net = Net(nn.Sequential(nn.Conv2d(8, 8, 3), Stays(8)))
    with pytest.raises(UserError, match=r"Layer 'middle\.1' stays in training mode"):
        prune(net, images, 0.5)
