"""Structures of known networks, small and with random weights, for tests of the whole way."""

from .nets import STRUCTURES, Structure

__all__ = ["STRUCTURES", "Structure"]
