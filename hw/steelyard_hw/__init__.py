"""Gateware of the accelerator in Amaranth: sparse array, loader, sequencer, memories and host port.

Every component describes the array of one :class:`~steelyard.config.ArrayConfig`; nothing here needs torch or onnx.
"""

__all__ = ["Accelerator"]

from .accelerator import Accelerator
