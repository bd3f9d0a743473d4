"""Weight groups: order, exact masks, padding and the checks on them."""

import pytest
import torch
from torch import nn

from steelyard.errors import UserError
from steelyard.prune import BalancedGroups, balanced_mask, finish, prune_balanced, verify
from steelyard.prune import inspect as inspect_network
from steelyard.prune.groups import from_rows, kept_weights, to_rows


def seeded(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_rows_run_over_kernel_row_then_column_then_input_channel():
    weight = torch.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2).float()
    rows = to_rows(weight)
    expected = [weight[1, ic, ky, kx] for ky in range(2) for kx in range(2) for ic in range(3)]
    assert rows[1].tolist() == [float(v) for v in expected]
    assert torch.equal(from_rows(rows, weight.shape), weight)


def test_linear_behind_a_flattened_map_is_ordered_like_a_convolution():
    source = (3, 2, 4)
    weight = seeded(5, 24)
    rows = to_rows(weight, source)
    assert torch.equal(rows, to_rows(weight.reshape(5, 3, 2, 4)))
    assert torch.equal(from_rows(rows, weight.shape, source), weight)


@pytest.mark.parametrize("shape", [(4, 16, 3, 3), (4, 5, 3, 3), (3, 3, 1, 1), (6, 40)])
@pytest.mark.parametrize(("k", "group"), [(1, 16), (4, 16), (16, 16), (3, 8), (2, 5)])
def test_every_group_keeps_exactly_its_k_largest(shape, k, group):
    weight = seeded(*shape)
    mask = balanced_mask(weight, k, group)
    kept, values = to_rows(mask), to_rows(weight).abs()
    for channel in range(shape[0]):
        for start in range(0, kept.shape[1], group):
            part = slice(start, start + group)
            here = kept[channel, part] == 1
            assert int(here.sum()) == min(k, len(here))
            if not bool(here.all()):
                assert values[channel, part][here].min() >= values[channel, part][~here].max()
    assert int(mask.sum()) == kept_weights((shape[0], kept.shape[1]), k, group)


def test_equal_scores_keep_the_earlier_weights():
    mask = balanced_mask(torch.ones(1, 32), 3)
    assert mask.nonzero()[:, 1].tolist() == [0, 1, 2, 16, 17, 18]


def test_score_decides_in_place_of_magnitude():
    score = torch.zeros(1, 16)
    score[0, [2, 9]] = 1.0
    assert balanced_mask(seeded(1, 16), 2, score=score).nonzero()[:, 1].tolist() == [2, 9]


@pytest.mark.parametrize("k", [0, 17, -1, 2.0, True])
def test_k_outside_the_group_is_refused_by_layer(k):
    with pytest.raises(UserError, match=r"Layer 'features.3' .* from 1 to 16\."):
        balanced_mask(torch.ones(1, 16), k, name="features.3")


def test_nan_weight_is_refused_by_layer():
    weight = torch.ones(2, 16)
    weight[1, 3] = float("nan")
    with pytest.raises(UserError, match=r"Layer 'fc' has 1 weights or scores that are NaN"):
        balanced_mask(weight, 4, name="fc")


def network() -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(4, 6, 3, padding=1),
            nn.Flatten(),
            nn.ReLU(),
            nn.Linear(6 * 4 * 5, 7),
            nn.Linear(7, 3),
        )


def test_pruning_twice_only_shrinks_the_masks():
    net = network()
    structure = inspect_network(net, torch.zeros(1, 2, 4, 5))
    prune_balanced(net, {"2": 8, "5": 8}, structure=structure)
    before = {name: net.get_submodule(name).weight != 0 for name in ("2", "5")}
    prune_balanced(net, {"2": 3, "5": 3}, structure=structure)
    finish(net)
    verify(net, {"2": 3, "5": 3}, sources=structure.sources)
    for name, kept in before.items():
        weight = net.get_submodule(name).weight
        assert isinstance(weight, nn.Parameter)
        assert not bool(((weight != 0) & ~kept).any())


def test_a_larger_k_brings_no_weight_back():
    net = network()
    structure = inspect_network(net, torch.zeros(1, 2, 4, 5))
    prune_balanced(net, {"2": 3, "5": 3}, structure=structure)
    before = {name: net.get_submodule(name).weight_mask.clone() for name in ("2", "5")}
    prune_balanced(net, {"2": 8, "5": 8}, structure=structure)
    for name, mask in before.items():
        assert torch.equal(net.get_submodule(name).weight_mask, mask)


def test_method_serves_torch_directly():
    layer = nn.Linear(32, 4)
    BalancedGroups.apply(layer, "weight", 4, 16, None, "fc")
    assert int(layer.weight_mask.sum()) == 4 * 2 * 4
    layer(seeded(2, 32)).sum().backward()
    assert bool((layer.weight_orig.grad[layer.weight_mask == 0] == 0).all())


def test_verify_names_layer_channel_and_group():
    net = network()
    with torch.no_grad():
        net[2].weight.zero_()
        rows = to_rows(net[2].weight)
        rows[4, 16:19] = 1.0
        net[2].weight.copy_(from_rows(rows, net[2].weight.shape))
    verify(net, {"2": 3})
    with pytest.raises(
        UserError, match=r"Layer '2' keeps 3 weights in group 1 of output channel 4 where K = 2"
    ):
        verify(net, {"2": 2})


def test_verify_refuses_an_unknown_layer():
    with pytest.raises(UserError, match=r"no convolution or Linear layer 'nine'"):
        verify(network(), {"nine": 2})
