"""Outputs written aside and moved into place, so that a failure leaves the old file as it was."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError

__all__ = ["replacing"]


@contextmanager
def replacing(path: str | os.PathLike[str], what: str = "Output") -> Iterator[Path]:
    """Temporary path with the same suffix, moved to `path` if the block ends well.

    Missing parent folders are made; the new file has the permissions of any new file.

    Parameters
    ----------
    path : file to make or replace
    what : what it is, for the error's sentence

    Raises
    ------
    UserError
        If the folder cannot be made or the file cannot be written.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as folder:
            temporary = Path(folder) / target.name
            temporary.touch()
            mode = temporary.stat().st_mode
            yield temporary
            # Some writers make files that nobody but the user may read.
            temporary.chmod(mode)
            os.replace(temporary, target)
    except OSError as error:
        raise UserError(
            f"{what} {str(target)!r} cannot be written ({error.strerror or error}); "
            "give a path in a folder that may be written."
        ) from error
