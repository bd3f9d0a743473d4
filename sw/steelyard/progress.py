"""How long work tells how far it is and what it does."""

from collections.abc import Callable

__all__ = ["Log", "Progress"]

Progress = Callable[[int, int, str], None]
"""Called with the steps that are done, how many they are, and what is being done."""

Log = Callable[[str], None]
"""Called with a line of text for people."""
