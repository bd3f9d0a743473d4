"""Casts that change no number; torch puts one behind every quantizer."""

from __future__ import annotations

from steelyard.importer.node import Node
from steelyard.importer.operators.quantizers import data_type
from steelyard.importer.registry import operator
from steelyard.importer.values import Codes, QuantizedConstant
from steelyard.importer.walk import Walk

FLOAT8_ONLY = "it is about 8-bit floating point, which is refused"


@operator(
    "Cast",
    inputs=1,
    reads=("to",),
    ignores={"round_mode": FLOAT8_ONLY, "saturate": FLOAT8_ONLY},
)
def cast(walk: Walk, node: Node) -> None:
    """The value itself: codes in their own type, or a real value in float or double."""
    value = walk.value(node, 0)
    if value is None:
        raise node.error("has no input, one is needed; export the network again.")
    if isinstance(value, Codes):
        allowed = ["uint8" if value.unsigned else "int8"]
    elif isinstance(value, QuantizedConstant) and not value.real:
        allowed = [str(value.codes.dtype)]
    else:
        allowed = ["float", "double"]
    found = data_type(node.attributes["to"])
    if found not in allowed:
        raise node.error(
            f"makes {found} of its input, allowed is {' or '.join(allowed)}; "
            "export the network in float32."
        )
    walk.bind(node, value)
