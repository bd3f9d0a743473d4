"""Pruning of whole networks: what is found, how K is chosen, and what the repair is worth."""

import copy
import re

import pytest
import torch
from torch import nn

from steelyard.errors import UserError
from steelyard.prune import (
    allocate,
    finetune,
    finish,
    gradual,
    prunable_layers,
    prune,
    prune_balanced,
    reconstruct,
    removed_share,
    removed_work,
    uniform,
    verify,
)
from steelyard.prune import inspect as inspect_network
from steelyard.prune.layers import Structure


class Residual(nn.Module):
    """Every kind of layer that pruning has to tell apart, around a residual addition."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, 3, padding=1, bias=False)
        self.norm0 = nn.BatchNorm2d(8)
        self.conv = nn.Conv2d(8, 8, 3, padding="same", bias=False)
        self.norm1 = nn.BatchNorm2d(8)
        self.plain = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.depth = nn.Conv2d(12, 12, 3, padding=1, groups=12)
        self.wide = nn.Conv2d(12, 6, 2, dilation=2, bias=False)
        self.fc1 = nn.Linear(6 * 3 * 2, 20)
        self.fc2 = nn.Linear(20, 5)
        self.unused = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm0(self.stem(x)))
        x = torch.relu(self.norm1(self.conv(x)) + x)
        x = torch.relu(self.plain(x))
        x = torch.relu(self.wide(self.depth(x)))
        x = torch.relu(x.flatten(1))
        return self.fc2(torch.relu(self.fc1(x)))


@pytest.fixture(scope="module")
def net() -> Residual:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = Residual()
        model.train()
        with torch.no_grad():
            for _ in range(20):
                model(torch.randn(16, 2, 10, 8))
        return model.eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    noise = torch.randn(200, 2, 10, 8, generator=torch.Generator().manual_seed(6))
    return nn.functional.avg_pool2d(noise, 3, stride=1, padding=1)


@pytest.fixture(scope="module")
def structure(net, images) -> Structure:
    return inspect_network(net, images)


def test_layers_are_found_in_order_with_reasons_for_the_rest(net, images):
    found, dense = prunable_layers(net, images, exclude=("plain",))
    assert [info.name for info in found] == ["conv", "wide", "fc1", "fc2"]
    assert dense == [
        ("stem", "first layer"),
        ("plain", "excluded"),
        ("depth", "grouped convolution"),
        ("unused", "not reached by the sample"),
    ]


def test_structure_counts_work_and_follows_flatten_and_norm(structure):
    infos = {info.name: info for info in structure.prunable}
    assert infos["conv"].norm == "norm1"
    assert infos["plain"].norm is None
    assert infos["conv"].macs == 10 * 8 * 8 * 8 * 9
    assert infos["plain"].macs == 5 * 4 * 12 * 8 * 9
    assert infos["fc1"].source == (6, 3, 2)
    assert infos["fc2"].source is None
    assert structure.weights_outside_first == sum(
        (8 * 8 * 9, 12 * 8 * 9, 12 * 9, 6 * 12 * 4, 20 * 36, 5 * 20, 16)
    )


def test_inspection_leaves_the_mode_of_the_network(net, images):
    model = copy.deepcopy(net).train()
    inspect_network(model, images)
    assert model.training


@pytest.mark.parametrize("target", [0.3, 0.5, 0.75, 0.85])
def test_allocation_meets_both_targets(net, images, structure, target):
    ks = allocate(net, images, target, work=target)
    assert removed_share(structure, ks, 16) >= target
    assert removed_work(structure, ks, 16) >= target
    assert set(ks) == {info.name for info in structure.prunable}


def test_allocation_respects_the_least_k(net, images):
    assert min(allocate(net, images, 0.6, least=3).values()) >= 3


@pytest.mark.parametrize(("sparsity", "work"), [(0.99, None), (0.99, 0.99), (0.5, 0.95)])
def test_targets_out_of_reach_say_what_is_in_reach(net, images, sparsity, work):
    with pytest.raises(UserError, match=r"cannot be reached: K = 1 of 16 .* ask for") as caught:
        allocate(net, images, sparsity, work=work)
    advice = str(caught.value).split("ask for")[1]
    says = re.findall(r"(sparsity|work)(?: of at most)? ([0-9.]+[0-9])", advice)
    reach = {what: float(value) for what, value in says}
    least = reach.get("sparsity", sparsity)
    allocate(net, images, least, work=None if work is None else reach.get("work", least))


def test_uniform_meets_its_target_with_at_most_one_weight_to_spare(structure):
    ks = uniform(structure, 0.7)
    least = min(ks.values())
    assert removed_share(structure, ks, 16) >= 0.7
    assert max(ks.values()) <= least + 1
    for name in (name for name, k in ks.items() if k == least):
        assert removed_share(structure, {**ks, name: ks[name] + 1}, 16) < 0.7


def change(model: nn.Module, reference: nn.Module, images: torch.Tensor) -> float:
    with torch.no_grad():
        wanted = reference(images)
        return float((model(images) - wanted).square().mean() / wanted.var())


def test_repair_beats_plain_magnitude_on_unseen_images(net, images, structure):
    ks = {info.name: 4 for info in structure.prunable}
    seen, unseen = images[:120], images[120:]
    plain = prune(net, seen, ks=ks, method="magnitude").model
    repaired = copy.deepcopy(plain)
    errors = reconstruct(net, repaired, seen)
    chosen = prune(net, seen, ks=ks, method="reconstruct").model
    assert set(errors) == set(ks)
    assert change(repaired, net, unseen) < 0.5 * change(plain, net, unseen)
    assert change(chosen, net, unseen) < change(repaired, net, unseen)


def test_repair_holds_the_masks_that_it_finds(net, images, structure):
    ks = {info.name: 5 for info in structure.prunable}
    model = copy.deepcopy(net)
    prune_balanced(model, ks, structure=structure)
    held = {name: model.get_submodule(name).weight == 0 for name in ks}
    reconstruct(net, model, images)
    finish(model)
    for name, gone in held.items():
        assert bool((model.get_submodule(name).weight[gone] == 0).all())


def test_without_pruning_the_repair_changes_nothing(net, images):
    model = prune(net, images, sparsity=0.0, ks={"conv": 16, "plain": 16}).model
    assert change(model, net, images) < 1e-6


@pytest.mark.parametrize("method", ["magnitude", "reconstruct", "finetune"])
def test_pruning_is_deterministic_and_leaves_the_given_network(net, images, method):
    before = copy.deepcopy(net.state_dict())
    results = [prune(net, images, 0.6, method=method, epochs=1, seed=4) for _ in range(2)]
    first, second = (result.model.state_dict() for result in results)
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert results[0].sparsity >= 0.6
    verify(results[0].model, results[0].ks, sources=results[0].sources)


def test_report_accounts_for_every_layer(net, images):
    result = prune(net, images, ks={"conv": 4, "fc1": 8}, method="magnitude")
    assert [(r.name, r.k, r.kept) for r in result.layers] == [
        ("conv", 4, 8 * 4 * 5 - 8 * 4 + 8 * 4),
        ("fc1", 8, 20 * (8 + 8 + 4)),
    ]
    assert ("plain", "not in the given table of K") in result.left_dense
    removed = sum(r.weights - r.kept for r in result.layers)
    assert result.sparsity == pytest.approx(removed / (576 + 864 + 108 + 288 + 720 + 100 + 16))


def test_tuning_towards_the_teacher_lowers_the_damage(net, images, structure):
    ks = {info.name: 4 for info in structure.prunable}
    model = copy.deepcopy(net)
    prune_balanced(model, ks, structure=structure)
    start = change(model, net, images)
    finetune(model, images, teacher=net, epochs=4)
    finish(model)
    verify(model, ks, sources=structure.sources)
    assert change(model, net, images) < 0.5 * start


def test_statistics_follow_the_batches_only_when_asked(net, images, structure):
    ks = {info.name: 4 for info in structure.prunable}
    tuned = {}
    for follows in (False, True):
        model = copy.deepcopy(net)
        prune_balanced(model, ks, structure=structure)
        start = change(model, net, images)
        teacher = copy.deepcopy(net)
        finetune(model, images, teacher=teacher, epochs=4, batch_statistics=follows)
        assert not any(module.training for module in model.modules())
        assert all(torch.equal(v, net.state_dict()[k]) for k, v in teacher.state_dict().items())
        finish(model)
        verify(model, ks, sources=structure.sources)
        assert change(model, net, images) < start
        tuned[follows] = model.state_dict()
    means = [key for key in tuned[True] if key.endswith("running_mean")]
    assert means
    for key in means:
        assert torch.equal(tuned[False][key], net.state_dict()[key])
        assert not torch.equal(tuned[True][key], net.state_dict()[key])


def test_gradual_schedule_ends_at_the_final_k_with_labels(net, images, structure):
    ks = {info.name: 4 for info in structure.prunable}
    plan = gradual(ks, 6)
    assert [step["conv"] for step in plan] == sorted((s["conv"] for s in plan), reverse=True)
    assert plan[2:] == [ks] * 4
    model = copy.deepcopy(net)
    labels = net(images).argmax(1)
    finetune(model, images, labels=labels, epochs=6, schedule=plan, structure=structure)
    finish(model)
    verify(model, ks, sources=structure.sources)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"sparsity": 1.0}, r"target sparsity must be at least 0 and below 1, not 1\.0"),
        ({"sparsity": float("nan")}, r"target sparsity must be at least 0 and below 1"),
        ({"sparsity": 0.99}, r"target sparsity 0\.99 cannot be reached"),
        ({"group": 0}, r"weight group must be an integer of at least 1, not 0"),
        ({"method": "luck"}, r"no pruning method 'luck'; choose one of magnitude"),
        ({"ks": {"conv": 17}}, r"Layer 'conv' asks for K = 17 .* from 1 to 16"),
        ({"ks": {"stem": 4}}, r"Layer 'stem' cannot be pruned \(first layer\)"),
        ({"ks": {"nine": 4}}, r"Layer 'nine' cannot be pruned \(no such layer\)"),
        ({"exclude": ("nine",)}, r"excluded layer 'nine' is no convolution or Linear layer"),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(net, images, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        prune(net, images, **arguments)


def test_nan_weights_and_inputs_are_refused(net, images):
    broken = copy.deepcopy(net)
    with torch.no_grad():
        broken.plain.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(UserError, match=r"Layer 'plain' has 1 weights or scores that are NaN"):
        prune(broken, images)
    with pytest.raises(UserError, match=r"The calibration holds NaN"):
        prune(net, torch.full((2, 2, 10, 8), float("nan")))
    with pytest.raises(UserError, match=r"cannot run on a sample of the shape"):
        prune(net, torch.zeros(3, 5, 10, 8))


def test_tuning_needs_something_to_follow(net, images):
    with pytest.raises(UserError, match=r"needs labels or a teacher"):
        finetune(copy.deepcopy(net), images)
    with pytest.raises(UserError, match=r"one label an image"):
        finetune(copy.deepcopy(net), images, labels=torch.zeros(3))
