"""ONNX graphs with QuantizeLinear/DequantizeLinear pairs, read as integer networks.

`graph` parses the file, the `ops_*` modules lower one operator each, `builder` walks the nodes.
"""

from steelyard.importer.complete import complete
from steelyard.importer.errors import NotQuantized
from steelyard.importer.loader import load
from steelyard.importer.scales import add_fixed_point, fixed_point

__all__ = ["NotQuantized", "add_fixed_point", "complete", "fixed_point", "load"]
