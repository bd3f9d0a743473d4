"""Program file: what the compiler writes and devices run, one archive with checksums."""

from .host import HostPart, HostRun
from .known import KnownAnswer, layer_hash
from .program import (
    FORMAT_VERSION,
    Explanation,
    LayerEntry,
    Plane,
    Program,
    Use,
    pack_activations,
    unpack_activations,
)
from .uses import moved_crc

__all__ = [
    "FORMAT_VERSION",
    "Explanation",
    "HostPart",
    "HostRun",
    "KnownAnswer",
    "LayerEntry",
    "Plane",
    "Program",
    "Use",
    "layer_hash",
    "moved_crc",
    "pack_activations",
    "unpack_activations",
]
