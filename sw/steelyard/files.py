"""Outputs written aside and moved into place, so that a failure leaves the old file as it was."""

import errno
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .errors import UserError

__all__ = ["check_output", "is_stream", "replacing"]

DESCRIPTORS = ("/dev/fd", "/proc/self/fd")
"""Folders of links to what a process has open; /dev/stdout leads there."""
READER_SECONDS = 10.0
"""How long a FIFO may be without a reader when its content is ready."""
MAX_LINKS = 40
"""Links in a row that Linux follows."""


@contextmanager
def replacing(path: str | os.PathLike[str], what: str = "Output") -> Iterator[Path]:
    """Temporary path with the same suffix, moved to `path` if the block ends well.

    Missing parent folders are made; the new file has the permissions of any new file. Symbolic
    links stay: the file that they lead to is replaced. Into a character device, a FIFO or one of
    this process's open files, such as /dev/stdout, the content is written when the block has ended;
    a FIFO must have a reader within 10 s of that.

    Parameters
    ----------
    path : file to make or replace
    what : what it is, for the error's sentence

    Raises
    ------
    UserError
        If the folder cannot be made, the file cannot be written, or `path` is a folder, a block
        device, a socket or a FIFO that nobody reads.
    """
    target = Path(path)
    try:
        if is_stream(target):
            with tempfile.TemporaryDirectory() as folder:
                temporary = Path(folder) / target.name
                temporary.touch()
                yield temporary
                with temporary.open("rb") as source, _opened(target) as stream:
                    shutil.copyfileobj(source, stream)
            return
        # The last part may be a link; whatever it leads to need not exist yet.
        final = Path(os.path.realpath(target))
        _check_replaceable(target)
        final.parent.mkdir(parents=True, exist_ok=True)
        # The name has no part of the file's own, which may be as long as a name can be.
        with tempfile.TemporaryDirectory(dir=final.parent, prefix=".steelyard.") as folder:
            temporary = Path(folder) / target.name
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            # Some writers make files that nobody but the user may read.
            temporary.chmod(mode)
            os.replace(temporary, final)
    except OSError as error:
        raise _refusal(target, what, error) from error


def check_output(path: str | os.PathLike[str], what: str = "Output") -> None:
    """Refuse an output that :func:`replacing` could not write, before the work that makes it.

    Raises
    ------
    UserError
        As of :func:`replacing`.
    """
    target = Path(path)
    try:
        if is_stream(target):
            return
        _check_replaceable(target)
        folder = Path(os.path.realpath(target)).parent
        while not folder.exists():
            folder = folder.parent
        if not folder.is_dir():
            raise OSError(f"{str(folder)!r} is no folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OSError(f"nothing may be written to folder {str(folder)!r}")
    except OSError as error:
        raise _refusal(target, what, error) from error


def _refusal(target: Path, what: str, error: OSError) -> UserError:
    return UserError(
        f"{what} {str(target)!r} cannot be written ({error.strerror or error}); "
        "give a path in a folder that may be written."
    )


def is_stream(path: str | os.PathLike[str]) -> bool:
    """Whether `path` is a character device, a FIFO or an open file: nothing to be replaced."""
    if _descriptor(path) is not None:
        return True
    mode = _mode(path)
    return stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)


def _mode(path: str | os.PathLike[str]) -> int:
    """Mode of what a path leads to; 0 if that does not exist."""
    try:
        return os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _check_replaceable(target: Path) -> None:
    mode = _mode(target)
    if mode and not stat.S_ISREG(mode):
        kinds = {
            stat.S_IFDIR: "Is a directory", stat.S_IFBLK: "Is a block device",
            stat.S_IFSOCK: "Is a socket",
        }  # fmt: skip
        raise OSError(kinds.get(stat.S_IFMT(mode), "Is no regular file"))


def _descriptor(path: str | os.PathLike[str]) -> int | None:
    """Descriptor that a path such as /dev/stdout names, if it does; follows links to it."""
    folders = {os.path.realpath(folder) for folder in DESCRIPTORS}
    step = os.path.abspath(path)
    for _ in range(MAX_LINKS):
        folder, name = os.path.split(step)
        folder = os.path.realpath(folder)
        if folder in folders and name.isdigit():
            return int(name)
        if not os.path.islink(step):
            return None
        step = os.path.join(folder, os.readlink(step))
    return None


def _opened(target: Path) -> BinaryIO:
    """Device or FIFO, open for writing; an open file is continued where it is."""
    descriptor = _descriptor(target)
    if descriptor is None:
        return _opened_fifo(target) if stat.S_ISFIFO(_mode(target)) else target.open("wb")
    sys.stdout.flush()
    return os.fdopen(os.dup(descriptor), "wb")


def _opened_fifo(target: Path) -> BinaryIO:
    """FIFO, open for writing once somebody reads it; a plain open would wait for ever."""
    end = time.monotonic() + READER_SECONDS
    while True:
        try:
            descriptor = os.open(target, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > end:
                raise OSError("nobody reads this FIFO; start its reader before") from None
            time.sleep(0.05)
        else:
            os.set_blocking(descriptor, True)
            return os.fdopen(descriptor, "wb")
