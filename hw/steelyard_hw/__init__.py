"""Gateware of the accelerator in Amaranth: sparse array, loader, sequencer, memories, host port.

Every component belongs to one :class:`~steelyard.config.ArrayConfig`; nothing here needs torch or
onnx.
"""

__all__ = ["Accelerator"]

from .accelerator import Accelerator
