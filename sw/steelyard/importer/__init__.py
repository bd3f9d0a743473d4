"""ONNX graphs with QuantizeLinear/DequantizeLinear pairs, and TFLite's, as integer networks.

`model_file` and `graph` parse the file by onnx's definitions (`schema`), `qoperator` rewrites
operators on codes as such pairs, `walk` hands each node to the function in `operators` that the
`registry` has for it, `obstacles` says all that stands in the way, `cutting` leaves the end of a
network to the host. `tflite` has the like parts for TFLite files.
"""

from steelyard.importer.errors import NotQuantized
from steelyard.importer.loader import load

__all__ = ["NotQuantized", "load"]
