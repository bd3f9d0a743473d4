"""The load-balanced sparse array: configuration, schedule, packing, cycle model."""

from .config import ArrayConfig

__all__ = ["ArrayConfig"]
