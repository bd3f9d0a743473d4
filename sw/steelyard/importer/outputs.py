"""Outputs of networks, called as the file calls them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from steelyard.importer.graph import Graph
from steelyard.importer.naming import unused
from steelyard.importer.node import Node
from steelyard.network import Network

VIEWS = ("Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze")
"""Operators that keep the elements and their order."""


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
    return makers[name].inputs[0] if name in makers else None


def with_outputs_called(network: Network, names: Sequence[str]) -> Network:
    """The same network with other names of its outputs; one that is the input keeps its name.

    A tensor that has such a name and is not that output gets a number behind it.
    """
    wanted = zip(network.outputs, names, strict=True)
    called = {old: new for old, new in wanted if old != network.input and new != network.input}
    taken = {*network.tensors, *called.values()}
    for other in sorted(set(called.values()).intersection(network.tensors) - called.keys()):
        called[other] = unused(other, taken)
        taken.add(called[other])
    if all(old == new for old, new in called.items()):
        return network
    return replace(
        network,
        outputs=tuple(called.get(each, each) for each in network.outputs),
        tensors={
            called.get(key, key): replace(tensor, name=called.get(key, key))
            for key, tensor in network.tensors.items()
        },
        layers=tuple(
            replace(
                layer,
                inputs=tuple(called.get(each, each) for each in layer.inputs),
                output=called.get(layer.output, layer.output),
            )
            for layer in network.layers
        ),
    )
