"""Float networks as ONNX, and ONNX quantized to int8 with QuantizeLinear/DequantizeLinear pairs.

`normalize` brings the files of all exporters to one form, `static` has onnxruntime quantize it,
`proof` compares the result with the float network, layer by layer; `complete` adds quantizers that
a file misses.
"""

from steelyard.quantize.complete import complete
from steelyard.quantize.edit import Edit, attribute
from steelyard.quantize.export import OPSET, export_onnx
from steelyard.quantize.images import checked_images
from steelyard.quantize.normalize import batches, check_float_model, modern
from steelyard.quantize.proof import LayerNoise
from steelyard.quantize.sessions import Session, quiet
from steelyard.quantize.static import (
    RANGES,
    Quantized,
    checked,
    obstacles_of,
    quantize,
    quantize_measured,
)

__all__ = [
    "OPSET", "RANGES", "Edit", "LayerNoise", "Quantized", "Session", "attribute", "batches",
    "check_float_model", "checked", "checked_images", "complete", "export_onnx", "modern",
    "obstacles_of", "quantize", "quantize_measured", "quiet",
]  # fmt: skip
