"""The bundled network and images, and the benchmark shapes."""

import numpy as np
import pytest
import torch

from steelyard import zoo
from steelyard.errors import UserError
from steelyard.prune import inspect as inspect_network
from steelyard.zoo.bundle import SAMPLE, WEIGHTS, write_arrays

SAMPLE_RIGHT = 938  # of the 1,000 bundled test images; 9,268 of all 10,000


def test_bundle_is_small():
    assert WEIGHTS["fashion"].stat().st_size < 1_000_000
    assert WEIGHTS["vgg_small"].stat().st_size < 2_300_000
    assert SAMPLE.stat().st_size < 1_000_000


def test_bundled_weights_reach_their_accuracy_on_the_bundled_test_images():
    sample = zoo.sample()
    with torch.no_grad():
        found = zoo.load("fashion")(torch.from_numpy(sample.test_input)).argmax(1).numpy()
    right = int((found == sample.test_labels).sum())
    assert abs(right - SAMPLE_RIGHT) <= 1  # convolutions may round otherwise elsewhere
    assert zoo.info() == zoo.WeightsInfo(accuracy=0.9268, seed=0, epochs=12)


def test_bundled_vgg_small_is_trained():
    sample = zoo.sample()
    with torch.no_grad():
        found = zoo.load("vgg_small")(torch.from_numpy(sample.test_input[:100])).argmax(1).numpy()
    assert (found == sample.test_labels[:100]).sum() >= 90
    assert zoo.info("vgg_small") == zoo.WeightsInfo(accuracy=0.9327, seed=0, epochs=4)


def test_sample_has_every_class_and_the_input_units_of_the_network():
    sample = zoo.sample()
    assert sample.calibration.shape == sample.test.shape == (1000, 28, 28)
    for labels in (sample.calibration_labels, sample.test_labels):
        assert np.bincount(labels, minlength=10).min() >= 80
    x = sample.calibration_input
    assert x.shape == (1000, 1, 28, 28)
    assert x.dtype == np.float32
    assert (x.min(), x.max()) == (0.0, 1.0)


def test_first_layer_of_the_demo_network_is_a_small_share_of_the_work():
    structure = inspect_network(zoo.build("fashion"), torch.zeros(1, 1, 28, 28))
    first = 28 * 28 * 9 * 16
    assert first / (first + structure.macs_outside_first) < 0.025
    assert structure.macs_outside_first == 9_032_320
    assert [reason for _, reason in structure.left_dense] == ["first layer"]


def test_vgg_small_has_the_work_of_a_vgg_class_network(tmp_path):
    model = zoo.build("vgg_small", seed=2)
    structure = inspect_network(model, torch.zeros(1, 1, 28, 28))
    assert structure.macs_outside_first + 28 * 28 * 9 * 64 == 116_080_128
    assert structure.sources == {"22": (256, 3, 3)}
    zoo.save(model, tmp_path / "w.npz", accuracy=0.1, seed=2, epochs=1)
    again = zoo.load("vgg_small", tmp_path / "w.npz")
    assert torch.equal(again[0].weight, model[0].weight)
    with pytest.raises(UserError, match=r"weights of 'fashion'.*--model fashion"):
        zoo.load("fashion", tmp_path / "w.npz")


@pytest.mark.parametrize(
    ("name", "size", "convolutions", "macs"),
    [("vgg16", 32, 13, 313_201_664), ("resnet18", 64, 20, 148_050_944)],
)
def test_benchmark_shapes_have_the_work_of_the_published_networks(name, size, convolutions, macs):
    model = zoo.build(name, size=size, classes=10)
    kinds = [type(m).__name__ for m in model.modules()]
    assert kinds.count("Conv2d") == convolutions
    structure = inspect_network(model, torch.zeros(1, 3, size, size))
    first = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d))
    first_macs = first.weight.numel() * (size // first.stride[0]) ** 2
    assert structure.macs_outside_first + first_macs == macs


def test_building_is_seeded_and_leaves_the_global_generator():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, second, other = (zoo.build("fashion", seed=s) for s in (3, 3, 4))
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first[0].weight, second[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"name": "lenet"}, r"no network 'lenet'; choose one of fashion, vgg16, resnet18"),
        ({"name": "fashion", "size": 32}, r"made for 28x28 inputs"),
        ({"name": "vgg16", "size": 40}, r"multiple of 32, not 40"),
        ({"name": "resnet18", "size": 4}, r"at least 8, not 4"),
        ({"name": "resnet18", "classes": 0}, r"at least 1, not 0"),
    ],
)
def test_unknown_networks_and_sizes_are_refused(arguments, sentence):
    with pytest.raises(UserError, match=sentence):
        zoo.build(**arguments)


def test_weights_are_written_the_same_and_read_back(tmp_path):
    model = zoo.build("fashion", seed=9)
    paths = [tmp_path / "a.npz", tmp_path / "b.npz"]
    for path in paths:
        zoo.save(model, path, accuracy=0.1, seed=9, epochs=1)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    again = zoo.load("fashion", paths[0])
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True)
    )
    assert sorted(tmp_path.iterdir()) == paths


def test_half_precision_halves_the_file_and_nothing_else(tmp_path):
    model = zoo.build("fashion", seed=9)
    whole, half = tmp_path / "whole.npz", tmp_path / "half.npz"
    zoo.save(model, whole, accuracy=0.1, seed=9, epochs=1)
    zoo.halve(model)
    zoo.save(model, half, accuracy=0.1, seed=9, epochs=1)
    assert half.stat().st_size < 0.55 * whole.stat().st_size
    again = zoo.load("fashion", half).state_dict()
    for key, value in model.state_dict().items():
        assert again[key].dtype == value.dtype and torch.equal(again[key], value)


def test_other_files_are_refused_as_weights(tmp_path):
    path = tmp_path / "w.npz"
    for content, sentence in ((b"no zip", "cannot be read as an npz file"), (None, "not hold the")):
        if content is None:
            write_arrays(path, {"x": np.zeros(3)})
        else:
            path.write_bytes(content)
        with pytest.raises(UserError, match=sentence):
            zoo.load("fashion", path)
    with pytest.raises(UserError, match="cannot be read"):
        zoo.load("fashion", tmp_path / "absent.npz")
    with pytest.raises(UserError, match="Only 'fashion' and 'vgg_small' come with"):
        zoo.load("vgg16")
