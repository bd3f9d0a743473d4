"""Steelyard: balanced sparse CNNs on FPGA.

The light core: configuration, integer network, golden model, program file and driver need only
numpy; `prune`, `quantize`, `importer` and `train` import torch and onnx when they are used.
"""

__version__ = "0.1.0"
__all__ = ["ArrayConfig", "UserError", "open"]

from .config import ArrayConfig
from .errors import UserError


def open(device: str):
    """Open device (`sim`, `golden`, ...), see :func:`steelyard.driver.open`."""
    from .driver import open as open_device

    return open_device(device)
