"""Kinds of layers, one module each: fields, check, shape and golden function.

A new kind is a module here and an entry in :data:`LAYER_KINDS`.
"""

from ..layer import Layer
from .add import Add
from .conv import Conv
from .lookup import Lookup
from .moves import Interleave, Pad, Repeat, Shuffle
from .mul import Mul
from .pool import AvgPool, MaxPool
from .views import Concat, Slice

__all__ = [
    "LAYER_KINDS",
    "Add",
    "AvgPool",
    "Concat",
    "Conv",
    "Interleave",
    "Lookup",
    "MaxPool",
    "Mul",
    "Pad",
    "Repeat",
    "Shuffle",
    "Slice",
]

LAYER_KINDS: dict[str, type[Layer]] = {
    kind.key: kind
    for kind in (
        Conv,
        MaxPool,
        AvgPool,
        Add,
        Concat,
        Slice,
        Pad,
        Repeat,
        Interleave,
        Shuffle,
        Lookup,
        Mul,
    )
}
"""Class of every kind by its key."""
