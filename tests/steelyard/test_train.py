"""Training of the demo network, on a handful of images."""

from dataclasses import replace

import pytest
import torch

from steelyard import data, train, zoo
from steelyard.errors import UserError


@pytest.fixture(scope="module")
def few() -> data.FashionMnist:
    sample = zoo.sample()
    return data.FashionMnist(
        sample.calibration[:128],
        sample.calibration_labels[:128],
        sample.test[:100],
        sample.test_labels[:100],
        "the bundled sample",
    )


def test_training_is_deterministic_and_learns(few):
    half = replace(few, train_images=few.train_images[:64], train_labels=few.train_labels[:64])
    seen: list[train.Epoch] = []
    first = train.train(half, epochs=2, seed=1, batch=16, on_epoch=seen.append)
    second = train.train(half, epochs=2, seed=1, batch=16)
    assert [epoch.number for epoch in seen] == [1, 2]
    assert seen[1].loss < seen[0].loss
    assert first.accuracy == second.accuracy == seen[-1].accuracy
    weights = zip(first.model.parameters(), second.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)


def test_training_goes_on_from_its_checkpoint_to_the_same_weights(few, tmp_path):
    half = replace(few, train_images=few.train_images[:32], train_labels=few.train_labels[:32])
    path = tmp_path / "new" / "checkpoint.pt"
    whole = train.train(half, epochs=3, seed=2, batch=16)

    def stop(epoch: train.Epoch) -> None:
        if epoch.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train(half, epochs=3, seed=2, batch=16, checkpoint=path, on_epoch=stop)
    seen: list[train.Epoch] = []
    rest = train.train(half, epochs=3, seed=2, batch=16, checkpoint=path, on_epoch=seen.append)
    assert [epoch.number for epoch in seen] == [3]
    assert [epoch.loss for epoch in rest.epochs] == [epoch.loss for epoch in whole.epochs]
    states = (whole.model.state_dict(), rest.model.state_dict())
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    with pytest.raises(UserError, match=r"is the checkpoint of a training with .* 3, 2, 16, 32\)"):
        train.train(half, epochs=4, seed=2, batch=16, checkpoint=path)
    path.write_bytes(b"no checkpoint")
    with pytest.raises(UserError, match="cannot be read as a checkpoint"):
        train.train(half, epochs=3, seed=2, batch=16, checkpoint=path)


def test_a_vgg_class_network_trains_on_the_same_path(few):
    tiny = data.FashionMnist(
        few.train_images[:8], few.train_labels[:8], few.test_images[:4], few.test_labels[:4], ""
    )
    result = train.train(tiny, epochs=1, batch=4, model="vgg_small")
    assert sum(p.numel() for p in result.model.parameters() if p.dim() > 1) == 1_166_400
    with pytest.raises(UserError, match="Network 'vgg16' cannot be trained here"):
        train.train(tiny, epochs=1, batch=4, model="vgg16")


def test_augmentation_only_moves_and_mirrors_pixels():
    image = torch.zeros(64, 1, 28, 28)
    image[:, 0, 10:12, 8:20] = torch.rand(2, 12, generator=torch.Generator().manual_seed(0))
    varied = train.augment(image, torch.Generator().manual_seed(1))
    assert varied.shape == image.shape
    assert torch.allclose(varied.flatten(1).sort(1).values, image.flatten(1).sort(1).values)
    columns = {tuple(v.nonzero()[0].tolist()) for v in varied[:, 0]}
    assert {row for row, _ in columns} == {8, 9, 10, 11, 12}
    assert {column for _, column in columns} == {6, 7, 8, 9, 10}
    assert len(torch.unique(varied, dim=0)) > 32


def test_accuracy_counts_right_answers(few):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    with torch.no_grad():
        model[1].weight.zero_()
        model[1].bias.copy_(torch.nn.functional.one_hot(torch.tensor(3), 10))
    share = float((few.test_labels == 3).mean())
    assert train.accuracy(model, few.test_images, few.test_labels, batch=33) == share


@pytest.mark.parametrize("arguments", [{"epochs": 0}, {"batch": 0}, {"batch": 129}])
def test_bad_numbers_are_refused(few, arguments):
    with pytest.raises(UserError, match=f"^{next(iter(arguments))} must be"):
        train.train(few, **arguments)
