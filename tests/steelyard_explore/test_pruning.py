"""Networks that an exploration prunes with repair."""

import numpy as np
import pytest
import torch
from torch import nn

from steelyard.errors import UserError
from steelyard.importer import load
from steelyard.network import Conv, golden
from steelyard.quantize import export_onnx, quantize
from steelyard_explore import Record, accuracy, check_same, keep_largest, prune_to
from steelyard_explore.accuracy import PRUNED_GROUP


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Float file, images and the int8 network of it."""
    folder = tmp_path_factory.mktemp("float")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(16 * 8 * 8, 10),
        ).eval()
    images = np.random.default_rng(1).random((64, 1, 8, 8), np.float32)
    export_onnx(model, images, folder / "float.onnx")
    quantize(model, images, folder / "int8.onnx")
    return folder / "float.onnx", images, load(folder / "int8.onnx")


def most_in_a_group(layer):
    """Largest number of weights that a group along (ky, kx, in) keeps."""
    flat = layer.weight.transpose(0, 2, 3, 1).reshape(len(layer.weight), -1)
    counts = np.add.reduceat(flat != 0, range(0, flat.shape[1], PRUNED_GROUP), axis=1)
    return counts.max()


def test_pruning_keeps_k_of_each_group_and_repairs(made, tmp_path):
    source, images, network = made
    tested = np.random.default_rng(2).random((200, 1, 8, 8), np.float32)
    planes = network.planes(network.input, tested)
    scores = golden.run(network, network.tensor(network.input).quantize(planes))
    labels = scores.reshape(len(tested), -1).argmax(1)
    with Record(tmp_path / "record.sqlite") as record:
        for each in prune_to([2, 4], source, images, record=record):
            file = tmp_path / "pruned.onnx"
            file.write_bytes(each.content)
            pruned = load(file)
            check_same(network, pruned, source)
            first, *others = [e for e in pruned.layers if isinstance(e, Conv)]
            assert most_in_a_group(first) > each.k
            assert [most_in_a_group(e) for e in others] == [each.k] * len(others)
            thinned = accuracy(keep_largest(network, each.k), tested, labels)
            assert accuracy(pruned, tested, labels) > thinned


def test_what_was_pruned_is_not_pruned_again(made, tmp_path, monkeypatch):
    source, images, _ = made
    with Record(tmp_path / "record.sqlite") as record:
        (once,) = prune_to([4], source, images, record=record)
        assert not once.known
        monkeypatch.setattr("steelyard_explore.pruning._prune", None)
        (again,) = prune_to([4], source, images, record=record)
        assert again.known and again.content == once.content
        # Other images are another job, and so is another network.
        with pytest.raises(TypeError):
            prune_to([4], source, images[::-1], record=record)
        other = tmp_path / "other.onnx"
        other.write_bytes(source.read_bytes() + b"more")
        with pytest.raises(TypeError):
            prune_to([4], other, images, record=record)


def test_another_network_is_refused(made):
    source, _, network = made
    other = keep_largest(network, 2)
    check_same(network, other, source)
    layers = other.layers[:-1]
    object.__setattr__(other, "layers", layers)
    with pytest.raises(UserError) as caught:
        check_same(network, other, source)
    assert str(caught.value) == (
        f"Network 'float.onnx' has other layers than {network.name!r} has; give the float network "
        "that was quantized."
    )
