"""Where onnxruntime has the codes and the real values of a network's tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from steelyard.importer.graph import without_qoperators
from steelyard.importer.qoperator import is_qoperator
from steelyard.importer.schema import VIEWS
from steelyard.network import Network

if TYPE_CHECKING:
    import onnx

__all__ = ["Watched", "Watching", "runtime_names"]


@dataclass(frozen=True)
class Watched:
    """Names of a tensor's codes, of the real value that is rounded to them, and of its scale.

    Members
    -------
    order : axes of the codes that put them as the network's input has them; None where they are so
    """

    codes: str
    real: str | None
    parameters: tuple[str, ...] = ()
    order: tuple[int, ...] | None = None


def runtime_names(model: onnx.ModelProto) -> list[tuple[str, Watched]]:
    """Tensor's name of every quantized activation, and where onnxruntime has it.

    A value that is quantized in several ways is there as often.
    """
    graph = model.graph
    constants = {item.name for item in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    makers = {name: node for node in graph.node for name in node.output}
    source = next(item.name for item in graph.input if item.name not in constants)
    targets: dict[str, str] = {}
    for item in graph.output:
        # Of outputs that are one tensor, the first is it.
        targets.setdefault(_viewed(item.name, makers), item.name)
    names: list[tuple[str, Watched]] = []
    clamped = {n.input[0] for n in graph.node if n.op_type in ("Clip", "Relu")}
    for node in graph.node:
        if is_qoperator(node) and node.output[0] not in clamped:
            # Its codes give the tensor its name.
            names.append((node.output[0], Watched(node.output[0], None)))
        if node.op_type == "QuantizeLinear":
            from_source, order = _back(node.input[0], makers)
            if from_source == source:
                names.append((source, Watched(node.output[0], None, tuple(node.input[1:]), order)))
        if node.op_type == "DequantizeLinear" and node.output[0] in targets:
            names.append((targets[node.output[0]], Watched(node.input[0], None)))
        if node.op_type != "DequantizeLinear" or node.input[0] in constants:
            continue
        codes = node.input[0]
        quantizer = makers.get(codes)
        while quantizer is not None and quantizer.op_type in ("Cast", "Clip", "Identity"):
            quantizer = makers.get(quantizer.input[0])
        if quantizer is None or quantizer.op_type != "QuantizeLinear":
            continue
        value = quantizer.input[0]
        if value in constants:
            continue
        watched = Watched(codes, value, tuple(quantizer.input[1:]))
        # Clamped codes of the input are a tensor of their own, the output's have its name.
        again = value == source and makers[codes].op_type == "Clip"
        name = f"{value}/2" if again else value
        names.append((targets.get(node.output[0], name), watched))
    return names


def _back(name: str, makers: Mapping[str, onnx.NodeProto]) -> tuple[str, tuple[int, ...] | None]:
    """What views and a Transpose behind them made a value of, and the order that undoes it."""
    name = _viewed(name, makers)
    maker = makers.get(name)
    if maker is None or maker.op_type != "Transpose":
        return name, None
    order = next((tuple(each.ints) for each in maker.attribute if each.name == "perm"), ())
    back = tuple(order.index(axis) for axis in range(len(order)) if axis in order)
    return _viewed(maker.input[0], makers), back


def _viewed(name: str, makers: Mapping[str, onnx.NodeProto]) -> str:
    while name in makers and makers[name].op_type in VIEWS:
        name = makers[name].input[0]
    return name


class Watching:
    """What is watched of a quantized model, by the tensors of the network that was made of it.

    Parameters
    ----------
    model : quantized ONNX model
    network : what the importer made of it

    Members
    -------
    codes : value of the model that holds a tensor's codes
    order : axes by which the input's codes become as the network takes them, where they are others
    reals : value of `fed` that is rounded to them, where there is one
    fed : None where the model itself has these values; else the same network between quantizers,
        which takes the codes of every tensor
    feeds : input of `fed` for a tensor's codes
    """

    def __init__(self, model: onnx.ModelProto, network: Network) -> None:
        found = _by_tensor(model, network)
        self.source = network.input
        self.codes = {name: each.codes for name, each in found.items()}
        self.order = found[self.source].order if self.source in found else None
        self.reals = {name: each.real for name, each in found.items() if each.real}
        self.fed: onnx.ModelProto | None = None
        self.feeds: dict[str, str] = {}
        plain = without_qoperators(model)
        if plain is not model:
            inner = _by_tensor(plain, network)
            shared = {name: inner[name] for name in self.codes if name in inner}
            self.feeds = {each.codes: f"{each.codes}/fed" for each in shared.values()}
            self.fed = _fed(plain, self.feeds)
            self.feeds = {name: self.feeds[each.codes] for name, each in shared.items()}
            self.reals = {name: each.real for name, each in shared.items() if each.real}


def _by_tensor(model: onnx.ModelProto, network: Network) -> dict[str, Watched]:
    from onnx import numpy_helper

    stored = {item.name: item for item in model.graph.initializer}
    found: dict[str, Watched] = {}
    for name, each in runtime_names(model):
        parameters = [
            numpy_helper.to_array(stored[given]) for given in each.parameters if given in stored
        ]
        tensor = _tensor(network, name, parameters)
        if tensor is not None:
            found[tensor] = each
    return found


def _tensor(network: Network, name: str, parameters: list[np.ndarray]) -> str | None:
    """Tensor of a value's codes, None if the network's output does not need them.

    One that only moves codes may have the value's name, and so may other codes of it.
    """
    same = [each for each in (name, f"{name}/2", f"{name}/3") if each in network.tensors]
    if len(parameters) < 2:
        return same[0] if same else None
    scale, zero = parameters
    step = (float(scale.item()), int(zero.item()) - (128 if zero.dtype == np.uint8 else 0))
    tensors = map(network.tensor, same)
    return next((t.name for t in tensors if (t.scale, t.zero_point) == step), None)


def _fed(model: onnx.ModelProto, feeds: dict[str, str]) -> onnx.ModelProto:
    """Model whose nodes read the codes that they are given in place of those that they make."""
    from onnx import TensorProto, helper

    copy = type(model)()
    copy.CopyFrom(model)
    types = _code_types(model)
    for node in copy.graph.node:
        node.input[:] = [feeds.get(name, name) for name in node.input]
    for name, fed in feeds.items():
        kind = types.get(name, TensorProto.UINT8)
        copy.graph.input.append(helper.make_tensor_value_info(fed, kind, None))
    del copy.graph.value_info[:]
    return copy


def _code_types(model: onnx.ModelProto) -> dict[str, int]:
    """Type of the codes that QuantizeLinear and DequantizeLinear nodes make or read."""
    kinds = {item.name: item.data_type for item in model.graph.initializer}
    found: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
            name = node.output[0] if node.op_type == "QuantizeLinear" else node.input[0]
            if node.input[2] in kinds:
                found[name] = kinds[node.input[2]]
    return found
