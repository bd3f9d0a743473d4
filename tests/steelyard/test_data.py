"""Finding Fashion-MNIST, and refusing files that are not what they should be."""

import gzip
import struct

import numpy as np
import pytest

from steelyard import data
from steelyard.errors import UserError


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape) + array.tobytes()


def write(path, content: bytes) -> None:
    path.write_bytes(gzip.compress(content, mtime=0))


@pytest.fixture
def folder(tmp_path):
    random = np.random.default_rng(0)
    for stem, count in (("train", 6), ("t10k", 3)):
        images = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        write(tmp_path / f"{stem}-images-idx3-ubyte.gz", idx(images))
        labels = np.arange(count, dtype=np.uint8)
        write(tmp_path / f"{stem}-labels-idx1-ubyte.gz", idx(labels))
    return tmp_path


def test_folder_is_read_and_named(folder):
    found = data.find(folder)
    assert found.train_images.shape == (6, 28, 28)
    assert found.test_labels.tolist() == [0, 1, 2]
    assert found.source == f"Fashion-MNIST read from {folder}."


def test_missing_file_is_named(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(UserError, match=r"has no t10k-labels-idx1-ubyte\.gz; give the folder"):
        data.load(folder)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not an IDX file of bytes in 1 dimensions"),
        (idx(np.zeros((2, 2), np.uint8)), "is not an IDX file of bytes in 1 dimensions"),
        (idx(np.zeros(6, np.uint8))[:-1], "holds 5 values where its header promises 6"),
        (idx(np.zeros(6, np.uint8)) + b"x", "holds 7 values where its header promises 6"),
        (idx(np.zeros(5, np.uint8)), "one label from 0 to 9 for each of the 6 images"),
        (idx(np.full(6, 10, np.uint8)), "one label from 0 to 9 for each of the 6 images"),
    ],
)
def test_wrong_labels_are_refused(folder, content, sentence):
    write(folder / "train-labels-idx1-ubyte.gz", content)
    with pytest.raises(UserError, match=sentence):
        data.load(folder)


def test_images_of_another_size_are_refused(folder):
    write(folder / "t10k-images-idx3-ubyte.gz", idx(np.zeros((3, 32, 32), np.uint8)))
    with pytest.raises(UserError, match=r"\(3, 32, 32\) where \(n, 28, 28\) is needed"):
        data.load(folder)


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"no gzip", lambda b: b""])
def test_damaged_gzip_is_refused(folder, damage):
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte\.gz"):
        data.load(folder)


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No installed data set, an empty cache, and no apt-get to fetch with."""
    monkeypatch.setattr(data, "SYSTEM_FOLDER", tmp_path / "system")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(data.shutil, "which", lambda tool: None)
    return tmp_path


def test_without_any_source_one_sentence_says_what_was_tried(nowhere, monkeypatch):
    def offline(address, timeout):
        raise data.urllib.error.URLError("no network")

    monkeypatch.setattr(data.urllib.request, "urlopen", offline)
    with pytest.raises(UserError) as raised:
        data.find()
    message = str(raised.value)
    assert "Debian: there is no apt-get here" in message
    assert "cannot be fetched (no network)" in message
    assert "install the Debian package dataset-fashion-mnist" in message


def test_fetched_files_are_checked_and_kept(nowhere, folder, monkeypatch):
    sums = {
        name: data.hashlib.sha256(gzip.decompress((folder / name).read_bytes())).hexdigest()
        for name in data.SHA256
    }
    monkeypatch.setattr(data, "_from_upstream", lambda scratch: folder)
    with pytest.raises(UserError, match=r"upstream: .* came with the SHA-256"):
        data.find()
    assert not data.cache_folder().exists()
    monkeypatch.setattr(data, "SHA256", sums)
    assert "fetched from upstream into" in data.find().source
    assert "fetched earlier" in data.find().source
