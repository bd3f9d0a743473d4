"""Names of tensors and layers that no other has."""

from __future__ import annotations

from collections.abc import Iterable


def unused(name: str, taken: Iterable[str]) -> str:
    """The name, with a number behind it where it is taken."""
    known = set(taken)
    count = 1
    candidate = name
    while candidate in known:
        count += 1
        candidate = f"{name}/{count}"
    return candidate
