"""Thinned networks and their accuracy."""

import numpy as np
import pytest

from steelyard.errors import UserError
from steelyard.network import Conv, golden
from steelyard.network.random import random_network
from steelyard_cli.bench import networks as bench
from steelyard_explore import accuracy, keep_largest


def test_the_largest_of_each_16_weights_stay():
    dense = bench.resnet8(None)
    thin = keep_largest(dense, 3)
    pairs = list(zip(dense.layers, thin.layers, strict=True))
    convs = [(a, b) for a, b in pairs if isinstance(a, Conv)]
    assert (convs[0][0].weight == convs[0][1].weight).all()
    for a, b in convs[1:]:
        old = a.weight.transpose(0, 2, 3, 1).reshape(len(a.weight), -1)
        new = b.weight.transpose(0, 2, 3, 1).reshape(len(a.weight), -1)
        for start in range(0, old.shape[1], 16):
            before, after = old[:, start : start + 16], new[:, start : start + 16]
            kept = after != 0
            assert (kept.sum(1) == min(3, before.shape[1])).all()
            assert (after[kept] == before[kept]).all()
            least = np.where(kept, np.abs(before.astype(int)), 999).min(1)
            assert (np.where(kept, 0, np.abs(before.astype(int))).max(1) <= least).all()


def test_a_network_that_is_thin_already_stays_as_it_is():
    network = bench.resnet8(4)
    for a, b in zip(network.layers, keep_largest(network, 4).layers, strict=True):
        if isinstance(a, Conv):
            assert (a.weight == b.weight).all()


@pytest.mark.parametrize("k", [0, 17, True, "auto"])
def test_a_wrong_k_is_refused(k):
    with pytest.raises(UserError, match=f"^K must be an integer from 1 to 16, not {k!r}; choose"):
        keep_largest(bench.resnet8(4), k)


def test_accuracy_is_the_share_of_labels_that_score_most():
    network = random_network(5, layers=3, max_channels=6, max_pixels=30)
    shape = network.tensor(network.input).shape
    images = np.random.default_rng(0).normal(size=(40, *shape)).astype(np.float32)
    codes = network.tensor(network.input).quantize(images)
    best = golden.run(network, codes).reshape(40, -1).argmax(1)
    wrong = np.where(np.arange(40) < 10, best + 1, best)
    assert accuracy(network, images, best) == 1
    assert accuracy(network, images, wrong) == 0.75


def test_images_and_labels_must_fit_together():
    network = random_network(5, layers=3, max_channels=6, max_pixels=30)
    shape = network.tensor(network.input).shape
    images = np.zeros((2, *shape), np.float32)
    with pytest.raises(UserError, match="There are 2 images and labels of the shape"):
        accuracy(network, images, np.zeros(3, int))
    with pytest.raises(UserError, match="Images have the shape"):
        accuracy(network, np.zeros((2, 1, 1), np.float32), np.zeros(2, int))
