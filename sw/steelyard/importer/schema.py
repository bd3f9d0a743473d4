"""Nodes as the ONNX standard of their opset defines them: attributes, their defaults, inputs."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from steelyard.errors import UserError
from steelyard.importer.node import Node

if TYPE_CHECKING:
    import onnx

OLDEST = 7
"""First opset whose operators broadcast as today's do."""
OWN_DOMAINS = ("", "ai.onnx")
MICROSOFT = "com.microsoft"
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
VIEWS = ("Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Unsqueeze")
"""Operators that keep the elements and their order."""
AXIS_BEFORE_13 = {"axis": ("INT", None)}
"""Per-channel scales in files of opset 10 to 12: onnxruntime's quantizer writes them, though the
standard has them from 13 on, and nothing else can be meant."""

Attributes = dict[str, tuple[str, Any]]
"""Type's name and default of attributes; a default that is None means none."""


def check_opset(model: onnx.ModelProto, label: str) -> int:
    """Opset of ONNX's own domain.

    Raises
    ------
    UserError
        If the model names none, or one that is not known here.
    """
    from onnx import defs

    newest = defs.onnx_opset_version()
    found = opset_of(model)
    if not OLDEST <= found <= newest:
        what = f"opset {found}" if found else "no opset"
        raise UserError(
            f"ONNX graph {label!r} uses {what}, allowed are {OLDEST} to {newest}; "
            "export the network with opset 17."
        )
    return found


def opset_of(model: onnx.ModelProto) -> int:
    """Opset of ONNX's own domain, 0 if the model names none."""
    found = (item.version for item in model.opset_import if item.domain in OWN_DOMAINS)
    return int(next(found, 0))


def read_node(proto: onnx.NodeProto, opset: int) -> Node:
    """Node with its attributes, those that the file leaves out at the standard's defaults.

    A node of an operator that the standard knows in no opset has no attributes here.

    Raises
    ------
    UserError
        If its opset does not have the operator, or not an attribute that it has; or it has one of
        another type, or twice; lacks one; or has too few or too many inputs or outputs.
    """
    foreign = proto.domain not in OWN_DOMAINS and not (
        proto.domain == MICROSOFT and proto.op_type in QUANTIZERS
    )
    op = f"{proto.domain}.{proto.op_type}" if foreign else proto.op_type
    name = proto.name or f"{proto.op_type} of {', '.join(proto.output)}"
    inputs, outputs = _trimmed(proto.input), _trimmed(proto.output)
    node = Node(name, op, inputs, outputs, {}, proto)
    if foreign:
        return node
    known = _definition(proto.op_type, proto.domain, opset)
    if known is None:
        # What quantizers mean is the same in every opset.
        if is_operator(proto.op_type) and proto.op_type not in QUANTIZERS:
            raise node.error(
                f"is an operator that opset {opset}, which the file names, does not have; export "
                "the network with a newer opset."
            )
        return node
    attributes, required, least, most, most_outputs = known
    if not len(least) <= len(inputs) <= most or not all(
        name or not needed for name, needed in zip(inputs, least, strict=False)
    ):
        raise node.error(
            f"has {len(inputs)} inputs, opset {opset} allows {len(least)} to {most}; "
            "export the network again."
        )
    if not outputs or len(outputs) > most_outputs:
        raise node.error(
            f"has {len(outputs)} outputs, opset {opset} allows 1 to {most_outputs}; "
            "export the network again."
        )
    node.attributes.update((key, value) for key, (_, value) in attributes.items())
    seen: set[str] = set()
    for attribute in proto.attribute:
        key = attribute.name
        if key not in attributes or key in seen:
            what = "twice" if key in seen else f"which opset {opset} does not know for it"
            raise node.error(
                f"has the attribute {key!r}, {what}; export the network again without it."
            )
        seen.add(key)
        node.attributes[key] = _decoded(node, attribute, attributes[key][0])
    missing = sorted(required - seen)
    if missing:
        raise node.error(
            f"has no attribute {missing[0]!r}, opset {opset} needs it; export the network again."
        )
    return node


def is_operator(op: str) -> bool:
    """Whether ONNX's own domain has an operator in any opset."""
    from onnx import defs

    return bool(defs.has(op, ""))


def _trimmed(names: Any) -> tuple[str, ...]:
    """Names without the empty ones at the end, which stand for absent values."""
    kept = list(names)
    while kept and not kept[-1]:
        kept.pop()
    return tuple(kept)


@lru_cache(maxsize=512)
def _definition(
    op: str, domain: str, opset: int
) -> tuple[Attributes, frozenset[str], tuple[bool, ...], float, float] | None:
    """Attributes and which of them are required, least inputs and which of these are, most inputs
    and outputs."""
    from onnx import defs, helper

    if domain == MICROSOFT:
        return dict(AXIS_BEFORE_13), frozenset(), (True, True), 3, 1
    try:
        schema = defs.get_schema(op, opset, "")
    except (defs.SchemaError, TypeError):  # TypeError: a number beyond 32 bits
        return None
    attributes: Attributes = {}
    for key, each in schema.attributes.items():
        has_default = each.default_value.type != 0
        default = helper.get_attribute_value(each.default_value) if has_default else None
        kind = str(each.type).rsplit(".", 1)[-1]
        attributes[key] = (kind, default.decode() if isinstance(default, bytes) else default)
    if op in QUANTIZERS and "axis" not in attributes:
        attributes |= AXIS_BEFORE_13
    required = frozenset(key for key, each in schema.attributes.items() if each.required)
    # onnx gives 2**31 - 1 where any number may come.
    most, outputs = (
        math.inf if n >= 2**31 - 1 else n for n in (schema.max_input, schema.max_output)
    )
    optional = defs.OpSchema.FormalParameterOption.Optional
    # The last one may stand for any number of inputs.
    kinds = [schema.inputs[min(i, len(schema.inputs) - 1)] for i in range(schema.min_input)]
    least = tuple(each.option != optional for each in kinds)
    return attributes, required, least, most, outputs


def _decoded(node: Node, attribute: onnx.AttributeProto, kind: str) -> Any:
    """Plain Python value of an attribute.

    Raises
    ------
    UserError
        If it has another type than `kind` or cannot be decoded.
    """
    from onnx import AttributeProto, helper

    names = {number: name for name, number in AttributeProto.AttributeType.items()}
    found = names.get(attribute.type, str(attribute.type))
    if found != kind or attribute.ref_attr_name:
        raise node.error(
            f"has the attribute {attribute.name!r} of type {found}, the standard wants {kind}; "
            "export the network again."
        )
    if kind in ("GRAPH", "GRAPHS"):
        return None
    try:
        value = helper.get_attribute_value(attribute)
        return value.decode() if isinstance(value, bytes) else value
    except ValueError as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise node.error(
            f"has the attribute {attribute.name!r}, which cannot be decoded ({reason}); "
            "export the network again."
        ) from None
