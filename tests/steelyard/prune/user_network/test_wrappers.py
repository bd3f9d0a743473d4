"""Networks as users bring them: wrappers, copies, weights."""

import copy
import threading
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune

from steelyard.errors import UserError
from steelyard.prune import inspect, prune, prune_for_crossbar, verify
from steelyard.prune.user_network import prepared

from .nets import Net, same


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
