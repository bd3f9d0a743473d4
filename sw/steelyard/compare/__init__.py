"""Programs beside the ONNX networks that they were made of, as onnxruntime computes these.

`agreement` compares every layer code by code and tells ties apart, `watched` says where onnxruntime
has the codes, `comparison` adds the noise of the whole way from the input.
"""

from steelyard.compare.agreement import Agreement, agreements, layer_agreements
from steelyard.compare.comparison import Comparison, LayerComparison, compare
from steelyard.compare.watched import Watched, runtime_names

__all__ = [
    "Agreement",
    "Comparison",
    "LayerComparison",
    "Watched",
    "agreements",
    "compare",
    "layer_agreements",
    "runtime_names",
]
