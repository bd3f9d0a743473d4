"""Networks whose input is codes, rewritten to take the real values that these stand for.

Deployment tools cut the first QuantizeLinear off, so that a camera's bytes go in as they are. What
they stand for, the first DequantizeLinear says: its parameters are those of the QuantizeLinear that
is put back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from steelyard.importer.naming import unused
from steelyard.importer.schema import VIEWS

if TYPE_CHECKING:
    import onnx

__all__ = ["has_code_input", "quantized_first"]

MOVING = (*VIEWS, "MaxPool", "Transpose")
"""Operators whose result has the scale and zero point of their first input."""


def has_code_input(source: onnx.ValueInfoProto) -> bool:
    """Whether a network's input is of 8-bit integers."""
    from onnx import TensorProto

    return source.type.tensor_type.elem_type in (TensorProto.INT8, TensorProto.UINT8)


def quantized_first(
    nodes: Sequence[onnx.NodeProto], source: onnx.ValueInfoProto, given: Iterable[str]
) -> list[onnx.NodeProto] | None:
    """Nodes that make the codes of a real input, and then those that read them.

    Parameters
    ----------
    nodes : each behind the ones that make its inputs
    source : input of codes, which will be the real one's name
    given : names that no node makes

    Returns
    -------
    list or None
        None if no DequantizeLinear tells what the codes stand for.
    """
    from onnx import helper, numpy_helper

    known = set(given)
    reader = _dequantizer(nodes, source.name)
    if reader is None or len(reader.input) < 2:
        return None
    taken = {*known, *(name for node in nodes for name in node.output)}
    parameters = [name for name in reader.input[1:3] if name]
    made: list[onnx.NodeProto] = []
    for place, name in enumerate(parameters):
        if name in known:
            continue
        maker = next((node for node in nodes if name in node.output), None)
        if maker is None or maker.op_type != "Constant":
            return None
        # What makes it may stand behind the first reader of the codes.
        parameters[place] = unused(f"{source.name}/{('scale', 'zero point')[place]}", taken)
        constant = type(maker)()
        constant.CopyFrom(maker)
        constant.name = constant.output[0] = parameters[place]
        made.append(constant)
    if len(parameters) < 2:
        kind = helper.tensor_dtype_to_np_dtype(source.type.tensor_type.elem_type)
        zero = numpy_helper.from_array(np.zeros((), kind))
        parameters.append(unused(f"{source.name}/zero point", taken))
        made.append(helper.make_node("Constant", [], parameters[1:], parameters[1], value=zero))
    codes = unused(f"{source.name}/codes", taken)
    made.append(
        helper.make_node(
            "QuantizeLinear", [source.name, *parameters], [codes], codes, domain=reader.domain
        )
    )
    for node in nodes:
        copy = type(node)()
        copy.CopyFrom(node)
        copy.input[:] = [codes if name == source.name else name for name in node.input]
        made.append(copy)
    return made


def _dequantizer(nodes: Sequence[onnx.NodeProto], source: str) -> onnx.NodeProto | None:
    """First DequantizeLinear of codes, or of what only moves them."""
    moved = {source}
    for node in nodes:
        if not node.input or node.input[0] not in moved:
            continue
        if node.op_type == "DequantizeLinear":
            return node
        if node.op_type in MOVING:
            moved.update(node.output[:1])
    return None
