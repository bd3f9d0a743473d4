"""Fashion-MNIST: found in a folder, taken from the Debian package, or fetched and checked."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from steelyard.errors import UserError
from steelyard.reading import opened

SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
PACKAGE = "dataset-fashion-mnist"
UPSTREAM = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion"
SIZE = 28
CLASSES = 10
MAX_BYTES = 1 << 26
"""More than any of the data set's files unpacks to."""

# SHA-256 of the contents: Debian's gzip files differ from upstream's in their headers.
SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
    ),
    "train-labels-idx1-ubyte.gz": (
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
    ),
}
APT_SECONDS = 120
DOWNLOAD_SECONDS = 30


@dataclass(frozen=True)
class FashionMnist:
    """The whole data set, in the order of its files.

    Attributes
    ----------
    train_images
        uint8 (60000, 28, 28), 0 is background.
    train_labels
        uint8 (60000,), 0 to 9.
    test_images
        uint8 (10000, 28, 28).
    test_labels
        uint8 (10000,).
    source
        One line that says where the data came from.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: str


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The uint8 array of a gzip IDX file with that many dimensions.

    Raises
    ------
    UserError
        If the file cannot be read, is no gzip IDX file of bytes, or is cut short.
    """
    advice = "delete it and get the file again."
    try:
        content = _unpacked(path)
    except (OSError, ValueError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read as a gzip file ({error}); {advice}") from error
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes((0, 0, 8, dimensions)):
        raise UserError(f"{path} is not an IDX file of bytes in {dimensions} dimensions; {advice}")
    shape = tuple(int(n) for n in np.frombuffer(content, ">u4", dimensions, 4))
    expected = math.prod(shape)
    if len(content) - header != expected:
        raise UserError(
            f"{path} holds {len(content) - header} values where its header promises "
            f"{expected}; {advice}"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _unpacked(path: Path) -> bytes:
    """Content of a gzip file, read no further than the data set's files go."""
    with opened(path) as (file, _), gzip.open(file) as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"it unpacks to more than {MAX_BYTES} bytes")
    return content


def _pair(folder: Path, stem: str) -> tuple[np.ndarray, np.ndarray]:
    images_path = folder / f"{stem}-images-idx3-ubyte.gz"
    labels_path = folder / f"{stem}-labels-idx1-ubyte.gz"
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    if len(images) == 0 or images.shape[1:] != (SIZE, SIZE):
        raise UserError(
            f"{images_path} has the shape {images.shape} where (n, {SIZE}, {SIZE}) is needed; "
            "give the folder of Fashion-MNIST."
        )
    if len(labels) != len(images) or int(labels.max()) >= CLASSES:
        raise UserError(
            f"{labels_path} must hold one label from 0 to {CLASSES - 1} for each of the "
            f"{len(images)} images; give the folder of Fashion-MNIST."
        )
    return images, labels


def load(folder: Path, source: str | None = None) -> FashionMnist:
    """The data set from the four gzip IDX files in ``folder``.

    Raises
    ------
    UserError
        If a file is missing or is not what its name says.
    """
    missing = [name for name in SHA256 if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{folder} has no {', '.join(missing)}; give the folder that holds the four gzip "
            "files of Fashion-MNIST, or none to have them fetched."
        )
    train_images, train_labels = _pair(folder, "train")
    test_images, test_labels = _pair(folder, "t10k")
    line = source or f"Fashion-MNIST read from {folder}."
    return FashionMnist(train_images, train_labels, test_images, test_labels, line)


def cache_folder() -> Path:
    """The folder in which fetched files are kept, in the user's folder of caches."""
    return user_cache_path("steelyard", appauthor=False) / "fashion-mnist"


def find(folder: Path | None = None) -> FashionMnist:
    """The data set from ``folder``, else the Debian package, else the cache, else the network.

    Without a folder: the files of the installed Debian package, then those fetched earlier,
    then the Debian package fetched and unpacked without root, then the upstream files. Fetched
    files are kept in :func:`cache_folder` only if their SHA-256 is right. ``source`` of the
    result says in one line what was done.

    Raises
    ------
    UserError
        If the given folder does not hold the data set, or no way led to it.
    """
    if folder is not None:
        return load(folder)
    if _complete(SYSTEM_FOLDER):
        return load(SYSTEM_FOLDER, f"Fashion-MNIST from the Debian package in {SYSTEM_FOLDER}.")
    cache = cache_folder()
    if _complete(cache):
        return load(cache, f"Fashion-MNIST fetched earlier into {cache}.")
    reasons = []
    for name, fetch in (("Debian", _from_debian), ("upstream", _from_upstream)):
        with tempfile.TemporaryDirectory() as scratch:
            try:
                _keep(fetch(Path(scratch)), cache)
            except (OSError, UserError, subprocess.SubprocessError) as error:
                reasons.append(f"{name}: {str(error).rstrip('.')}")
                continue
        return load(cache, f"Fashion-MNIST fetched from {name} into {cache}.")
    raise UserError(
        f"Fashion-MNIST is not in {SYSTEM_FOLDER} and could not be fetched "
        f"({'; '.join(reasons)}); install the Debian package {PACKAGE} or name the folder that "
        "holds its four gzip files."
    )


def _complete(folder: Path) -> bool:
    return all((folder / name).is_file() for name in SHA256)


def _from_debian(scratch: Path) -> Path:
    """Folder of the files after fetching and unpacking the Debian package below ``scratch``."""
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise UserError(f"there is no {tool} here")
    # One try and short time-outs, so that a machine without network goes on at once.
    options = ("-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=10")
    fetched = subprocess.run(
        ["apt-get", "download", "-q", *options, PACKAGE],
        cwd=scratch,
        capture_output=True,
        text=True,
        timeout=APT_SECONDS,
        check=False,
    )
    packages = sorted(scratch.glob(f"{PACKAGE}_*.deb"))
    if fetched.returncode or not packages:
        lines = fetched.stderr.strip().splitlines() or ["no package came"]
        raise UserError(f"apt-get download {PACKAGE} said {lines[-1]!r}")
    subprocess.run(
        ["dpkg", "-x", str(packages[-1]), "unpacked"],
        cwd=scratch,
        capture_output=True,
        timeout=APT_SECONDS,
        check=True,
    )
    return scratch / "unpacked" / SYSTEM_FOLDER.relative_to("/")


def _from_upstream(scratch: Path) -> Path:
    """Folder of the four upstream files, fetched into ``scratch``."""
    for name in SHA256:
        address = f"{UPSTREAM}/{name}"
        try:
            with urllib.request.urlopen(address, timeout=DOWNLOAD_SECONDS) as answer:
                (scratch / name).write_bytes(answer.read())
        except urllib.error.URLError as error:
            raise UserError(f"{address} cannot be fetched ({error.reason})") from error
    return scratch


def _keep(folder: Path, cache: Path) -> None:
    """Moves the four files into the cache after checking every one of them."""
    for name, expected in SHA256.items():
        try:
            found = hashlib.sha256(gzip.decompress((folder / name).read_bytes())).hexdigest()
        except (OSError, EOFError, zlib.error) as error:
            raise UserError(f"{name} came damaged ({error})") from error
        if found != expected:
            raise UserError(f"{name} came with the SHA-256 {found} in place of {expected}")
    # The simulations' libraries are kept beside them, where nobody else may write.
    cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    cache.mkdir(exist_ok=True)
    for name in SHA256:
        # The scratch folder may be on another file system, where os.replace cannot reach.
        temporary = cache / (name + ".part")
        shutil.copyfile(folder / name, temporary)
        os.replace(temporary, cache / name)
