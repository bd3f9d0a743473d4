"""Least squares in numpy: the masks and weights of torch's side, and of the textbook."""

import numpy as np
import pytest
import torch

from steelyard.balanced import fit
from steelyard.errors import UserError
from steelyard.prune import solve as torch_solve
from steelyard.prune.admm import layer_admm
from steelyard.prune.groups import balanced_mask
from steelyard.prune.statistics import Moments as TorchMoments

SEED = 7


def problem(length: int = 70, channels: int = 5, count: int = 400):
    rng = np.random.default_rng(SEED)
    mixed = rng.normal(size=(length, length)) / np.sqrt(length) + np.eye(length)
    x = rng.normal(size=(count, length)) @ mixed
    rows = rng.normal(size=(channels, length))
    y = x @ rows.T
    found = fit.Moments(
        x.T @ x / count, x.T @ y / count, (y**2).mean(0), np.zeros(length), np.zeros(channels)
    )
    return x, y, rows, found


def as_torch(found: fit.Moments) -> TorchMoments:
    return TorchMoments(*(torch.from_numpy(np.ascontiguousarray(v)) for v in vars(found).values()))


@pytest.mark.parametrize(("k", "group"), [(4, 16), (1, 16), (3, 5)])
def test_elimination_keeps_the_weights_that_torch_keeps(k, group):
    _, _, rows, found = problem()
    ours = fit.eliminate(*fit.regularize(found, rows), k, group)
    theirs = torch_solve.eliminate(
        *torch_solve.regularize(as_torch(found), torch.from_numpy(rows), fit.RIDGE), k, group
    )
    assert np.array_equal(ours, theirs.numpy() != 0)


def test_alternating_directions_keep_the_weights_that_torch_keeps():
    _, _, rows, found = problem()
    theirs = layer_admm(
        as_torch(found),
        torch.from_numpy(rows),
        lambda energy: balanced_mask(energy, 4, 16) != 0,
        ridge=fit.RIDGE,
    )
    ours = fit.alternate(found, rows, 4, 16, fit.RIDGE)
    assert np.array_equal(ours, theirs.numpy())


def test_fit_is_the_least_squares_of_the_kept_weights():
    x, y, rows, found = problem()
    mask = fit.balanced(np.abs(rows), 4, 16)
    mask[0, :16] = False  # a row that keeps fewer than the others
    gram, cross = found.gram, found.cross
    new = fit.fitted(gram, cross, mask)
    for channel, own in enumerate(mask):
        best, *_ = np.linalg.lstsq(x[:, own], y[:, channel])
        np.testing.assert_allclose(new[channel, own], best, rtol=1e-6, atol=1e-9)
        assert not new[channel, ~own].any()
    missed, power = fit.fit_error(found, new)
    assert missed / power == pytest.approx(((y - x @ new.T) ** 2).sum() / (y**2).sum())


def test_descent_finds_what_the_direct_solution_finds():
    _, _, rows, found = problem()
    mask = fit.balanced(np.abs(rows), 12, 16)
    system = fit.regularize(found, rows)
    direct = fit.fitted(*system, mask)
    near = fit.descended(*system, mask)
    assert np.abs(near - direct).max() < 1e-4 * np.abs(direct).max()
    assert not near[~mask].any()


def test_descent_replaces_the_direct_solution_where_that_takes_longer(monkeypatch):
    _, _, rows, found = problem()
    system = fit.regularize(found, rows)
    used = []
    monkeypatch.setattr(fit, "descended", lambda gram, cross, mask: used.append(mask))
    monkeypatch.setattr(fit, "STEPS", 1)
    for k in (1, 12):
        fit.fitted(*system, fit.balanced(np.abs(rows), k, 16))
    assert [int(mask.sum(1).max()) for mask in used] == [12 * 4 + 6]


def test_balanced_keeps_the_best_and_of_equals_the_earlier():
    score = np.array([[1.0, 3.0, 2.0, 3.0, 0.0, 0.0]])
    assert fit.balanced(score, 2, 4).tolist() == [[False, True, False, True, True, True]]
    assert fit.balanced(np.ones((1, 8)), 1, 4).nonzero()[1].tolist() == [0, 4]


def test_inputs_that_are_no_numbers_are_refused_with_a_way_out():
    with pytest.raises(UserError, match=r"no solution .* --method magnitude\."):
        fit.solved(np.full((2, 2), np.nan), np.ones((2, 1)))


def test_a_system_of_nothing_but_zeros_gets_a_diagonal():
    system = np.diag([1.0, 0.0])
    found = fit.solved(system, np.array([[1.0], [0.0]]))
    assert found.ravel().tolist() == pytest.approx([1.0, 0.0])
