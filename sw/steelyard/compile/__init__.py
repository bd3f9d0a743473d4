"""Compiler: from an integer network to the descriptors, parameters and weight words of a program.

The contract with the gateware is docs/architecture.md; `cycles` predicts a descriptor's time.
"""

from ..contract.descriptor import Descriptor, Operation
from . import cycles
from .compiler import compile
from .fit import compile_largest_batch, compile_with_memories

__all__ = [
    "Descriptor",
    "Operation",
    "compile",
    "compile_largest_batch",
    "compile_with_memories",
    "cycles",
]
