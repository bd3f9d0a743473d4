"""What hardware and software agree on, each fact once.

Gateware, compiler, driver and simulation read it; `docs/architecture.md` explains it to the bit.
"""

from typing import TYPE_CHECKING, Any

from .accelerator import PRESETS, AcceleratorConfig, configure
from .engine import EngineConfig
from .sections import LinkConfig, LoadConfig, MemoryConfig, OutputConfig, VectorConfig

if TYPE_CHECKING:
    from .descriptor import DESCRIPTOR_WORDS, FIELDS, Descriptor, Operation

__all__ = [
    "DESCRIPTOR_WORDS",
    "FIELDS",
    "PRESETS",
    "AcceleratorConfig",
    "Descriptor",
    "EngineConfig",
    "LinkConfig",
    "LoadConfig",
    "MemoryConfig",
    "Operation",
    "OutputConfig",
    "VectorConfig",
    "configure",
]


def __getattr__(name: str) -> Any:
    """Descriptors when first asked for: they need numpy, a configuration does not."""
    if name not in ("DESCRIPTOR_WORDS", "FIELDS", "Descriptor", "Operation"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import descriptor

    return getattr(descriptor, name)
