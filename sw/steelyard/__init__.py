"""Steelyard: balanced sparse CNNs on FPGA.

The light core: configuration, integer network, golden model, crossbar, compiler, program file and
driver need numpy and threadpoolctl, the driver cobs too, and pyserial for a board; `prune` needs
torch, and `quantize`, `importer`, `train` and `zoo` import torch or onnx when a function needs
them.
"""

__version__ = "0.1.0"
__all__ = ["AcceleratorConfig", "UserError", "open"]

from .contract import AcceleratorConfig
from .errors import UserError


def open(device: str):
    """Open device (`sim`, `golden`, ...), see :func:`steelyard.driver.open`."""
    from .driver import open as open_device

    return open_device(device)
