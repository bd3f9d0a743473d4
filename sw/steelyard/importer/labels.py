"""What tensors are called that become outputs of a network."""

from __future__ import annotations

from collections.abc import Mapping

from steelyard.importer.graph import Graph
from steelyard.importer.node import Node
from steelyard.importer.schema import VIEWS


def output_labels(graph: Graph) -> dict[str, str]:
    """The outputs' own names for the values that are quantized into them."""
    makers = {name: node for node in graph.nodes for name in node.outputs}
    labels: dict[str, str] = {}
    for output in graph.outputs:
        value = _quantized_into(output, makers)
        if value is not None:
            labels.setdefault(value, output)
    return labels


def _quantized_into(output: str, makers: Mapping[str, Node]) -> str | None:
    """Value whose codes an output holds, if it is made of one so."""
    name = output
    while name in makers and makers[name].op != "QuantizeLinear":
        node = makers[name]
        if node.op == "MaxPool":
            # Of codes, which it gives a name.
            return name
        if node.op not in ("DequantizeLinear", "Clip", "Relu", *VIEWS) or not node.inputs:
            return None
        name = node.inputs[0]
    quantizer = makers.get(name)
    return quantizer.inputs[0] if quantizer and quantizer.inputs else None
