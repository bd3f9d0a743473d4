"""Networks as users bring them: pruned as what they compute, or refused by what they do."""

import copy
import sys
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune

from steelyard.errors import UserError
from steelyard.prune import inspect, prune, prune_for_crossbar, verify
from steelyard.prune.user_network import prepared

SHAPE = (3, 8, 8)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(11)
        yield


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(24, *SHAPE, generator=torch.Generator().manual_seed(12))


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


# --- wrappers, copies, weights ---


@pytest.mark.parametrize(
    "wrap",
    [
        nn.DataParallel,
        torch.compile,
        lambda net: torch.compile(nn.DataParallel(net)),
        lambda net: nn.DataParallel(torch.compile(net)),
    ],
)
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method:DeprecationWarning")
def test_wrappers_are_taken_off(images, wrap):
    net = Net()
    result = prune(wrap(net), images, 0.5)
    assert [layer.name for layer in result.layers] == ["middle", "last"]
    assert type(result.model) is Net and result.sparsity >= 0.5


def test_wrappers_inside_are_taken_off(images):
    net = Net()
    net.middle = nn.DataParallel(net.middle)
    result = prune(net, images, 0.5)
    assert [layer.name for layer in result.layers] == ["middle", "last"]
    assert isinstance(net.middle, nn.DataParallel)


def test_distributed_wrapper_is_taken_off(images, tmp_path):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1
    )
    try:
        model = nn.parallel.DistributedDataParallel(Net())
        result = prune(model, images, 0.5)
    finally:
        torch.distributed.destroy_process_group()
    assert [layer.name for layer in result.layers] == ["middle", "last"]


def old_weight_norm(layer):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return nn.utils.weight_norm(layer)


def masked(layer):
    torch_prune.l1_unstructured(layer, "weight", 0.3)
    torch_prune.l1_unstructured(layer, "bias", 0.3)
    return layer


@pytest.mark.parametrize(
    "computed",
    [
        old_weight_norm,
        nn.utils.spectral_norm,
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
        masked,
    ],
)
def test_computed_weights_become_plain_ones(images, computed):
    net = Net()
    net.middle = computed(net.middle)
    net.train()
    net(images)
    before = copy.deepcopy({k: v.detach() for k, v in net.state_dict().items()})
    net.eval()
    ready = prepared(net, images)
    assert isinstance(ready.middle.weight, nn.Parameter)
    assert not ready.middle._forward_pre_hooks
    same(net, ready, images)
    result = prune(net, images, 0.5)
    verify(result.model, result.ks, sources=result.sources)
    after = net.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("change", [nn.Module.half, nn.Module.double, nn.Module.bfloat16])
def test_other_precisions_are_brought_to_float32(images, change):
    result = prune(change(Net()), images, 0.5)
    assert {p.dtype for p in result.model.parameters()} == {torch.float32}


def test_images_of_other_types_and_layouts_serve(images):
    net = Net()
    wanted = prune(net, images, 0.5).model.middle.weight
    array = np.asfortranarray(images.double().numpy())
    array.flags.writeable = False
    for other in (array, array[::-1][::-1], images.double().requires_grad_()):
        assert torch.equal(prune(net, other, 0.5).model.middle.weight, wanted)


@pytest.mark.parametrize("given", [[[1.0, "a"]], "images", [[1.0], [1.0, 2.0]], None, {}])
def test_what_is_no_array_is_refused(given):
    with pytest.raises(UserError, match=r"The calibration (is a|has the shape)"):
        prune(Net(), given)


def test_frozen_and_inference_parameters_are_pruned_and_tuned(images):
    frozen = Net().requires_grad_(False)
    assert prune(frozen, images, 0.5, method="finetune", epochs=1).sparsity >= 0.5
    with torch.inference_mode():
        inference = Net()
    assert prune(inference, images, 0.5, method="finetune", epochs=1).sparsity >= 0.5


def test_modes_hooks_and_the_given_network_stay(images):
    net = Net().train()
    net.middle.eval()
    seen = []
    net.middle.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    prune(net, images, 0.5)
    assert net.training and not net.middle.training and net.last.training
    assert seen and net.middle._forward_hooks
    inspect(net, images)
    assert net.training and not net.middle.training


def test_train_that_returns_nothing_serves(images):
    class Stubborn(Net):
        def train(self, mode=True):
            super().train(mode)

    assert prune(Stubborn(), images, 0.5).sparsity >= 0.5
    prune_for_crossbar(Stubborn(), images, "balanced", 0.5)


def test_what_cannot_be_copied_is_refused(images):
    net = Net()
    net.lock = threading.Lock()
    with pytest.raises(UserError, match=r"Network Net cannot be copied .*lock.* open files and lo"):
        prune(net, images)
    del net.lock  # what the sentence advises
    prune(net, images, 0.5)


def test_classes_that_refuse_copy_or_evaluation_are_named(images):
    class NoCopy(Net):
        def __deepcopy__(self, memo):
            return None

    class NoEvaluation(Net):
        def train(self, mode=True):
            raise ValueError("never")

    with pytest.raises(
        UserError, match=r"Network NoCopy cannot be copied \(its copy is a NoneType"
    ):
        prune(NoCopy(), images)
    with pytest.raises(UserError, match=r"Network NoEvaluation cannot be put .* \(never\)"):
        prune(NoEvaluation(), images)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_scripts_are_refused_by_name(images):
    with pytest.raises(UserError, match=r"Module 'middle' is TorchScript"):
        prune(Net(torch.jit.script(nn.Conv2d(8, 8, 3))), images)


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda net: net.to("meta"), r"Layer 'first' has no values in 'weight' .*'meta'.*'cpu'"),
        (lambda net: net.first.weight.data.fill_(torch.inf), r"Layer 'first' has 216 weights"),
        (lambda net: net.last.bias.data.fill_(torch.nan), r"Layer 'last' has 5 weights"),
        (lambda net: setattr(net, "middle", nn.LazyConv2d(8, 3)), r"Layer 'middle' is lazy"),
        (lambda net: setattr(net, "no", nn.Parameter(torch.zeros(0, 3))), r"'Net' holds nothing"),
        (lambda net: net.to(torch.complex64), r"Layer 'first' holds complex numbers in 'weight'"),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
def test_weights_without_values_are_refused(images, break_it, sentence):
    net = Net()
    break_it(net)
    with pytest.raises(UserError, match=sentence):
        prune(net, images)


# --- forward passes ---


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
        (lambda net, x: Net.forward(net, x[:, :2]), r"user_network.py line \d+ raised RuntimeErr"),
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
    with pytest.raises(UserError, match=r"fails on images 0 to 23: .*_network.py line .* KeyError"):
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


# --- what a layer's weight really multiplies ---


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


# --- inputs that hardly vary ---


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
