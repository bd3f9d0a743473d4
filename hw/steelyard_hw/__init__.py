"""Gateware of the accelerator in Amaranth: sparse array, crossbar tile, loader, sequencer,
memories, host port, serial link.

Most components belong to one :class:`~steelyard.contract.AcceleratorConfig`; multipliers,
requantizers and the link's parts take plain sizes. Nothing here needs torch or onnx.
"""

__all__ = ["Accelerator"]

from .accelerator import Accelerator
