"""Kinds of layers, one module each: fields, check, shape and golden function.

A new kind is a module here and an entry in :data:`LAYER_KINDS`.
"""

from ..layer import Layer
from .add import Add
from .conv import Conv
from .pool import AvgPool, MaxPool

__all__ = ["LAYER_KINDS", "Add", "AvgPool", "Conv", "MaxPool"]

LAYER_KINDS: dict[str, type[Layer]] = {kind.key: kind for kind in (Conv, MaxPool, AvgPool, Add)}
"""Class of every kind by its key."""
