"""State dictionaries of torch that a user hands in."""

import os
import warnings
import zipfile
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .npy import check_unpacked, read_npz
from .reading import MALFORMED, first_line, opened

if TYPE_CHECKING:
    import torch

__all__ = ["read_state"]

FOREIGN = {
    b"\x93NUMPY": "it is a single array in .npy format",
    b"<": "it is a text, perhaps a page that was fetched in its place",
    b"version https://git-lfs": "it is a pointer of Git LFS and not the file itself",
}
"""What files are that begin so."""


def read_state(path: str | os.PathLike[str]) -> Any:
    """What a file of weights holds: arrays of an .npz file as tensors by name, or what torch.save
    wrote, tensors and plain Python values alone. The content decides, not the file's name.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is neither, is damaged, holds other Python objects, or unpacks to more than is
        sensible.
    """
    import torch

    with opened(path) as (file, size):
        begin = file.read(32)
        file.seek(0)
        if not begin:
            raise ValueError("it is empty")
        for start, what in FOREIGN.items():
            if begin.startswith(start):
                raise ValueError(what)
        if begin.startswith(b"PK"):
            try:
                with zipfile.ZipFile(file) as archive:
                    check_unpacked(archive, size)
                    names = archive.namelist()
            except MALFORMED as error:
                raise ValueError(first_line(error)) from None
            if not any(name.endswith("/data.pkl") for name in names):
                return {name: _tensor(name, array) for name, array in read_npz(path).items()}
            file.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return torch.load(file, map_location="cpu", weights_only=True)
        except OSError:
            raise
        except Exception as error:  # A damaged pickle can raise anything.
            if "eights only" in str(error) or "weights_only" in str(error):
                raise ValueError(
                    "it is damaged or holds Python objects beside tensors, which "
                    "torch.save(model.state_dict(), FILE) leaves out"
                ) from None
            kind = type(error).__name__
            raise ValueError(f"it is damaged or nothing that torch.save wrote, {kind}") from None


def _tensor(name: str, array: NDArray) -> "torch.Tensor":
    import torch

    try:
        return torch.from_numpy(array)
    except (TypeError, ValueError) as error:
        raise ValueError(f"array {name!r}: {first_line(error)}") from None
