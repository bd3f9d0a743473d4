"""Folders of the user, as the XDG Base Directory Specification names them."""

import os
from pathlib import Path

__all__ = ["user_cache"]


def user_cache() -> Path:
    """Folder of the user's caches: ``$XDG_CACHE_HOME``, by default ``~/.cache``.

    A relative value is ignored, as the specification asks: it would be another folder after every
    change of directory.
    """
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return named if named.is_absolute() else Path.home() / ".cache"
