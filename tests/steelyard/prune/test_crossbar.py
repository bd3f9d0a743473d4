"""Crossbar-aware pruning of whole networks: selection, ADMM, repair, report, budget."""

import copy

import pytest
import torch
from torch import nn

from steelyard.errors import UserError
from steelyard.prune import (
    CONSTRAINTS,
    CrossbarShape,
    KernelPatterns,
    MatrixShape,
    MixedGranularity,
    Unstructured,
    admm,
    layer_admm,
    prune_for_crossbar,
    sparsest,
    weight_dependency,
)
from steelyard.prune import inspect as inspect_network
from steelyard.prune.dependency import readers
from steelyard.prune.groups import to_rows
from steelyard.prune.solve import RIDGE, fit_error, regularize, solve
from steelyard.prune.statistics import Moments

SIZE = CrossbarShape(rows=64, channels=16, ou_rows=9, ou_channels=2)


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = nn.Sequential(
            nn.Conv2d(2, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 12, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(12 * 5 * 4, 5),
        )
        model.train()
        with torch.no_grad():
            for _ in range(20):
                model(torch.randn(16, 2, 10, 8))
        return model.eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    noise = torch.randn(120, 2, 10, 8, generator=torch.Generator().manual_seed(6))
    return nn.functional.avg_pool2d(noise, 3, stride=1, padding=1)


def change(model: nn.Module, reference: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        wanted = reference(x)
        return float((model(x) - wanted).square().mean() / wanted.var())


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_every_constraint_reaches_the_target_on_the_same_path(net, images, constraint):
    before = copy.deepcopy(net.state_dict())
    result = prune_for_crossbar(
        net, images, constraint, 0.5, crossbar=SIZE, select="energy", exclude=("10",), seed=3
    )
    again = prune_for_crossbar(
        net, images, constraint, keeps=result.keeps, crossbar=SIZE, select="energy", seed=3
    )
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    first, second = result.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    # Classes of whole operation units may fall short of the last weights.
    outside = 8 * 12 * 9 + 12 * 12 * 9 + 240 * 5
    gone = sum(int((~mask).sum()) for mask in result.masks.values())
    assert result.sparsity == pytest.approx(gone / outside)
    assert [r.name for r in result.layers] == ["3", "7"]
    for report in result.layers:
        weight = result.model.get_submodule(report.name).weight
        assert bool((weight[~result.masks[report.name]] == 0).all())
        assert report.kept == int(result.masks[report.name].sum())
        assert 0.0 <= report.error <= 1.0
    assert ("10", "excluded") in result.left_dense
    assert (result.constraint, result.seed) == (constraint, 3)
    assert 0.0 < change(result.model, net, images) < 1.0


def test_target_is_met_by_the_allocation(net, images):
    result = prune_for_crossbar(net, images, "unstructured", 0.8, select="magnitude")
    assert 0.8 <= result.sparsity < 0.85
    result = prune_for_crossbar(net, images, "pattern", 0.6, work=0.7, select="energy")
    assert result.sparsity >= 0.6


def moments_of(inputs: torch.Tensor, rows: torch.Tensor) -> Moments:
    x = inputs - inputs.mean(0)
    y = x @ rows.T
    count = len(x)
    return Moments(x.T @ x / count, x.T @ y / count, y.square().mean(0), inputs.mean(0), y.mean(0))


@pytest.mark.parametrize(
    "constraint", [Unstructured(), KernelPatterns(4, SIZE), MixedGranularity(SIZE)]
)
def test_layer_admm_finds_better_weights_among_correlated_inputs(constraint):
    generator = torch.Generator().manual_seed(1)
    shape = MatrixShape(12, 8, 9)
    blend = torch.randn(72, 72, generator=generator).double()
    blend = torch.eye(72).double() + 0.15 * blend
    inputs = torch.randn(2000, 72, generator=generator).double() @ blend
    rows = torch.randn(12, 72, generator=generator).double()
    found = moments_of(inputs, rows)

    def missed(mask: torch.Tensor) -> float:
        return fit_error(found, solve(*regularize(found, rows, RIDGE), mask))

    def project(energy: torch.Tensor) -> torch.Tensor:
        return constraint.project(energy, shape, 0.3)

    plain = project(rows.square() * found.gram.diagonal())
    driven = layer_admm(found, rows, project, ridge=RIDGE)
    assert int(driven.sum()) <= 0.3 * 12 * 72
    assert missed(driven) < 0.95 * missed(plain)


def test_admm_drives_the_weights_towards_the_constraint(net, images):
    structure = inspect_network(net, images)
    model = copy.deepcopy(net)
    keeps = {"3": 0.4, "7": 0.4}
    constraint = KernelPatterns(4, SIZE)
    seen: list[tuple[str, int, int]] = []

    def outside(own: nn.Module, masks: dict[str, torch.Tensor]) -> float:
        shares = []
        for name, mask in masks.items():
            energy = to_rows(own.get_submodule(name).weight.detach()).square()
            shares.append(float(energy[~mask].sum() / energy.sum()))
        return max(shares)

    masks = admm(
        model, images, constraint, keeps, structure, teacher=net, rounds=4, epochs=4,
        pull=0.3, rate=5e-3, progress=lambda *step: seen.append(step),
    )  # fmt: skip
    assert seen[-1] == (15, 16, "admm")
    first = {
        name: constraint.project(
            to_rows(net.get_submodule(name).weight.detach()).double().square(),
            MatrixShape.of(net.get_submodule(name).weight),
            0.4,
        )
        for name in keeps
    }
    assert outside(model, masks) < 0.5 * outside(net, first)
    assert change(model, net, images) < 0.5
    for name, mask in masks.items():
        assert int(mask.sum()) <= 0.4 * net.get_submodule(name).weight.numel()


def test_tuning_with_held_masks_lowers_the_damage(net, images):
    keeps = {"3": 0.3, "7": 0.2}
    plain = prune_for_crossbar(net, images, "pattern", keeps=keeps, crossbar=SIZE, rounds=3)
    tuned = prune_for_crossbar(
        net, images, "pattern", keeps=keeps, crossbar=SIZE, rounds=3, epochs=6
    )
    assert change(tuned.model, net, images) < change(plain.model, net, images)
    for name, mask in tuned.masks.items():
        assert torch.equal(mask, plain.masks[name])
        assert bool((tuned.model.get_submodule(name).weight[~mask] == 0).all())


def test_pruning_in_stages_tunes_between_and_ends_at_the_same_share(net, images):
    seen: list[str] = []
    result = prune_for_crossbar(
        net, images, "mixed", keeps={"3": 0.2, "7": 0.2}, crossbar=SIZE, select="energy",
        stages=((6.0, 60), (1.5, 40)), epochs=2, progress=lambda _, __, step: seen.append(step),
    )  # fmt: skip
    # The first step would keep more than all: it tunes the dense network.
    assert seen == [
        *("done", "tune"),
        *("3", "7", "done", "tune"),
        *("3", "7", "done", *["tune"] * 2),
    ]
    at_once = prune_for_crossbar(
        net, images, "mixed", keeps=result.keeps, crossbar=SIZE, select="energy", epochs=2
    )
    for name, mask in result.masks.items():
        assert int(mask.sum()) <= 0.2 * mask.numel()
        assert not torch.equal(mask, at_once.masks[name])
        assert bool((result.model.get_submodule(name).weight[~mask] == 0).all())
    # The last repair has less to make up for.
    for staged, single in zip(result.layers, at_once.layers, strict=True):
        assert staged.error < single.error


def test_constraints_by_layer_leave_the_others_to_the_one(net, images):
    single = MixedGranularity(SIZE, width=1)
    result = prune_for_crossbar(
        net, images, "mixed", keeps={"3": 0.2, "7": 0.2}, crossbar=SIZE, select="energy",
        constraints={"7": single},
    )  # fmt: skip
    assert [report.constraint.width for report in result.layers] == [None, 1]
    usual = prune_for_crossbar(
        net, images, "mixed", keeps={"3": 0.2, "7": 0.2}, crossbar=SIZE, select="energy"
    )
    assert torch.equal(result.masks["3"], usual.masks["3"])
    assert not torch.equal(result.masks["7"], usual.masks["7"])
    assert result.layers[1].error < usual.layers[1].error


def test_a_stage_without_images_only_repairs(net, images):
    seen: list[str] = []
    keeps = {"3": 0.2, "7": 0.2}
    staged, single = (
        prune_for_crossbar(
            net, images, "mixed", keeps=keeps, crossbar=SIZE, stages=stages,
            progress=lambda _, __, step: seen.append(step),
        )
        for stages in (((2.0, 0),), ())
    )  # fmt: skip
    assert seen == ["3", "7", "done"] * 3
    for one, other in zip(staged.layers, single.layers, strict=True):
        assert one.error < other.error


def test_mixed_thresholds_are_chosen_by_measurement(net, images):
    result = prune_for_crossbar(net, images, "mixed", keeps={"7": 0.3}, crossbar=SIZE)
    chosen = result.layers[0]
    for variant in MixedGranularity(SIZE).variants():
        fixed = OneSetting(variant)
        other = prune_for_crossbar(
            net, images, fixed, keeps={"7": 0.3}, crossbar=SIZE, select="energy"
        )
        assert chosen.error <= other.layers[0].error + 1e-12
        assert other.constraint == "OneSetting"


class OneSetting:
    """A constraint that offers no settings to choose among."""

    def __init__(self, constraint) -> None:
        self.project = constraint.project

    def variants(self):
        return (self,)


def test_filters_depend_on_the_weights_that_read_them(net, images):
    assert readers(net) == {"0": ["3"], "3": ["7"], "7": ["10"], "10": []}
    model = copy.deepcopy(net)
    with torch.no_grad():
        model[10].weight.reshape(5, 12, 20)[:, 4] = 0.0
        model[7].weight[:, 3] *= 10.0
    factors = weight_dependency(model, inspect_network(model, images))
    assert float(factors["7"][4]) == pytest.approx(0.5)
    assert int(factors["3"].argmax()) == 3
    assert float(factors["3"].mean()) == pytest.approx(1.0)
    assert torch.equal(factors["10"], torch.ones(5).double())


def test_filters_behind_a_branch_are_judged_by_themselves():
    class Branch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = nn.Conv2d(2, 2, 1)
            self.b = nn.Conv2d(2, 2, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.a(x)
            return self.b(y) + y

    assert readers(Branch())["a"] == []


def test_search_finds_the_sparsest_network_within_the_budget(net, images):
    tried = []

    def attempt(share: float):
        tried.append(share)
        return prune_for_crossbar(net, images, "ou_row", share, select="magnitude")

    def agreement(model: nn.Module) -> float:
        return 1.0 - change(model, net, images)

    found = sparsest(attempt, agreement, 0.6, 0.2, 0.8, steps=3)
    assert found is not None
    result, reached = found
    assert reached >= 0.6
    assert len(tried) == 4
    assert agreement(result.model) == reached
    assert sparsest(attempt, agreement, 1.1, 0.2, 0.8) is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"sparsity": 1.0}, r"target sparsity must be at least 0 and below 1"),
        ({"sparsity": 0.99}, r"target sparsity 0\.99 cannot be reached: one weight of 48"),
        ({"work": 0.99}, r"work 0\.99 cannot be reached: .* and 97\.2 % of the work"),
        ({"constraint": "luck"}, r"no constraint 'luck' for crossbars; choose one of unstructured"),
        ({"select": "luck"}, r"no selection 'luck' of weights; choose one of magnitude"),
        ({"keeps": {"3": 0.0}}, r"Layer '3' is to keep the share 0\.0"),
        ({"stages": ((2.0, 9), (2.0, 9))}, r"keep 2, 2 times what stays in the end; give factors"),
        ({"stages": ((1.0, 9),)}, r"keep 1 times what stays in the end; give factors above 1"),
        ({"stages": ((2.0, 121),)}, r"cannot tune on 121 of 120 images; give from 0 to 120"),
        ({"labels": torch.zeros(7)}, r"There are \(7,\) labels for 120 images"),
        ({"keeps": {"0": 0.5}}, r"Layer '0' cannot be pruned \(first layer\)"),
        ({"keeps": {"x": 0.5}}, r"Layer 'x' cannot be pruned \(no such layer\)"),
        ({"constraints": {"3": Unstructured()}}, r"by layer need the shares that the layers keep"),
        (
            {"keeps": {"3": 0.5}, "constraints": {"x": Unstructured()}},
            r"Layer 'x' cannot be pruned \(no such layer\)",
        ),
    ],
)
def test_bad_arguments_are_refused_in_a_sentence(net, images, arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        prune_for_crossbar(net, images, **arguments)


def test_admm_needs_something_to_follow(net, images):
    structure = inspect_network(net, images)
    with pytest.raises(UserError, match=r"needs labels or a teacher"):
        admm(copy.deepcopy(net), images, Unstructured(), {"3": 0.5}, structure)
    with pytest.raises(UserError, match=r"at least one round of one epoch, not 0 of 1"):
        admm(copy.deepcopy(net), images, Unstructured(), {}, structure, teacher=net, rounds=0)
