"""Arrays, states and texts that users hand in: read if they are what they say, else refused."""

import io
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from steelyard import npy as _arrays
from steelyard.npy import read_npy, read_npz
from steelyard.reading import MAX_TEXT_BYTES, opened, read_text
from steelyard.state import read_state

BAD = "it does not begin with the header of a .npy file"


def npy(values: np.ndarray, **options: bool) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values, **options)
    return buffer.getvalue()


def headed(shape: str, descr: str = "<f4", data: bytes = bytes(16), version: int = 1) -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    length = len(text).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes((version, 0)) + length + text.encode() + data


@pytest.mark.parametrize(
    "values",
    [
        np.arange(6, dtype=np.float32).reshape(1, 2, 3),
        np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
        np.array(3.5),
        np.zeros((0, 4), np.uint8),
    ],
)
def test_what_numpy_saves_is_read_as_numpy_reads_it(values):
    content = npy(values)
    found = read_npy(io.BytesIO(content), len(content))
    assert found.dtype == values.dtype and np.array_equal(found, values) and found.flags.writeable


def test_a_header_of_version_2_is_read():
    content = headed("(4,)", version=2)
    assert np.array_equal(read_npy(io.BytesIO(content), len(content)), np.zeros(4, np.float32))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", BAD),
        (b"PK\x03\x04", BAD),
        (headed("(1000000000000,)"), "claims float32 of shape (1000000000000,), its data have 16"),
        (headed("(5,)"), "its data have 16 bytes"),
        (headed("(-1,)"), "claims float32 of shape (-1,)"),
        (headed("(0, 1" + "0" * 40 + ")"), ""),
        (headed("[" * 80), ""),
        (headed("(" + "1," * 80 + ")"), ""),
        (headed("(4,)", "|O"), "its items are object in place of numbers"),
        (headed("(4,)", "x"), BAD),
        (headed("(4,)", version=3), "its format version (3, 0) is not 1.0 or 2.0"),
        (npy(np.array([{}], object), allow_pickle=True), "its items are object"),
        (npy(np.zeros(2, [("a", "i4")])), "its items are [('a', '<i4')] in place of numbers"),
    ],
)
def test_what_is_no_plain_array_is_refused(content, reason):
    with pytest.raises(ValueError) as error:
        read_npy(io.BytesIO(content), len(content))
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_an_archive_that_unpacks_to_too_much_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(_arrays, "MAX_UNPACKED_BYTES", 1 << 20)
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(3):
            archive.writestr(f"{number}.npy", npy(np.zeros(100_000, np.float32)))
    for read in (read_npz, read_state):
        with pytest.raises(ValueError, match="bytes unpack to 1200384, allowed are 1048576"):
            read(path)


def saved(value: object, **options: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("zipped", [True, False])
def test_a_state_is_read_whatever_its_name(tmp_path, zipped):
    (tmp_path / "state.npz").write_bytes(
        saved({"a": torch.ones(2)}, _use_new_zipfile_serialization=zipped)
    )
    assert read_state(tmp_path / "state.npz")["a"].tolist() == [1, 1]


def test_arrays_by_name_are_read_whatever_their_files_name(tmp_path):
    with (tmp_path / "state.pt").open("wb") as file:
        np.savez(file, **{"net/0.weight": np.ones(2)})
    assert read_state(tmp_path / "state.pt")["net/0.weight"].tolist() == [1, 1]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (npy(np.zeros(3)), "it is a single array in .npy format"),
        (b"<!DOCTYPE html>", "it is a text, perhaps a page that was fetched in its place"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer of Git LFS"),
        (b"PK\x03\x04", "File is not a zip file"),
        (saved({"a": torch.zeros(9)})[:-30], "File is not a zip file"),
        (saved(torch.nn.Linear(2, 2)), "holds Python objects beside tensors"),
        (pickle.dumps(print), "it is damaged or"),
        (b"hello world", "it is damaged or"),
    ],
)
def test_what_is_no_state_is_refused(tmp_path, content, reason):
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_state(tmp_path / "x.pt")
    assert reason in str(error.value)


def test_a_fifo_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="Is no regular file"), opened(tmp_path / "fifo"):
        pass


def test_an_endless_text_is_refused(tmp_path):
    with (tmp_path / "long.toml").open("wb") as file:
        file.truncate(MAX_TEXT_BYTES + 1)
    with pytest.raises(ValueError, match=f"{MAX_TEXT_BYTES + 1} bytes, allowed are"):
        read_text(tmp_path / "long.toml")
