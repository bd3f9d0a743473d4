"""Operators of ONNX, each lowered by a function that :func:`operator` enters in the registry.

A new module needs a line here.
"""

from steelyard.importer.operators import constants, linear, pooling, quantizers, shapes

__all__ = ["constants", "linear", "pooling", "quantizers", "shapes"]
