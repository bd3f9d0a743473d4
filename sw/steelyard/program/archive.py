"""Sealed archive: a stored zip of a JSON manifest and numpy arrays; no altered byte goes unnoticed.

Timestamps are fixed, so equal content makes equal bytes. The manifest holds the SHA-256 of every
array, and the archive's comment the SHA-256 of all bytes before it.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FileRefused
from ..files import replacing
from ..npy import read_npy
from ..reading import MALFORMED, opened

__all__ = ["damaged", "read_sealed", "write_sealed"]

MANIFEST = "manifest.json"
SEAL = b"steelyard-sha256:"
SEAL_DIGITS = 64
MAX_FILE_BYTES = 1 << 32
MAX_MANIFEST_BYTES = 1 << 24
TIMESTAMP = (1980, 1, 1, 0, 0, 0)


def write_sealed(
    path: str | os.PathLike[str], manifest: Mapping[str, Any], arrays: Mapping[str, NDArray]
) -> None:
    """Write an archive, atomically; the hashes of the arrays are added to its manifest.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    with replacing(path, "Program") as temporary, open(temporary, "w+b") as file:
        _write(file, manifest, arrays)


def _write(file: IO[bytes], manifest: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> None:
    hashes = {}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.comment = SEAL + b"0" * SEAL_DIGITS

        def add(name: str, data: bytes) -> None:
            member = zipfile.ZipInfo(name, TIMESTAMP)
            member.create_system = 3  # The same bytes on every operating system.
            member.external_attr = 0o644 << 16
            archive.writestr(member, data)

        for name, array in arrays.items():
            data = _npy(array)
            hashes[name] = hashlib.sha256(data).hexdigest()
            add(f"{name}.npy", data)
        text = json.dumps({**manifest, "arrays": hashes}, sort_keys=True, indent=1)
        add(MANIFEST, text.encode())
    file.seek(-SEAL_DIGITS, os.SEEK_END)
    digest = _digest(file)
    file.seek(-SEAL_DIGITS, os.SEEK_END)
    file.write(digest)


def _npy(array: NDArray) -> bytes:
    buffer = io.BytesIO()
    portable = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    np.lib.format.write_array(buffer, portable, (1, 0), allow_pickle=False)
    return buffer.getvalue()


def _digest(file: IO[bytes]) -> bytes:
    """SHA-256 in hexadecimal of all bytes before the seal's digits."""
    left = file.seek(0, os.SEEK_END) - SEAL_DIGITS
    file.seek(0)
    digest = hashlib.sha256()
    while left > 0:
        block = file.read(min(left, 1 << 20))
        digest.update(block)
        left -= len(block)
    return digest.hexdigest().encode()


@contextmanager
def damaged(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns whatever malformed content raises into a refusal of the file.

    Raises
    ------
    FileRefused
        If the body raises; names the file and the reason.
    """
    try:
        yield
    except FileRefused:
        raise
    except KeyError as error:
        reason = f"{error.args[0]!r} is missing"
        raise FileRefused(f"Program {str(path)!r} is damaged: {reason}; compile it anew.") from None
    except MALFORMED as error:
        reason = str(error).rstrip(".") or type(error).__name__
        raise FileRefused(f"Program {str(path)!r} is damaged: {reason}; compile it anew.") from None


def read_sealed(
    path: str | os.PathLike[str], kind: str, version: int
) -> tuple[dict[str, Any], dict[str, NDArray]]:
    """Manifest and arrays of an archive.

    Parameters
    ----------
    kind : the manifest's ``format``
    version : the ``version`` of the format that is understood

    Raises
    ------
    FileRefused
        If the file is missing, truncated, altered, of another version, or of another kind.
    """
    try:
        with opened(path) as (file, _):
            _check_seal(repr(str(path)), file)
            with damaged(path):
                archive = zipfile.ZipFile(file)
                manifest = _read_manifest(archive)
            _check_version(repr(str(path)), manifest, kind, version)
            with damaged(path):
                return manifest, _read_arrays(archive, manifest["arrays"])
    except OSError as error:
        raise FileRefused(
            f"Program {str(path)!r} cannot be read ({error.strerror or error}); "
            "give the path of a .syp file."
        ) from None


def _check_seal(name: str, file: IO[bytes]) -> None:
    if file.read(4) != b"PK\x03\x04":
        raise FileRefused(f"File {name} is not a Steelyard program; give a .syp file.")
    size = file.seek(0, os.SEEK_END)
    if size > MAX_FILE_BYTES:
        raise FileRefused(
            f"File {name} has {size} bytes and a program at most {MAX_FILE_BYTES}; "
            "give a .syp file."
        )
    seal = b""
    if size > len(SEAL) + SEAL_DIGITS:
        file.seek(-len(SEAL) - SEAL_DIGITS, os.SEEK_END)
        seal = file.read()
    if not seal.startswith(SEAL):
        raise FileRefused(
            f"Program {name} is truncated, altered or no Steelyard program; "
            "copy it again or compile it anew."
        )
    if _digest(file) != seal[len(SEAL) :]:
        raise FileRefused(
            f"Program {name} was altered: its SHA-256 does not match; "
            "copy it again or compile it anew."
        )


def _read_manifest(archive: zipfile.ZipFile) -> Any:
    for info in archive.infolist():
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ValueError(f"member {info.filename!r} is compressed")
        # Stored members are parts of the file, so its own size bounds what is read.
        if info.file_size > MAX_FILE_BYTES:
            raise ValueError(f"member {info.filename!r} claims {info.file_size} bytes")
    if archive.getinfo(MANIFEST).file_size > MAX_MANIFEST_BYTES:
        raise ValueError(f"{MANIFEST} has more than {MAX_MANIFEST_BYTES} bytes")
    return json.loads(archive.read(MANIFEST))


def _check_version(name: str, manifest: object, kind: str, understood: int) -> None:
    if not isinstance(manifest, dict) or manifest.get("format") != kind:
        raise FileRefused(f"File {name} is not a Steelyard program; give a .syp file.")
    version = manifest.get("version")
    if not isinstance(version, int) or version < 1:
        raise FileRefused(
            f"Program {name} has the bad format version {version!r}; compile it anew."
        )
    if version < understood:
        raise FileRefused(
            f"Program {name} has format version {version} and this Steelyard reads only "
            f"{understood}; compile the network anew."
        )
    if version > understood:
        raise FileRefused(
            f"Program {name} has format version {version} and this Steelyard reads only "
            f"{understood}; update Steelyard or compile the network anew."
        )


def _read_arrays(archive: zipfile.ZipFile, hashes: Mapping[str, str]) -> dict[str, NDArray]:
    expected = sorted([MANIFEST, *(f"{key}.npy" for key in hashes)])
    found = sorted(archive.namelist())
    if found != expected:
        odd = sorted(set(found) ^ set(expected)) or found
        raise ValueError(f"the archive and its manifest disagree on {odd[0]!r}")
    arrays = {}
    for key, digest in hashes.items():
        data = archive.read(f"{key}.npy")
        if hashlib.sha256(data).hexdigest() != digest:
            raise ValueError(f"the SHA-256 of array {key!r} does not match")
        arrays[key] = _array(key, data)
    return arrays


def _array(key: str, data: bytes) -> NDArray:
    buffer = io.BytesIO(data)
    try:
        array = read_npy(buffer, len(data))
    except ValueError as error:
        raise ValueError(f"array {key!r}: {error}") from None
    if buffer.read(1) or not array.flags.c_contiguous:
        raise ValueError(f"array {key!r} of {array.dtype} {array.shape} does not match its data")
    return array
