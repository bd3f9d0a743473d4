"""``steelyard train``, on a handful of images."""

import numpy as np
import pytest

from steelyard import data, zoo


@pytest.fixture
def few(monkeypatch) -> data.FashionMnist:
    sample = zoo.sample()
    found = data.FashionMnist(
        sample.calibration[:128],
        sample.calibration_labels[:128],
        sample.test[:100],
        sample.test_labels[:100],
        "the bundled sample",
    )
    monkeypatch.setattr(data, "find", lambda folder: found)
    return found


def test_train_writes_weights_with_how_they_were_made(steelyard, few, tmp_path):
    path, images, checkpoint = (tmp_path / name for name in ("w.npz", "s.npz", "c.pt"))
    result = steelyard(
        *("train", "--epochs", 1, "--seed", 5, "--half", "--checkpoint", checkpoint),
        *("--sample", images, "-o", path),
    )
    assert result.status == 0, result.err
    assert "epoch 1/1: loss" in result.err and "in half precision" in result.out
    assert checkpoint.is_file()
    with np.load(path, allow_pickle=False) as archive:
        assert archive["0.weight"].dtype == np.float16
        assert int(archive["seed"]) == 5
        assert int(archive["epochs"]) == 1
    zoo.load("fashion", path)
    with np.load(images, allow_pickle=False) as archive:
        assert np.array_equal(archive["calibration"], few.train_images)


@pytest.mark.usefixtures("few")
def test_a_file_that_is_no_checkpoint_is_refused(steelyard, tmp_path):
    (tmp_path / "c.pt").write_bytes(b"nothing of the kind")
    result = steelyard("train", "--checkpoint", tmp_path / "c.pt", "-o", tmp_path / "w.npz")
    result.refused("c.pt cannot be read as a checkpoint", "delete it")
