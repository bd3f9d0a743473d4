"""Obstacles of a file, and the integer network that it is or will be."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steelyard.errors import Obstacles, UserError
from steelyard.importer import load
from steelyard.importer.cutting import Cut, cut, cut_names
from steelyard.importer.graph import is_quantized, model_name, read_model
from steelyard.importer.obstacles import obstacles
from steelyard.importer.placeholders import placeholder_network
from steelyard.importer.tflite import is_tflite, load_tflite, tflite_name
from steelyard.network import Network
from steelyard.program import HostPart
from steelyard.progress import Log
from steelyard.quantize import checked, modern

if TYPE_CHECKING:
    import onnx


@dataclass(frozen=True)
class Examined:
    """What is known of a network's file.

    Members
    -------
    name : of the network
    quantized : whether the file has quantizers; without them the network's scales are placeholders
    obstacles : sentences on all that stands in the way
    network : the integer network; None where there are obstacles
    host : the part that is left to the host; None without a cut
    """

    name: str
    quantized: bool
    obstacles: tuple[str, ...]
    network: Network | None
    host: HostPart | None


def examine(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto,
    cut_at: str | Sequence[str] | None = None,
    log: Log | None = None,
) -> Examined:
    """Every obstacle of an ONNX or TFLite network, or the integer network where there is none.

    Parameters
    ----------
    source : path, content of a file, or loaded model; ONNX float or quantized, TFLite quantized
    cut_at : nodes or values, one or several, from which on the host computes; for ONNX alone
    log : called with a sentence on each operator of TFLite that is left to the host without a cut

    Raises
    ------
    UserError
        If the source is no ONNX or quantized TFLite network, or cannot be cut there.
    """
    if isinstance(source, str | os.PathLike | bytes) and is_tflite(source):
        return _examined_tflite(source, cut_names(cut_at), log)
    model = read_model(source)
    quantized = is_quantized(model)
    name = model_name(source, model.graph) or "network"
    parts = None
    if names := cut_names(cut_at):
        parts = cut(model if quantized else modern(model), names)
        model = parts.network
    network = None
    if quantized:
        found = obstacles(model)
    else:
        with tempfile.TemporaryDirectory() as folder:
            found, model = checked(model, Path(folder))
    if not found:
        try:
            network = load(model) if quantized else placeholder_network(model, name)
        except UserError as error:
            found = [str(error)]
    if network is not None and network.only_parts:
        found, network = [_nothing_left(name, parts)], None
    host = None if parts is None else host_part(parts)
    return Examined(name, quantized, tuple(found), network, host)


def _nothing_left(name: str, parts: Cut | None) -> str:
    """Sentence on a network whose outputs are parts of its input."""
    remedy = "export the whole network" if parts is None else "cut it farther behind"
    return f"Network {name!r} has no layer for the accelerator, at least one is needed; {remedy}."


def _examined_tflite(
    source: str | os.PathLike[str] | bytes, names: Sequence[str], log: Log | None
) -> Examined:
    name = tflite_name(source)
    if names:
        raise UserError(
            f"TFLite network {name!r} cannot be cut at {names[0]!r}, only ONNX networks can; leave "
            "--cut out, a SOFTMAX at the end is left to the host without it."
        )
    try:
        return Examined(name, True, (), load_tflite(source, log), None)
    except Obstacles as error:
        return Examined(name, True, error.sentences, None, None)


def host_part(parts: Cut) -> HostPart:
    """The second part of a cut network, as programs hold it."""
    content = parts.host.SerializeToString(deterministic=True)
    return HostPart(content, parts.values, parts.outputs, parts.operators)


def obstacles_of_file(model: onnx.ModelProto) -> list[str]:
    """Every reason why a quantized network cannot be compiled; none of one without quantizers.

    Parameters
    ----------
    model : that the importer has refused
    """
    return obstacles(model) if is_quantized(model) else []
