"""Entry point of the room."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from steelyard.importer import operators  # noqa: F401 - they enter the registry
from steelyard.importer.graph import model_name, parse, read_model
from steelyard.importer.tflite import is_tflite, load_tflite
from steelyard.importer.walk import Walk
from steelyard.network import Network, compose_tables
from steelyard.progress import Log

if TYPE_CHECKING:
    import onnx


def load(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto,
    log: Log | None = None,
    *,
    compose: bool = True,
) -> Network:
    """Integer network of a quantized ONNX graph, in the QDQ or the QOperator format, or of TFLite.

    Every tensor is named after the real value that the graph quantizes, or the codes that a
    QLinear operator makes; every layer after its node. Chains of layers that compute each element
    on its own become one table, with the same codes (:func:`steelyard.network.compose_tables`).
    TFLite files are known by their ending
    ``.tflite`` or by their first bytes; their networks are as
    :func:`steelyard.importer.tflite.load_tflite` says.

    Parameters
    ----------
    source : path (weights may lie in files beside it), content of a file, or loaded model; int8 or
        uint8 activations with one scale a tensor, int8 or uint8 weights with one scale a tensor or
        output channel
    log : called with a sentence on each operator that is left to the host
    compose : whether such chains become tables; else every node has its layers

    Raises
    ------
    Obstacles
        If operators of a TFLite network cannot run; names every one of them.
    NotQuantized
        If a value misses its quantizer, which :func:`steelyard.quantize.complete` adds.
    UserError
        If the file is neither ONNX nor TFLite or not quantized, or a node is not supported; the
        sentence names the node, what is allowed and what to do.
    """
    if isinstance(source, str | os.PathLike | bytes) and is_tflite(source):
        network = load_tflite(source, log)
    else:
        graph = parse(read_model(source))
        network = Walk(graph, model_name(source, graph)).build()
    return compose_tables(network) if compose else network
