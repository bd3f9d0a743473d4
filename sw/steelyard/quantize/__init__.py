"""Float networks as ONNX, and ONNX quantized to int8 with QuantizeLinear/DequantizeLinear pairs."""

from steelyard.quantize.export import OPSET, export_onnx
from steelyard.quantize.static import METHODS, quantize

__all__ = ["METHODS", "OPSET", "export_onnx", "quantize"]
