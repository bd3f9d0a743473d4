"""ONNX graphs with QuantizeLinear/DequantizeLinear pairs, read as integer networks.

`reading` and `graph` parse the file by onnx's definitions (`schema`), `builder` walks the nodes and
hands them to the `ops_*` modules, `complete` adds quantizers that a file misses.
"""

from steelyard.importer.complete import complete
from steelyard.importer.errors import NotQuantized
from steelyard.importer.loader import load

__all__ = ["NotQuantized", "complete", "load"]
