"""Float networks as ONNX, and ONNX quantized to int8 with QuantizeLinear/DequantizeLinear pairs.

`normalize` brings the files of all exporters to one form, `static` has onnxruntime quantize it,
`proof` compares the result with the float network, layer by layer; `complete` adds quantizers that
a file misses.
"""

from steelyard.quantize.complete import complete
from steelyard.quantize.export import OPSET, export_onnx
from steelyard.quantize.normalize import modern
from steelyard.quantize.proof import LayerNoise
from steelyard.quantize.static import (
    RANGES,
    Quantized,
    checked,
    obstacles_of,
    quantize,
    quantize_measured,
)

__all__ = [
    "OPSET", "RANGES", "LayerNoise", "Quantized", "checked", "complete", "export_onnx", "modern",
    "obstacles_of", "quantize", "quantize_measured",
]  # fmt: skip
