"""Cache of what took long to make: files that are whole and nobody else's, or made anew.

The name of a file holds a digest of its content, so that one that a full disk or a crash has cut is
seen for what it is and replaced: loaded, a cut library ends the whole program.
"""

import errno
import hashlib
import os
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from steelyard.errors import UserError

__all__ = ["cache_folder", "cached_file"]

KEY_DIGITS, CONTENT_DIGITS = 40, 32
"""Hexadecimal digits of SHA-256 in a file's name."""


def cache_folder() -> Path:
    """Folder of the files: on Linux ``$XDG_CACHE_HOME/steelyard``, by default
    ``~/.cache/steelyard``."""
    return user_cache_path("steelyard", appauthor=False)


def cached_file(
    key: str, suffix: str, make: Callable[[Path], None], *, folder: Path | None = None
) -> Path:
    """File of the cache, made when first asked for, and anew if it is damaged.

    May be called by several processes at once; one makes it and the others wait.

    Parameters
    ----------
    key : text that changes with anything that the file depends on
    suffix : of its name
    make : makes it at the path that it gets, in an empty folder of its own
    folder : of the cache; :func:`cache_folder` unless given

    Raises
    ------
    UserError
        If the cache cannot be written, or others than the user own it or may write it.
    """
    folder = cache_folder() if folder is None else folder
    name = hashlib.sha256(key.encode()).hexdigest()[:KEY_DIGITS]
    try:
        # Only the user may write: a library from here runs with all the user's rights.
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_owner(folder)
        found = _find(folder, name, suffix)
        if found is not None:
            return found
        with _lock(folder / f"{name}.lock"):
            return _find(folder, name, suffix) or _make(folder, name, suffix, make)
    except OSError as error:
        raise UserError(
            f"The cache of simulations {str(folder)!r} cannot be written "
            f"({error.strerror or error}); "
            "set XDG_CACHE_HOME to a folder that can."
        ) from None


def _check_owner(folder: Path) -> None:
    if sys.platform == "win32":
        # No owners as numbers; the folder lies in the user's own profile.
        return
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise UserError(
            f"The cache of simulations {str(folder)!r} belongs to another user, who could put any "
            "program into it; set XDG_CACHE_HOME to a folder of your own."
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UserError(
            f"The cache of simulations {str(folder)!r} may be written by other users, who could "
            "put any program into it; delete it, for all in it is made again when it is needed, "
            "or set XDG_CACHE_HOME to a folder of your own."
        )


def _find(folder: Path, name: str, suffix: str) -> Path | None:
    """Whole file of a name, None if there is none; damaged ones are removed."""
    for path in sorted(folder.glob(f"{name}-*{suffix}")):
        status = path.lstat()
        own = stat.S_ISREG(status.st_mode) and _is_own(status)
        if own and path.name == f"{name}-{_content(path)}{suffix}":
            return path
        path.unlink(missing_ok=True)
    return None


def _is_own(status: os.stat_result) -> bool:
    return sys.platform == "win32" or status.st_uid == os.geteuid()


def _content(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:CONTENT_DIGITS]


def _make(folder: Path, name: str, suffix: str, make: Callable[[Path], None]) -> Path:
    with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as aside:
        made = Path(aside) / f"made{suffix}"
        make(made)
        # A name must never reach the disk before what it names.
        with made.open("rb+") as file:
            os.fsync(file.fileno())
        target = folder / f"{name}-{_content(made)}{suffix}"
        os.replace(made, target)
    return target


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Exclusive lock between processes and threads; the file stays, for removing it would race.

    What the name leads to may be no lock: it is opened neither through a link nor for truncation.
    """
    lock = FileLock(path, mode=0o600)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise UserError(
            f"The lock {str(path)!r} of the cache of simulations is a link, which nothing of "
            "Steelyard makes; delete it."
        ) from None
    try:
        yield
    finally:
        lock.release()
