"""Operators on codes pixel by pixel: clamps, other scales, and what the host takes over."""

from __future__ import annotations

from dataclasses import replace

from steelyard.importer.tflite.clamps import clamps
from steelyard.importer.tflite.file import Operator
from steelyard.importer.tflite.registry import operator
from steelyard.importer.tflite.values import Form, Value
from steelyard.importer.tflite.walk import Walk


@operator("RELU", "RELU6", "RELU_N1_TO_1", inputs=1)
def relu(walk: Walk, op: Operator) -> None:
    """Clamp that no layer has fused."""
    value, x = walk.activation(op)
    output = walk.output(op, x.shape, value.view)
    walk.bind_tensor(op, walk.requantize(op, x, output, **clamps(op.op, output)))


@operator("QUANTIZE", inputs=1)
def quantize(walk: Walk, op: Operator) -> None:
    """Codes of the real input, or codes of another scale or type."""
    value = walk.value(op)
    info = walk.result(op)
    view = walk.view(op)
    if value.form.host:
        walk.bind(op, replace(value, view=view))
        return
    if value.tensor is None:
        walk.bind(op, Value(walk.quantize_input(op, info), view, Form(info.type)))
        return
    if value.form.type == "FLOAT32":
        raise op.error(
            "quantizes values that were dequantized before it, allowed are those of the network's "
            "input; convert the network to int8 throughout."
        )
    x = walk.tensor(value)
    type = "UINT8" if info.type == "UINT8" else "INT8"
    output = walk.output(op, x.shape, value.view, type)
    if (x.scale, x.zero_point) != (output.scale, output.zero_point):
        walk.read(x)
        x = walk.requantize(op, x, output)
    walk.bind(op, Value(x.name, view, Form(info.type)))


@operator("DEQUANTIZE", inputs=1)
def dequantize(walk: Walk, op: Operator) -> None:
    """Real values, at the end."""
    value = walk.value(op)
    if value.tensor is None or value.form.type == "FLOAT32":
        raise op.error("takes values that are real already; convert the network again.")
    walk.bind(op, Value(value.tensor, walk.view(op), Form("FLOAT32", value.form.host)))


@operator("SOFTMAX", inputs=1)
def softmax(walk: Walk, op: Operator) -> None:
    """Left to the host, which a softmax at the end can be."""
    value = walk.value(op)
    walk.refuse_host(op, value)
    if value.tensor is None:
        raise op.error("takes the network's input, allowed is the result of a layer; leave it out.")
    walk.bind(op, Value(value.tensor, walk.view(op), Form(value.form.type, host=True)))
    walk.tell(
        f"{op.title} is left to the host: the network's output is what it takes, "
        f"{value.tensor!r}, whose largest score is at the same place."
    )
