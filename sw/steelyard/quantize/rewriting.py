"""Operators that the quantizer does not know, as others that it knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from steelyard.importer.obstacles import additions
from steelyard.quantize.edit import Edit, attribute

if TYPE_CHECKING:
    import onnx

__all__ = [
    "reductions_are_poolings",
    "softmaxes_are_single",
    "sums_are_additions",
    "transposed_have_one_group",
]


OLD_SOFTMAXES = ("Hardmax", "LogSoftmax", "Softmax")
"""Operators that are of all axes from one on, before opset 13."""


def reductions_are_poolings(model: onnx.ModelProto) -> None:
    """Mean and maximum over a whole map are poolings, which the quantizer knows."""
    from onnx import helper

    kinds = {"ReduceMean": "GlobalAveragePool", "ReduceMax": "MaxPool", "GlobalMaxPool": "MaxPool"}
    edit = Edit(model)
    for node in list(edit.nodes):
        shape = edit.shape(node.input[0]) if node.input else None
        if node.op_type not in kinds or shape is None or len(shape) != 4 or None in shape[2:]:
            continue
        keep = True
        if node.op_type != "GlobalMaxPool":
            given = edit.constant(node.input[1]) if len(node.input) > 1 else None
            axes = attribute(node, "axes", None) if given is None else given.reshape(-1).tolist()
            if axes is None or {axis % 4 for axis in axes} != {2, 3}:
                continue
            keep = bool(attribute(node, "keepdims", 1))
        pooled = node.output[0] if keep else edit.free_name(f"{node.output[0]}/map")
        window = {"kernel_shape": shape[2:]} if kinds[node.op_type] == "MaxPool" else {}
        pool = helper.make_node(kinds[node.op_type], [node.input[0]], [pooled], node.name, **window)
        flat = helper.make_node(
            "Flatten", [pooled], [node.output[0]], f"{node.name}/flatten", axis=1
        )
        edit.replace(node, *((pool,) if keep else (pool, flat)))
    edit.finish()


def transposed_have_one_group(model: onnx.ModelProto) -> None:
    """Groups of transposed convolutions as blocks along a diagonal: the quantizer knows no others.

    Its scales for each output channel are as many as a group has.
    """
    edit = Edit(model)
    for node in list(edit.nodes):
        groups = attribute(node, "group", 1) if node.op_type == "ConvTranspose" else 1
        weight = edit.constant(node.input[1]) if groups > 1 else None
        if weight is None or weight.ndim != 4 or len(weight) % groups:
            continue
        each, outputs = len(weight) // groups, weight.shape[1]
        whole = np.zeros((len(weight), groups * outputs, *weight.shape[2:]), weight.dtype)
        for group in range(groups):
            rows = slice(group * each, (group + 1) * each)
            whole[rows, group * outputs : (group + 1) * outputs] = weight[rows]
        one = _copied(node)
        one.input[1] = edit.add_constant(f"{node.name}/weight", whole)
        kept = [item for item in node.attribute if item.name != "group"]
        del one.attribute[:]
        one.attribute.extend(kept)
        edit.replace(node, one)
    edit.finish()


def sums_are_additions(model: onnx.ModelProto) -> None:
    """Sums of many values as additions of two, each of which gets a scale."""
    edit = Edit(model)
    for node in list(edit.nodes):
        if node.op_type == "Sum" and len(node.input) > 1:
            edit.replace(node, *additions(node))
    edit.finish()


def softmaxes_are_single(model: onnx.ModelProto) -> None:
    """What onnx's converter made of a Softmax before opset 13 is one again, where that is the same.

    There it was over all axes from one on: the converter flattens these and restores the shape,
    which needs nothing where all but the first of them have one element.

    Parameters
    ----------
    model : with inferred shapes
    """
    from onnx import helper

    edit = Edit(model)
    for node in list(edit.nodes):
        flat = edit.producer(node.input[0]) if node.op_type in OLD_SOFTMAXES else None
        last = edit.only_reader(node.output[0])
        if flat is None or flat.op_type != "Flatten" or last is None or last.op_type != "Reshape":
            continue
        size = edit.producer(last.input[1])
        shape, axis = edit.shape(flat.input[0]), attribute(flat, "axis", 1)
        if (
            size is None
            or size.op_type != "Shape"
            or size.input[0] != flat.input[0]
            or shape is None
            or any(side != 1 for side in shape[axis + 1 :])
            or not edit.reads_alone(node, flat.output[0])
        ):
            continue
        one = helper.make_node(
            node.op_type, [flat.input[0]], [last.output[0]], node.name, axis=axis
        )
        edit.replace(last, one)
        edit.replace(node)
        edit.replace(flat)
        if not edit.is_read(size.output[0]):
            edit.replace(size)
    edit.finish()


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = type(node)()
    copy.CopyFrom(node)
    return copy
