"""Compiler: from an integer network to the descriptors, parameters and weight words of a program.

The contract with the gateware is docs/architecture.md; `cycles` predicts a descriptor's time.
"""

from . import cycles
from .compiler import compile
from .descriptor import Descriptor, Operation

__all__ = ["Descriptor", "Operation", "compile", "cycles"]
