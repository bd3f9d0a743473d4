"""Float ONNX files as exporters write them: one small network, many habits, a seed.

Each variant changes the way in which a network is written (or the network itself), never its
meaning by accident: its scores are those of onnxruntime on the very file.
"""

from . import files, layers
from .draft import SHAPES, VARIANTS, Draft, external
from .files import typed

__all__ = ["SHAPES", "VARIANTS", "Draft", "external", "files", "layers", "typed"]
