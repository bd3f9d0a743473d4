"""Entry point of the room."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from steelyard.importer import operators  # noqa: F401 - they enter the registry
from steelyard.importer.graph import model_name, parse, read_model
from steelyard.importer.walk import Walk
from steelyard.network import Network

if TYPE_CHECKING:
    import onnx


def load(source: str | os.PathLike[str] | bytes | onnx.ModelProto) -> Network:
    """Integer network of a quantized ONNX graph, in the QDQ or the QOperator format.

    Every tensor is named after the real value that the graph quantizes, or the codes that a
    QLinear operator makes; every layer after its node.

    Parameters
    ----------
    source : path (weights may lie in files beside it), content of a file, or loaded model; int8 or
        uint8 activations with one scale a tensor, int8 or uint8 weights with one scale a tensor or
        output channel

    Raises
    ------
    NotQuantized
        If a value misses its quantizer, which :func:`steelyard.quantize.complete` adds.
    UserError
        If the file is not ONNX or not quantized, or a node is not supported; the sentence names the
        node, what is allowed and what to do.
    """
    graph = parse(read_model(source))
    return Walk(graph, model_name(source, graph)).build()
